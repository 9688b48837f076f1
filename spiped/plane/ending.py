"""How a connection ended."""

from __future__ import annotations

import enum

from spiped.lean_typing import NamedTuple
from spiped.observe.slot import Field


class Cause(enum.Enum):
    """Why; the value is for people."""

    CLEAN = "ended"  # both directions came to their end
    CONNECT = "could not connect"  # the target refused, or there is no way to it
    CONNECT_TIMEOUT = "connecting timed out"
    HANDSHAKE = "handshake failed"  # refused, or the peer went away during the handshake
    HANDSHAKE_TIMEOUT = "handshake timed out"
    PACKET = "bad packet"  # bad tag, bad length, or an end inside a packet
    RESET = "connection lost"  # an error on a socket
    SHUTDOWN = "shut down"  # ended by us
    IDLE = "idle for too long"

    @property
    def counter(self) -> Field:
        """The counter of connections that have ended so."""
        return Field[f"ENDED_{self.name}"]


# Why an unauthenticated connection was ended although nothing was wrong with it
SHED = "it had to make room for another one"
TOO_MANY = "too many unauthenticated connections from this address"


class Ending(NamedTuple):
    """How one connection ended.  The byte counts are of payload."""

    cause: Cause
    detail: str = ""  # for people
    sealed: int = 0
    opened: int = 0
    number: int = 0  # which of those that the plane has accepted; 0: it was handed over to it
    peer: object = ""  # who was accepted; for str()
    seconds: float = 0.0  # from the acceptance to the end

    def __str__(self) -> str:
        return f"{self.cause.value}: {self.detail}" if self.detail else self.cause.value
