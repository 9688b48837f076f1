"""One worker's counters: what there is to be counted, and where it stands."""

from __future__ import annotations

import enum

SLOT_BYTES = 512  # whole cache lines, so that no two workers write to the same one


class Field(enum.IntEnum):
    """The counters of a slot, 64 bits each; the first are the data plane's in C (`plane.h`)."""

    # What other workers look at when they accept, in a cache line of its own
    ACTIVE = 0  # connections now: accepted and not ended
    UNAUTHENTICATED = 1  # connections now whose peer has not proved that it holds the key
    SERVING = 2  # 1 while the worker accepts, or pauses from that
    # What changes with every batch
    SEALED = 8  # payload bytes from plain to crypt
    OPENED = 9  # payload bytes from crypt to plain
    ACCEPTED = 10
    ESTABLISHED = 11
    ENDED_CLEAN = 16  # connections that have ended, by reason (`plane.ending.Reason`)
    ENDED_UNREACHED = 17
    ENDED_UNANSWERED = 18
    ENDED_PLAIN_LOST = 19
    ENDED_NO_KEY = 20
    ENDED_OUT_OF_RANGE = 21
    ENDED_NO_PFS = 22
    ENDED_CLOSED = 23
    ENDED_LOST = 24
    ENDED_TOO_SLOW = 25
    ENDED_SHED = 26
    ENDED_TOO_MANY = 27
    ENDED_BAD_TAG = 28
    ENDED_BAD_LENGTH = 29
    ENDED_TRUNCATED = 30
    ENDED_SOCKET_ERROR = 31
    ENDED_IDLE = 32
    ENDED_ABORTED = 33
    ENDED_LEFT = 34
    ENDED_SAME_ROLE = 35
    ENDED_OVERLOAD = 36


# What there is now, and not what there has been.
GAUGES = (Field.ACTIVE, Field.UNAUTHENTICATED, Field.SERVING)


class Slot:
    """One worker's counters."""

    def __init__(self, view: memoryview | None = None) -> None:
        """Count in ``view``, which holds 64-bit numbers; without one, for oneself."""
        self.view = memoryview(bytearray(SLOT_BYTES)).cast("Q") if view is None else view

    def __getitem__(self, field: int) -> int:
        return int(self.view[field])

    def add(self, field: int, count: int) -> None:
        self.view[field] += count
