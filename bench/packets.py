"""``python -m bench.packets``: packets sealed and opened, by every kernel and in batches of several
sizes, beside what OpenSSL takes for their authentication and encryption alone."""

import sys

from bench.kernels import main

NAMES = ("seal", "open")

if __name__ == "__main__":
    sys.exit(main(NAMES, "Measure the sealing and opening of packets beside OpenSSL."))
