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
    ENDED_CLEAN = 8  # endings, one counter for each `Cause`
    ENDED_CONNECT = 9
    ENDED_CONNECT_TIMEOUT = 10
    ENDED_HANDSHAKE = 11
    ENDED_HANDSHAKE_TIMEOUT = 12
    ENDED_PACKET = 13
    ENDED_RESET = 14
    ENDED_SHUTDOWN = 15
    ENDED_IDLE = 16


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
