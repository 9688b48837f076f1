"""One worker's counters: what there is to be counted, and where it stands."""

from __future__ import annotations

import enum

SLOT_BYTES = 512  # whole cache lines, so that no two workers write to the same one


class Field(enum.IntEnum):
    """The counters of a slot, 64 bits each; the first are the data plane's in C (`plane.h`)."""

    ACTIVE = 0  # connections now: accepted and not ended
    ACCEPTED = 1
    ESTABLISHED = 2
    SEALED = 3  # payload bytes from plain to crypt
    OPENED = 4  # payload bytes from crypt to plain
    UNAUTHENTICATED = 5  # connections now whose peer has not proved that it holds the key
    ENDED_CLEAN = 8  # connections that have ended, by reason (`plane.ending.Reason`)
    ENDED_UNREACHED = 9
    ENDED_UNANSWERED = 10
    ENDED_PLAIN_LOST = 11
    ENDED_NO_KEY = 12
    ENDED_OUT_OF_RANGE = 13
    ENDED_NO_PFS = 14
    ENDED_CLOSED = 15
    ENDED_LOST = 16
    ENDED_TOO_SLOW = 17
    ENDED_SHED = 18
    ENDED_TOO_MANY = 19
    ENDED_BAD_TAG = 20
    ENDED_BAD_LENGTH = 21
    ENDED_TRUNCATED = 22
    ENDED_SOCKET_ERROR = 23
    ENDED_IDLE = 24
    ENDED_ABORTED = 25
    ENDED_LEFT = 26
    ENDED_SAME_ROLE = 27


# What there is now, and not what there has been.
GAUGES = (Field.ACTIVE, Field.UNAUTHENTICATED)


class Slot:
    """One worker's counters."""

    def __init__(self, view: memoryview | None = None) -> None:
        """Count in ``view``, which holds 64-bit numbers; without one, for oneself."""
        self.view = memoryview(bytearray(SLOT_BYTES)).cast("Q") if view is None else view

    def __getitem__(self, field: int) -> int:
        return int(self.view[field])

    def add(self, field: int, count: int) -> None:
        self.view[field] += count
