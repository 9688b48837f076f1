"""What all connections of a pipe have in common."""

from __future__ import annotations

from spiped.lean_typing import NamedTuple
from spiped.net.address import SocketAddress
from spiped.proto.terms import Role

NEVER = float("inf")  # seconds


class PipeSettings(NamedTuple):
    """A pipe: which side of it we are, the key, and where it leads."""

    role: Role
    K: bytearray | memoryview
    targets: list[SocketAddress]  # never empty
    bind: SocketAddress | None = None
    weak: bool = False
    require_pfs: bool = False
    keepalive: bool = True
    timeout: float = NEVER  # seconds, of everything that must come to an end
    number: int = 0  # by which the table of connections names it
    idle_timeout: float = NEVER  # seconds that a connection may carry nothing
