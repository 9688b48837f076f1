"""How many connections there may be."""

from __future__ import annotations

from spiped.lean_typing import NamedTuple


class Limits(NamedTuple):
    """0: any number."""

    connections: int = 0  # over all workers
    unauthenticated: int = 0  # over all workers: whose peer has not proved that it holds the key
    unauthenticated_per_source: int = 0  # of those, from one address
