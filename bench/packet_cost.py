"""``python -m bench.packet_cost SECONDS``: CPU-seconds that the kernels of this CPU take for a GB.

Sealed on one end and opened on the other, in batches as the data plane's when there is much to
move, and nothing else: no socket, and memory that stays in the cache.
"""

from __future__ import annotations

import json
import sys
import time

from spiped._native import ffi, lib
from spiped.crypto.native import select_kernels
from spiped.crypto.sizes import MESSAGE_MAX, PACKET_BYTES

PACKETS = 128  # of a batch
BATCHES = 64  # between two looks at the clock


def measure(seconds: float) -> float:
    """CPU-seconds for sealing and opening a GB of payload; measures for about so long."""
    select_kernels()
    key = ffi.new("struct packet_key *")
    lib.packet_key_init(key, ffi.new("uint8_t[32]", bytes(32)), ffi.new("uint8_t[32]", bytes(32)))
    payload = ffi.new("uint8_t[]", PACKETS * MESSAGE_MAX)
    packets = ffi.new("uint8_t[]", PACKETS * PACKET_BYTES)
    length, opened = ffi.new("size_t *"), ffi.new("size_t *")
    carried = 0
    begin = now = time.process_time()
    while now - begin < seconds:
        for _ in range(BATCHES):
            lib.packet_seal_many(key, 0, payload, len(payload), packets)
            lib.packet_open_many(key, 0, packets, PACKETS, payload, length, opened)
        assert (length[0], opened[0]) == (len(payload), PACKETS)
        carried += BATCHES * len(payload)
        now = time.process_time()
    return (now - begin) / (carried / 1e9)


if __name__ == "__main__":
    print(json.dumps({"cpu_s_gb": measure(float(sys.argv[1]))}))
