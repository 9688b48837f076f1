"""Counters in memory that all processes of a daemon share.

Every worker writes its own slot, and only that; slot 0 keeps what workers have counted that are
gone.  In front of the slots is a description of them, so that another version of this program,
which may count other things, can read what has been counted before an upgrade.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Sequence

from spiped.lean_typing import Any, suppress
from spiped.observe.slot import GAUGES, SLOT_BYTES, Field, Slot
from spiped.process.shared_file import anonymous_file

HEADER_BYTES = 4096  # the description, and in the last 8 bytes how many slots are in use
WIDTH = SLOT_BYTES // 8
LAYOUT = {"slot_bytes": SLOT_BYTES, "fields": {field.name: field.value for field in Field}}


class Counters:
    """The shared memory: made by the supervisor, inherited by the workers."""

    def __init__(self, slots: int, inherited: Sequence[int] = ()) -> None:
        """Have at least so many slots.

        ``inherited``: descriptors of what programs before us have counted, the newest first.  If
        that has our layout, it is used on.  Counts in another layout are copied by name, and
        workers that still count there are included in the totals.
        """
        ours = bool(inherited) and _layout(inherited[0]) == LAYOUT
        self.before = [Foreign(file) for file in inherited[1 if ours else 0 :]]
        # where workers count that were handed over: None is here
        self.inherited: list[Foreign | None] = [*([None] if ours else []), *self.before]
        if ours:
            self._file = inherited[0]
            self.slots = max(slots, (os.fstat(self._file).st_size - HEADER_BYTES) // SLOT_BYTES)
        else:
            self._file = anonymous_file("spiped-counters")
            description = json.dumps(LAYOUT).encode()
            assert len(description) <= HEADER_BYTES - 8
            os.pwrite(self._file, description.ljust(HEADER_BYTES, b"\0"), 0)
            self.slots = slots
        self._attach()
        for foreign in self.before:
            foreign.fold(0, self.slot(0))

    def _attach(self) -> None:
        size = HEADER_BYTES + self.slots * SLOT_BYTES
        os.ftruncate(self._file, size)
        self._map = mmap.mmap(self._file, size)
        whole = memoryview(self._map)
        self.view = whole[HEADER_BYTES:].cast("Q")
        self.used = whole[HEADER_BYTES - 8 : HEADER_BYTES].cast("Q")  # the number of slots in use

    def use(self, slots: int) -> None:
        """Count in so many slots.

        Workers that were forked before see only the slots that there were then.
        """
        if slots > self.slots:
            self.slots = slots
            self._attach()
        self.used[0] = slots

    def files(self) -> list[int]:
        """The descriptors of all memory in which workers count, ours first."""
        return [self._file, *(foreign.fileno() for foreign in self.before)]

    def drop_unused(self, used: Sequence[Foreign | None]) -> None:
        """Let go of memory in which nobody counts any more."""
        for foreign in self.before:
            if foreign not in used:
                os.close(foreign.fileno())
        self.before = [foreign for foreign in self.before if foreign in used]

    def slot(self, index: int) -> Slot:
        return Slot(self.view[index * WIDTH : (index + 1) * WIDTH])

    def total(self, field: Field) -> int:
        """The sum over all workers, of those that have died as well."""
        here = sum(self.view[field::WIDTH])
        return here if field in GAUGES else here + sum(b.total(field) for b in self.before)

    def mirror_before(self) -> None:
        """Let slot 0 show what is there now, for the limits, of workers that count elsewhere."""
        for field in (Field.ACTIVE, Field.UNAUTHENTICATED):
            self.view[field] = sum(before.total(field) for before in self.before)

    def of_serving(self, field: Field) -> tuple[int, int]:
        """How many workers accept, and the sum over these."""
        serving = [i for i in range(0, len(self.view), WIDTH) if self.view[i + Field.SERVING]]
        return len(serving), sum(self.view[i + field] for i in serving)

    def fold(self, index: int, file: Foreign | None = None) -> None:
        """The owner of a slot has died: keep what it counted in slot 0, and free the slot."""
        if file is not None:
            file.fold(index, self.slot(0))
            return
        dead, kept = self.slot(index), self.slot(0)
        for field in range(WIDTH):
            if field not in GAUGES:
                kept.add(field, dead[field])
            dead.view[field] = 0

    def close(self) -> None:
        self.view.release()
        self.used.release()
        with suppress(BufferError):  # slots that are still referred to keep the memory
            self._map.close()
        os.close(self._file)


def _layout(file: int) -> Any:
    """What the memory says of itself; None if it says nothing."""
    try:
        return json.loads(os.pread(file, HEADER_BYTES - 8, 0).rstrip(b"\0"))
    except ValueError:
        return None


class Foreign:
    """Counters with another layout: another version's, in which its workers go on counting."""

    def __init__(self, file: int) -> None:
        self._file = file
        layout = _layout(file) or {"slot_bytes": 8, "fields": {}}
        self._width: int = layout["slot_bytes"] // 8
        names: dict[str, int] = layout["fields"]
        self._fields = {field: names[field.name] for field in Field if field.name in names}
        self._map = mmap.mmap(file, os.fstat(file).st_size)
        slots = (len(self._map) - HEADER_BYTES) // (self._width * 8)
        end = HEADER_BYTES + max(0, slots) * self._width * 8
        self._view = memoryview(self._map)[HEADER_BYTES:end].cast("Q")

    def fileno(self) -> int:
        return self._file

    def total(self, field: Field) -> int:
        if field not in self._fields:
            return 0
        return sum(self._view[self._fields[field] :: self._width])

    def fold(self, index: int, slot: Slot) -> None:
        """Move what one of its slots has counted; what was there at the moment is forgotten."""
        for field, place in self._fields.items():
            at = index * self._width + place
            if at < len(self._view):
                if field not in GAUGES:
                    slot.add(field, self._view[at])
                self._view[at] = 0
