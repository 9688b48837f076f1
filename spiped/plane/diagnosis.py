"""How a connection ended, in words: what happened, by whom, and what it can be.

The two data planes find the same facts, and one cause has one text.  Where this end cannot know the
cause, the text lists what it can be.
"""

from __future__ import annotations

import errno
import os

from spiped.plane.ending import GONE, Ending, Reason
from spiped.proto.terms import Heard, Role

NOT_SERVED = (
    "the target ended the connection: wrong key, wrong mode, or the target behind it is down"
)

# What there is too little of on this side, by errno values
HERE = {
    errno.EMFILE: " in this process (`ulimit -n`)",
    errno.ENFILE: " on this machine",
    errno.ENOMEM: " on this machine",
    errno.ENOBUFS: " on this machine",
}

# In two or three words
BRIEF = {
    Reason.CLEAN: "ended",
    Reason.UNREACHED: "target unreachable",
    Reason.UNANSWERED: "target timed out",
    Reason.PLAIN_LOST: "lost before the relay",
    Reason.NO_KEY: "wrong key",
    Reason.OUT_OF_RANGE: "value out of range",
    Reason.NO_PFS: "no forward secrecy",
    Reason.CLOSED: "left in the handshake",
    Reason.LOST: "lost in the handshake",
    Reason.TOO_SLOW: "handshake timed out",
    Reason.SHED: "made room",
    Reason.TOO_MANY: "too many from one address",
    Reason.BAD_TAG: "bad tag",
    Reason.BAD_LENGTH: "bad length",
    Reason.TRUNCATED: "truncated",
    Reason.SOCKET_ERROR: "lost",
    Reason.IDLE: "idle",
    Reason.ABORTED: "shut down",
    Reason.LEFT: "left at once",
    Reason.SAME_ROLE: "same mode",
    Reason.OVERLOAD: "overload",
    Reason.KILLED: "killed",
    Reason.SHORTAGE: "out of resources",
}

PLAIN_TEXTS = {
    Reason.SHED: "it had to make room for another one",
    Reason.TOO_MANY: "too many unauthenticated connections from this address",
    Reason.SAME_ROLE: (
        "the target encrypts (-e) as we do, or sends back what it is sent: it has to be a spiped -d"
    ),
}

# {} is who it was about
TEXTS = {
    Reason.NO_KEY: "the {} does not hold the key",
    Reason.OUT_OF_RANGE: "the {}'s Diffie-Hellman value is out of range",
    Reason.NO_PFS: "the {} does not provide perfect forward secrecy (-f), which -g requires",
    Reason.BAD_TAG: "bad tag, from the {}",
    Reason.BAD_LENGTH: "bad length, from the {}",
    Reason.TRUNCATED: "the stream from the {} ends inside a packet",
}

LEFT_TEXTS = {
    (Role.S, Heard.NOTHING): "the client left without a word",
    (Role.S, Heard.SOMETHING): "the client left before it said enough: is it a spiped or spipe?",
    (Role.S, Heard.NONCE): "the client left before it proved that it holds the key",
    (Role.S, Heard.PROOF): "the client left before it was served",
    (Role.C, Heard.NOTHING): (
        "the target ended the connection without a word: it is no spiped -d, or cannot take more"
    ),
}

SLOW_TEXTS = {
    (Role.S, Heard.NOTHING): "the client sent nothing",
    (Role.S, Heard.SOMETHING): "the client did not say enough: it hangs, or is no spiped or spipe",
    (Role.S, Heard.NONCE): "the client did not prove that it holds the key: does it decrypt (-d)?",
    (Role.S, Heard.PROOF): "the client does not take what it is sent",
    (Role.C, Heard.NOTHING): "the target sent nothing: it is full, hangs, or is no spiped -d",
    (Role.C, Heard.SOMETHING): "the target did not say enough: it hangs, or is no spiped -d",
    (Role.C, Heard.NONCE): "the target did not answer: it is busy, or is no spiped -d",
    (Role.C, Heard.PROOF): "the target does not take what it is sent",
}


def describe(ending: Ending) -> str:
    """The detail behind the cause; "" if that says it all."""
    reason, error, who = ending.reason, ending.error, ending.failed_side
    at = (ending.role, ending.heard)
    if reason is Reason.UNREACHED and not ending.was_reached:
        return f"{ending.target or 'no address'}: {os.strerror(error)}" if error else "no address"
    if reason is Reason.SHORTAGE:
        return f"{os.strerror(error)}{HERE.get(error, '')}, which is no fault of the target's"
    if reason is Reason.UNANSWERED:
        return str(ending.target)
    if reason in PLAIN_TEXTS:
        return PLAIN_TEXTS[reason]
    if reason in TEXTS:
        return TEXTS[reason].format(who)
    if reason is Reason.TOO_SLOW:
        return SLOW_TEXTS[at]
    if ending.is_of_other_end:
        return NOT_SERVED if ending.heard is not Heard.NOTHING else LEFT_TEXTS[at]
    if reason in (Reason.CLOSED, Reason.LOST) and (error == 0 or error in GONE):
        return LEFT_TEXTS.get(at, NOT_SERVED)
    if ending.was_reached or reason in (Reason.PLAIN_LOST, Reason.SOCKET_ERROR, Reason.LOST):
        if error in GONE:
            return f"reset by the {who}"
        return f"{who}: {os.strerror(error)}" if who else os.strerror(error)
    return ""


def tell(ending: Ending) -> str:
    """The cause, and the detail behind it."""
    detail = describe(ending)
    return f"{ending.cause.value}: {detail}" if detail else ending.cause.value
