"""One worker's counters."""

from __future__ import annotations

import enum

SLOT_BYTES = 512  # whole cache lines, so that no two workers write to the same one


class Field(enum.IntEnum):
    """The counters of a slot, 64 bits each.  Behind them come the endings, one for each cause."""

    ACTIVE = 0  # connections now: accepted and not ended
    ACCEPTED = 1
    ESTABLISHED = 2
    SEALED = 3  # payload bytes from plain to crypt
    OPENED = 4  # payload bytes from crypt to plain
    STRANGERS = 5  # connections now whose peer has not proved to hold the key
    ENDED = 8  # + the index of a cause


# What there is now, and not what there has been.
GAUGES = (Field.ACTIVE, Field.STRANGERS)


class Slot:
    """One worker's counters."""

    def __init__(self, view: memoryview | None = None) -> None:
        """Count in ``view``, which holds 64-bit numbers; without one, for oneself."""
        self.view = memoryview(bytearray(SLOT_BYTES)).cast("Q") if view is None else view

    def __getitem__(self, field: int) -> int:
        return int(self.view[field])

    def add(self, field: int, count: int) -> None:
        self.view[field] += count
