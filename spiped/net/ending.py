"""How a connection ended."""

from __future__ import annotations

import enum

from spiped.light import NamedTuple


class Cause(enum.Enum):
    """The value is for people; counters go by the order."""

    CLEAN = "ended"  # both directions came to their end
    CONNECT = "could not connect"  # the target refused, or there is no way to it
    CONNECT_TIMEOUT = "connecting timed out"
    HANDSHAKE = "handshake failed"  # refused, or the peer went away during the handshake
    HANDSHAKE_TIMEOUT = "handshake timed out"
    PACKET = "bad packet"  # bad tag, bad length, or an end inside a packet
    RESET = "connection lost"  # an error on a socket
    SHUTDOWN = "shut down"  # ended by us
    IDLE = "idle for too long"


class Ending(NamedTuple):
    """Why a connection ended; ``detail`` is for people.  The byte counts are of payload."""

    cause: Cause
    detail: str = ""
    sealed: int = 0
    opened: int = 0

    def __str__(self) -> str:
        return f"{self.cause.value}: {self.detail}" if self.detail else self.cause.value
