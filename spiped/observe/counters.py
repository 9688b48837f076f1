"""Counters, and the table of connections, in memory that all processes of a daemon share.

Every worker writes its own slot, and only that; slot 0 keeps what workers have counted that are
gone.  A slot is its counters (`slot.Field`) and behind these its connections (`entry`).  In front
of the slots is a description of them, so that another version of this program, which may count
other things, can read what has been counted before an upgrade.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Sequence

from spiped.lean_typing import Any, suppress
from spiped.observe import entry
from spiped.observe.slot import (
    GAUGES,
    HISTOGRAMS,
    PLACES,
    SLOT_BYTES,
    TIME_BOUNDS,
    TIME_WORDS,
    Field,
    Place,
    Slot,
)
from spiped.process.shared_file import anonymous_file, reopen_for_reading

UINT64_MAX = 2**64 - 1

HEADER_BYTES = 4096  # the description, and in the last 8 bytes how many slots are in use
PAGE_BYTES = 4096


def layout(entries: int) -> dict[str, Any]:
    """What the memory says of itself, if a slot has so many entries."""
    size = SLOT_BYTES + entries * entry.BYTES
    return {
        "slot_bytes": -(-size // PAGE_BYTES) * PAGE_BYTES,
        "fields": {place.name: int(place) for place in PLACES},
        "times": TIME_BOUNDS,
        "entries": {"at": SLOT_BYTES, "count": entries, "bytes": entry.BYTES},
    }


class Counters:
    """The shared memory: made by the supervisor, inherited by the workers."""

    def __init__(self, slots: int, inherited: Sequence[int] = (), entries: int = 0) -> None:
        """Have at least so many slots, each with so many entries.

        ``inherited``: descriptors of what programs before us have counted, the newest first.  If
        that has our layout, it is used on.  Counts in another layout are copied by name, and
        workers that still count there are included in the totals.
        """
        ours = json.loads(json.dumps(layout(entries)))
        used_on = bool(inherited) and _layout(inherited[0]) == ours
        self.before = [Foreign(file) for file in inherited[1 if used_on else 0 :]]
        # where workers count that were handed over: None is here
        self.inherited: list[Foreign | None] = [*([None] if used_on else []), *self.before]
        self.stride: int = ours["slot_bytes"] // 8  # of slots, in numbers
        self._entries = entries
        self._may_write = True
        if used_on:
            self._file = inherited[0]
            there = (os.fstat(self._file).st_size - HEADER_BYTES) // (8 * self.stride)
            self.slots = max(slots, there)
        else:
            self._file = anonymous_file("spiped-counters")
            description = json.dumps(ours).encode()
            assert len(description) <= HEADER_BYTES - 8
            os.pwrite(self._file, description.ljust(HEADER_BYTES, b"\0"), 0)
            self.slots = slots
        self._attach()
        for foreign in self.before:
            foreign.fold(0, self.slot(0))

    def _attach(self) -> None:
        size = HEADER_BYTES + self.slots * self.stride * 8
        if self._may_write:
            os.ftruncate(self._file, size)
        access = mmap.ACCESS_WRITE if self._may_write else mmap.ACCESS_READ
        self._map = mmap.mmap(self._file, size, access=access)
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

    def let_go(self) -> None:
        """Have no memory, until `only_look`.

        Nobody in this process may refer to a slot that was asked for before.
        """
        for foreign in self.before:
            foreign.let_go()
        self.view.release()
        self.used.release()
        self._map.close()

    def only_look(self) -> None:
        """See it again, unable to write, in a process that was forked to look.  Raises OSError."""
        for foreign in self.before:
            foreign.only_look()
        self._may_write = False
        self._file = reopen_for_reading(self._file)
        self._attach()

    def follow(self) -> None:
        """See the slots that another process has added."""
        if self.used[0] > self.slots:  # whose number the sandbox lets us see, and not the size
            self.slots = self.used[0]
            self._attach()

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
        at = index * self.stride
        return Slot(self.view[at : at + SLOT_BYTES // 8])

    def entries(self, index: int) -> memoryview:
        """The entries of a slot, in bytes."""
        at = index * self.stride + SLOT_BYTES // 8
        return self.view[at : at + self._entries * entry.BYTES // 8].cast("B")

    def used_entries(self, index: int) -> int:
        """How many entries of a slot have ever been used, whatever its worker says."""
        return min(self.slot(index)[Field.ENTRIES], self._entries)

    def total(self, field: int) -> int:
        """The sum over all workers, of those that have died as well."""
        here = sum(self.view[field :: self.stride])
        return here if field in GAUGES else here + sum(b.total(field) for b in self.before)

    def mirror_before(self) -> None:
        """Let slot 0 show what is there now, for the limits, of workers that count elsewhere."""
        for field in (Field.ACTIVE, Field.UNAUTHENTICATED):
            self.view[field] = min(UINT64_MAX, sum(before.total(field) for before in self.before))

    def of_serving(self, field: Place) -> tuple[int, int]:
        """How many workers accept, and the sum over these."""
        slots = range(0, len(self.view), self.stride)
        serving = [at for at in slots if self.view[at + Field.SERVING]]
        return len(serving), sum(self.view[at + field] for at in serving)

    def fold(self, index: int, file: Foreign | None = None) -> None:
        """The owner of a slot has died: keep what it counted in slot 0, and free the slot."""
        if file is not None:
            file.fold(index, self.slot(0))
            return
        dead, kept = self.slot(index), self.slot(0)
        used = self.used_entries(index) * entry.BYTES
        self.entries(index)[:used] = bytes(used)
        for place in range(SLOT_BYTES // 8):
            if place not in GAUGES:
                kept.add(place, dead[place])
            dead.view[place] = 0

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
        self._places = dict(_places(layout))
        self._attach(mmap.ACCESS_WRITE)

    def _attach(self, access: int) -> None:
        self._map = mmap.mmap(self._file, os.fstat(self._file).st_size, access=access)
        slots = (len(self._map) - HEADER_BYTES) // (self._width * 8)
        end = HEADER_BYTES + max(0, slots) * self._width * 8
        self._view = memoryview(self._map)[HEADER_BYTES:end].cast("Q")

    def let_go(self) -> None:
        """As `Counters.let_go`."""
        self._view.release()
        self._map.close()

    def only_look(self) -> None:
        """As `Counters.only_look`."""
        self._file = reopen_for_reading(self._file)
        self._attach(mmap.ACCESS_READ)

    def fileno(self) -> int:
        return self._file

    def total(self, place: int) -> int:
        """The sum over all its slots of what has this place in ours."""
        if place not in self._places:
            return 0
        return sum(self._view[self._places[place] :: self._width])

    def fold(self, index: int, slot: Slot) -> None:
        """Move what one of its slots has counted; what was there at the moment is forgotten."""
        for ours, theirs in self._places.items():
            at = index * self._width + theirs
            if at < len(self._view):
                if ours not in GAUGES:
                    slot.add(ours, self._view[at])
                self._view[at] = 0


def _places(layout: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Where both layouts have the same counter: its place in ours, and in that one."""
    names: dict[str, int] = layout["fields"]
    for field in PLACES:
        if field.name not in names or field is Field.ENTRIES:
            continue
        if field not in HISTOGRAMS:
            yield int(field), names[field.name]
        elif layout.get("times") == list(TIME_BOUNDS):
            for word in range(TIME_WORDS):
                yield field + word, names[field.name] + word
