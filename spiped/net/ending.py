"""How a connection ended."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Cause(enum.Enum):
    """The value is the name that counters and messages use."""

    CLEAN = "clean"  # both directions came to their end
    CONNECT = "connect"  # the target refused, or there is no way to it
    CONNECT_TIMEOUT = "connect-timeout"
    HANDSHAKE = "handshake"  # refused, or the peer went away during the handshake
    HANDSHAKE_TIMEOUT = "handshake-timeout"
    PACKET = "packet"  # bad tag, bad length, or an end inside a packet
    RESET = "reset"  # an error on an established connection's socket
    SHUTDOWN = "shutdown"  # ended by us


class Ending(NamedTuple):
    """Why a connection ended; ``detail`` is for people.  The byte counts are of payload."""

    cause: Cause
    detail: str = ""
    sealed: int = 0
    opened: int = 0
