"""``python -m spiped``: the daemon."""

import sys

from spiped.entry import spiped

sys.exit(spiped())
