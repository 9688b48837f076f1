"""How a connection ended: the facts."""

from __future__ import annotations

import enum
import errno

from spiped.errors import Fault
from spiped.lean_typing import NamedTuple
from spiped.observe.slot import Field, Place
from spiped.proto.terms import CRYPT, PLAIN, Heard, Role


class Cause(enum.Enum):
    """What kind of end it was; the value is for people."""

    CLEAN = "ended"  # both directions came to their end
    CONNECT = "could not connect"  # the target refused, or there is no way to it
    CONNECT_TIMEOUT = "connecting timed out"
    HANDSHAKE = "handshake failed"  # refused, or the peer went away during the handshake
    HANDSHAKE_TIMEOUT = "handshake timed out"
    PACKET = "bad packet"  # bad tag, bad length, or an end inside a packet
    RESET = "connection lost"  # an error on a socket
    SHUTDOWN = "shut down"  # ended by us
    KILLED = "killed"  # on its own, by the operator
    IDLE = "idle for too long"
    LEFT = "left without being served"  # whoever connected only looked whether somebody listens


class Reason(enum.Enum):
    """Why exactly, in the order of the data plane in C (`_native/plane/ending.h`)."""

    CLEAN = Cause.CLEAN, 0
    UNREACHED = Cause.CONNECT, 1
    UNANSWERED = Cause.CONNECT_TIMEOUT, 2
    PLAIN_LOST = Cause.RESET, 3
    NO_KEY = Cause.HANDSHAKE, 4
    OUT_OF_RANGE = Cause.HANDSHAKE, 5
    NO_PFS = Cause.HANDSHAKE, 6
    CLOSED = Cause.HANDSHAKE, 7
    LOST = Cause.HANDSHAKE, 8
    TOO_SLOW = Cause.HANDSHAKE_TIMEOUT, 9
    SHED = Cause.HANDSHAKE, 10
    TOO_MANY = Cause.HANDSHAKE, 11
    BAD_TAG = Cause.PACKET, 12
    BAD_LENGTH = Cause.PACKET, 13
    TRUNCATED = Cause.PACKET, 14
    SOCKET_ERROR = Cause.RESET, 15
    IDLE = Cause.IDLE, 16
    ABORTED = Cause.SHUTDOWN, 17
    LEFT = Cause.LEFT, 18
    SAME_ROLE = Cause.HANDSHAKE, 19
    OVERLOAD = Cause.HANDSHAKE, 20  # refused before it began, and only counted
    KILLED = Cause.KILLED, 21
    SHORTAGE = Cause.CONNECT, 22

    @property
    def counter(self) -> Place:
        """The counter of connections that have ended so."""
        place: Place = getattr(Field, f"ENDED_{self.name}")
        return place

    @property
    def word(self) -> str:
        """What the log and the metrics call it (docs/log.md, docs/metrics.md)."""
        return self.counter.labels[0][1]


GONE = (
    errno.ECONNRESET,
    errno.EPIPE,
)  # a peer that has left, without a word or in the middle of one

# A `-d` end whose target is down may find that out just after the handshake; a server that is reset
# later has another reason.
EARLY = 5.0  # seconds


# What the session finds
OF_FAULT = {fault: Reason[fault.name] for fault in Fault}


class Ending(NamedTuple):
    """How one connection ended.  The byte counts are of payload."""

    reason: Reason
    role: Role
    error: int = 0  # an errno value
    side: int | None = None  # PLAIN or CRYPT: whose socket it was about
    heard: Heard = Heard.NOTHING
    target: object = ""  # that could not be reached; for str()
    sealed: int = 0
    opened: int = 0
    number: int = 0  # which of those that the plane has accepted; 0: it was handed over to it
    peer: object = ""  # who was accepted; for str()
    seconds: float = 0.0  # from the acceptance to the end

    @property
    def is_of_other_end(self) -> bool:
        """The other end of the pipe has left, as a `-d` end that will not or cannot serve us."""
        reason = self.reason
        left = reason is Reason.CLOSED or self.error in GONE
        early = self.opened == 0 and self.seconds < EARLY
        return (
            self.role is Role.C
            and self.side == CRYPT
            and left
            and (
                reason in (Reason.CLOSED, Reason.LOST)
                or (reason is Reason.SOCKET_ERROR and early)
                or self.was_reached
            )
        )

    @property
    def was_reached(self) -> bool:
        """The target has answered, and was gone before we could see that."""
        return self.reason is Reason.UNREACHED and self.error in GONE

    @property
    def cause(self) -> Cause:
        if self.is_of_other_end:
            return Cause.HANDSHAKE
        if self.was_reached:
            return Cause.RESET
        cause: Cause = self.reason.value[0]
        return cause

    @property
    def failed_side(self) -> str:
        """Who has failed: ``client`` is whoever connected to us, ``target`` whom we connect to."""
        if self.side is None:
            return ""
        accepted = PLAIN if self.role is Role.C else CRYPT
        return "client" if self.side == accepted else "target"
