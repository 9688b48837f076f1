"""The protocol of the control socket: one request a line, one JSON answer a line.

A request is words with blanks between, so that people can write one.  An answer is an object; its
member "ok" says whether what was asked for has been done.  If not, "error" says why for people, and
"reason" for programs.
"""

from __future__ import annotations

import json

from spiped.lean_typing import Any

REQUEST_MAX = 4096  # bytes of a line, with its end

# Reasons
BAD_REQUEST = "bad_request"  # nobody understands it
NOT_ALLOWED = "not_allowed"  # not to this user
BUSY = "busy"  # too many others ask
TOO_SLOW = "too_slow"  # the client has not said or taken anything for too long
NOT_FOUND = "not_found"  # there is no such connection
FAILED = "failed"  # it was tried
TIMEOUT = "timeout"  # it has not come to pass in time
AGAIN = "again"  # another program has taken over, and is to be asked

Answer = dict[str, Any]


class Refusal(Exception):
    """A request that is not granted; the arguments are a reason and a text for people."""

    @property
    def answer(self) -> Answer:
        reason, text = self.args
        return refuse(reason, text)


def refuse(reason: str, text: str) -> Answer:
    return {"ok": False, "reason": reason, "error": text}


def grant(**more: Any) -> Answer:
    return {"ok": True, **more}


def encode(answer: Answer) -> bytes:
    """One line of ASCII."""
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def words_of(line: bytes) -> list[str]:
    """The words of a request, which may end with a carriage return.  Raises Refusal."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Refusal(BAD_REQUEST, "The request is not text") from None
    words = text.split()
    if not words:
        raise Refusal(BAD_REQUEST, "The request is empty")
    if not all(word.isprintable() for word in words):
        raise Refusal(BAD_REQUEST, "The request has characters that cannot be printed")
    return words
