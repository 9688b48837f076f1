"""Whose fault it was: the operator's, or the peer's.  (Ours are assertions.)"""

from __future__ import annotations

import enum
import errno
import os


class OperatorError(Exception):
    """A mistake in options, files or addresses, or a refusal of the system at start-up.

    Its arguments are the lines to print, outermost last.  Ends the program with status 1.
    """

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(str(line) for line in self.args)

    @property
    def line(self) -> str:
        """All of it in one line, for a log."""
        return ": ".join(reversed(self.lines))


class LookupFailed(OperatorError):
    """A name could not be looked up: perhaps not yet."""


class Fault(enum.Enum):
    """What a peer does that it must not; the value is for people."""

    NO_KEY = "the peer does not hold the key"
    SAME_ROLE = "the peer holds the key, but plays the same part as we do"
    OUT_OF_RANGE = "the peer's Diffie-Hellman value is out of range"
    NO_PFS = "the peer refuses perfect forward secrecy"
    CLOSED = "the peer closed the connection"
    BAD_TAG = "bad tag"
    BAD_LENGTH = "bad length"
    TRUNCATED = "the stream ends inside a packet"


class PeerError(Exception):
    """The peer broke the protocol.  Ends that one connection."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class HandshakeError(PeerError):
    """The peer's handshake message was refused."""


class PacketError(PeerError):
    """A packet was refused."""


# How it shows that the system does not let us have something
REFUSALS = (OSError, MemoryError)


def as_operator_error(error: Exception) -> OperatorError:
    """A refusal of the system, in words: which one it was cannot be told any more."""
    if isinstance(error, OperatorError):
        return error
    return OperatorError(f"The system refuses what is needed: {describe(error)}")


def describe(error: Exception) -> str:
    """What the system says of a refusal, without the number and the file name."""
    if isinstance(error, MemoryError):
        return os.strerror(errno.ENOMEM)
    return getattr(error, "strerror", None) or str(error)


def describe_open(error: OSError) -> str:
    """The same for a file that is to be written to, and was opened without waiting."""
    if error.errno == errno.ENXIO:
        return "it is a named pipe that nobody reads, or a socket"
    return describe(error)
