"""Counters in memory that all processes of a daemon share.

Every worker writes its own slot, and only that; slot 0 keeps what workers have counted that are
gone.
"""

from __future__ import annotations

import mmap
import os

from spiped.light import suppress
from spiped.memory import anonymous_file
from spiped.observe.slot import SLOT_BYTES, Field, Slot


class Counters:
    """The shared page: made by the supervisor, inherited by the workers."""

    def __init__(self, slots: int, file: int | None = None) -> None:
        """Have at least that many slots; in ``file``, if a program before us has counted there."""
        self._file = anonymous_file("spiped-counters") if file is None else file
        self.slots = max(slots, os.fstat(self._file).st_size // SLOT_BYTES)
        os.ftruncate(self._file, self.slots * SLOT_BYTES)
        self._map = mmap.mmap(self._file, self.slots * SLOT_BYTES)
        self.view = memoryview(self._map).cast("Q")

    def fileno(self) -> int:
        return self._file

    def slot(self, index: int) -> Slot:
        width = SLOT_BYTES // 8
        return Slot(self.view[index * width : (index + 1) * width])

    def total(self, field: int) -> int:
        """The sum over all workers, of those that have died as well."""
        return sum(self.view[field :: SLOT_BYTES // 8])

    def summary(self) -> str:
        """One line for people: what there is now, and what there has been since the start."""
        accepted, established = self.total(Field.ACCEPTED), self.total(Field.ESTABLISHED)
        sealed, opened = self.total(Field.SEALED), self.total(Field.OPENED)
        return (
            f"{self.total(Field.ACTIVE)} connections now, {accepted} accepted,"
            f" {established} established; {sealed} bytes sealed, {opened} opened"
        )

    def reserve(self, slot: Slot, limit: int) -> int:
        """Count one more active connection in ``slot``, if fewer than ``limit`` (0: any) are.

        Returns how many there are now, 0 if there is no room.  Whoever counts itself before it
        looks at the others needs no lock: two at once may both find that there is no room, and try
        again later, but never may both find the last place.
        """
        slot.add(Field.ACTIVE, 1)
        if limit == 0:
            return slot[Field.ACTIVE]
        active = self.total(Field.ACTIVE)
        if active > limit:
            self.release(slot)
            return 0
        return active

    def release(self, slot: Slot) -> None:
        """A connection of this slot has ended."""
        slot.add(Field.ACTIVE, -1)

    def fold(self, index: int) -> None:
        """The owner of a slot has died: keep what it counted in slot 0, and free the slot."""
        dead, kept = self.slot(index), self.slot(0)
        for field in range(SLOT_BYTES // 8):
            if field != Field.ACTIVE:
                kept.add(field, dead[field])
            dead.view[field] = 0

    def close(self) -> None:
        self.view.release()
        with suppress(BufferError):  # slots that are still referred to keep the memory
            self._map.close()
        os.close(self._file)
