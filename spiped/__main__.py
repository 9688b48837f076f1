"""``python -m spiped``: the daemon."""

from spiped.entry import spiped

spiped()
