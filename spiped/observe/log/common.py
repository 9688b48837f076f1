"""What both programs may have to say, and what the log says of itself."""

from __future__ import annotations

from spiped.lean_typing import Record
from spiped.observe.log.kinds import ERROR, WARNING, event


@event(WARNING, "{remark}")
class Remark(Record):
    """Something that the operator should know when the program starts."""

    remark: str


@event(ERROR, "{reason}")
class Refused(Record):
    """A mistake of the operator's, or a refusal of the system; one line of perhaps several."""

    reason: str


@event(WARNING, "Warning: the key file is empty: {path}")
class KeyFileEmpty(Record):
    """The key protects nothing: everybody can have it."""

    path: str


@event(WARNING, "Warning: the key file has only {length} bytes; 32 random bytes are needed: {path}")
class KeyFileShort(Record):
    """The key can perhaps be guessed."""

    path: str
    length: int


@event(WARNING, "Warning: everybody on this machine may read the key file (chmod o-r): {path}")
class KeyFilePublic(Record):
    """The key is no secret on this machine."""

    path: str


@event(WARNING, "Using the first of multiple addresses found for {address}: {chosen}")
class SeveralAddresses(Record):
    """An address to listen on, or to connect from, stands for several."""

    address: str
    chosen: str


@event(WARNING, "Warning: there is no system log daemon; messages are lost until there is one")
class NoSyslog(Record):
    """Nobody listens where --syslog sends messages."""


@event(ERROR, "Cannot reopen the log file {path}: {reason}; writing on to the old one")
class LogNotReopened(Record):
    """The file has perhaps been rotated; messages go where they went before."""

    path: str
    reason: str


@event(
    WARNING, "{number:line is missing here: it|lines are missing here: they} could not be written"
)
class LinesLost(Record):
    """The log can be written to again: nobody had read it, or its disk was full."""

    number: int
