"""The document by which a running daemon tells a new image of the program what it consists of.

It is additive: members that a program does not know are passed over, and those that it misses have
defaults.  The writer says which format the document has and which one a reader must know at least,
so that any two releases can follow each other.  A daemon's key is not in it (`key_keeper`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from spiped.errors import REFUSALS, OperatorError
from spiped.lean_typing import Any, NamedTuple
from spiped.process.shared_file import anonymous_file

VARIABLE = "SPIPED_HANDOVER"  # holds the number of the document's descriptor

FORMAT = 2  # of what we write
READS_FROM = 2  # the oldest that we can read
READABLE_FROM = 2  # the oldest reader that can do with what we write

Document = dict[str, Any]


class Inheritance(NamedTuple):
    """What an image of the program has been given."""

    document: Document
    is_rehearsal: bool  # then the descriptors are not there


def write(document: Document, *, is_rehearsal: bool) -> int:
    """A descriptor of the document, for `receive`.  Raises OSError."""
    header = {"format": FORMAT, "readable_from": READABLE_FROM, "rehearsal": is_rehearsal}
    fd = anonymous_file("spiped-handover")
    rest = json.dumps({**header, **document}).encode()
    try:
        while rest:  # what is cut off by a limit is an error at the next attempt
            rest = rest[os.write(fd, rest) :]
    except REFUSALS:
        os.close(fd)
        raise
    return fd


def receive() -> Inheritance | None:
    """What has been handed over to this program, if it has not been started afresh.

    Raises OperatorError.
    """
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return None
    try:
        fd = int(number)
        document = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
        os.close(fd)
    except (OSError, ValueError) as error:
        raise OperatorError(f"{VARIABLE}: there is nothing to take over") from error
    if document["readable_from"] > FORMAT or document["format"] < READS_FROM:
        raise OperatorError("This program does not know how to take over from the one that runs")
    if not document["rehearsal"]:
        set_inheritable(descriptors(document), inheritable=False)
    return Inheritance(document, document["rehearsal"])


def descriptors(document: Document) -> list[int]:
    """All descriptors that a document names, as far as we know."""
    found = [document.get(name) for name in ("listener", "pid_file", "log_file", "key")]
    found += document.get("counters", [])
    found += [each["listener"] for each in document.get("status", [])]
    found.append((document.get("control") or {}).get("listener"))
    for generation in document.get("workers", {}).get("generations", []):
        found += [worker["channel"] for worker in generation["workers"]]
    return [fd for fd in found if fd is not None]


def set_inheritable(fds: Sequence[int], *, inheritable: bool) -> None:
    """Let descriptors stay open when this process executes a program, or not."""
    for fd in fds:
        os.set_inheritable(fd, inheritable)
