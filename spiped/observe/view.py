"""The daemon as others see it: the supervisor's facts, the workers' counters and connections.

Reading costs those who are looked at nothing: all of it is in shared memory.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from spiped.lean_typing import Any, NamedTuple
from spiped.net.address import decode_sockaddr
from spiped.observe import entry
from spiped.observe.counters import Counters
from spiped.observe.entry import Entry, State
from spiped.observe.facts import Document, Facts
from spiped.observe.families import Family
from spiped.observe.metrics import families
from spiped.observe.slot import PLACES, Field

WORDS = entry.BYTES // 8
SEALED_WORD = entry.SECOND_LINE // 8
OPENED_WORD = SEALED_WORD + 1

# The fields of a connection, by any of which the list can be sorted
CONNECTION_FIELDS = (
    *("id", "pipe", "key", "worker", "peer", "target", "state", "age", "idle"),
    *("sealed", "opened", "sealed_rate", "opened_rate", "queued"),
)

# Those that stand in memory beside each other, or were computed when looking
_FROM_COLUMNS = ("age", "idle", "sealed", "opened", "sealed_rate", "opened_rate")


class Look(NamedTuple):
    """What was seen of one connection, and when it last carried something."""

    at: float
    sealed: int
    opened: int
    active: float
    sealed_rate: float
    opened_rate: float


class View:
    """Looks at the memory, and remembers the last look: rates and idle times come from two."""

    def __init__(self, counters: Counters, facts: Facts) -> None:
        self._counters = counters
        self._facts = facts
        self._looks: dict[tuple[int, int], Look] = {}  # by worker and number

    def facts(self) -> Document:
        """What the supervisor says; all that it speaks of can be looked at."""
        facts = self._facts.read()
        self._counters.follow()
        return facts

    def only_look(self, keep_only: Callable[[Sequence[int]], None]) -> None:
        """Be unable to write to what is seen, in a process that was forked to look.

        ``keep_only`` closes all descriptors but these, and what else the process needs.  Mapped
        memory has descriptors of its own, so there is none at that moment.  Raises OSError.
        """
        self._counters.let_go()
        self._facts.let_go()
        keep_only([*self._counters.files(), self._facts.fileno()])
        self._counters.only_look()
        self._facts.only_look()

    # Connections

    def look(self) -> None:
        """To be called about once a second."""
        now = time.monotonic()
        looks: dict[tuple[int, int], Look] = {}
        for worker in self.facts().get("workers", ()):
            numbers, began, sealed, opened = self._columns(worker["slot"])
            for i, number in enumerate(numbers):
                if number == 0:
                    continue
                key = worker["id"], number
                before = self._looks.get(key)
                if before is None:
                    before = Look(began[i] / 1000, 0, 0, began[i] / 1000, 0.0, 0.0)
                if before.sealed == sealed[i] and before.opened == opened[i]:
                    looks[key] = before._replace(at=now, sealed_rate=0.0, opened_rate=0.0)
                    continue
                passed = max(now - before.at, 1e-3)
                looks[key] = Look(
                    now,
                    sealed[i],
                    opened[i],
                    now,
                    (sealed[i] - before.sealed) / passed,
                    (opened[i] - before.opened) / passed,
                )
        self._looks = looks

    def _columns(self, slot: int) -> tuple[list[int], list[int], list[int], list[int]]:
        """Numbers, beginnings, and what has been carried, of all entries that have been used."""
        used = self._counters.used_entries(slot) * WORDS
        words = self._counters.entries(slot).cast("Q")[:used]
        starts = (0, 1, SEALED_WORD, OPENED_WORD)
        numbers, began, sealed, opened = (words[start::WORDS].tolist() for start in starts)
        return numbers, began, sealed, opened

    def connections(
        self,
        sort: str = "age",
        descending: bool = True,
        limit: int = 100,
        pipe: str | None = None,
        peer: str = "",
    ) -> dict[str, Any]:
        """What `/connections` tells (docs/status.md); ``peer``: a part of the peer's address."""
        facts = self.facts()
        choose = heapq.nlargest if descending else heapq.nsmallest
        total = self._counters.total(Field.ACTIVE)
        if limit > 0 and pipe is None and not peer and sort in _FROM_COLUMNS:
            # most of the work would be for connections that are not listed
            places = list(self._places(facts, sort))
            there = len(places)
            rows = list(self._rows(facts, [place[1:] for place in choose(limit, places)]))
        else:
            rows = [r for r in self._rows(facts, self._all(facts)) if pipe in (None, r["pipe"])]
            there = len(rows)
        hidden = max(0, total - there) if pipe is None else 0
        total = max(total, there)
        if peer:
            rows = [row for row in rows if peer in row["peer"]]
            total = len(rows)
        key = _sort_key(sort)
        if 0 < limit < len(rows):
            chosen = choose(limit, rows, key=key)
        else:
            chosen = sorted(rows, key=key, reverse=descending)
        return {
            "now": time.time(),
            "total": total,
            "listed": len(chosen),
            "hidden": hidden,
            "connections": chosen,
        }

    def peer_of(self, worker: int, number: int) -> str:
        """The peer of a connection; "" if it is not seen."""
        for each in self.facts().get("workers", ()):
            numbers = self._columns(each["slot"])[0] if each["id"] == worker else []
            if number in numbers:
                entries = self._counters.entries(each["slot"])
                found = entry.read(entries, numbers.index(number))
                return _name(found.peer) if found is not None else ""
        return ""

    def _all(self, facts: Document) -> Iterator[tuple[int, int, int]]:
        """Worker, slot and index of all entries that have been used."""
        for worker in facts.get("workers", ()):
            slot = worker["slot"]
            for index in range(self._counters.used_entries(slot)):
                yield worker["id"], slot, index

    def _places(self, facts: Document, sort: str) -> Iterator[tuple[float, int, int, int]]:
        """What to sort by, and worker, slot and index, of all entries that are in use."""
        for worker in facts.get("workers", ()):
            serial, slot = worker["id"], worker["slot"]
            numbers, began, sealed, opened = self._columns(slot)
            values: Iterable[float]
            if sort == "age":
                values = (-each for each in began)
            elif sort in ("sealed", "opened"):
                values = sealed if sort == "sealed" else opened
            else:
                values = self._looked(sort, serial, numbers)
            for index, (number, value) in enumerate(zip(numbers, values, strict=True)):
                if number:
                    yield value, serial, slot, index

    def _looked(self, sort: str, worker: int, numbers: Iterable[int]) -> Iterator[float]:
        """What looking has found out about connections, those that are new included."""
        new = Look(0.0, 0, 0, time.monotonic(), 0.0, 0.0)
        for number in numbers:
            look = self._looks.get((worker, number), new)
            if sort == "idle":
                yield -look.active
            else:
                yield look.sealed_rate if sort == "sealed_rate" else look.opened_rate

    def _rows(
        self, facts: Document, places: Iterable[tuple[int, int, int]]
    ) -> Iterator[dict[str, Any]]:
        now = time.monotonic()
        names = [each["name"] for each in facts.get("pipes", ())]
        of_slots: dict[int, memoryview] = {}
        for worker, slot, index in places:
            if slot not in of_slots:
                of_slots[slot] = self._counters.entries(slot)
            found = entry.read(of_slots[slot], index)
            if found is not None:
                name = names[found.pipe] if found.pipe < len(names) else ""
                yield self._row(found, worker, name, facts, now)

    def _row(
        self, found: Entry, worker: int, pipe: str, facts: Document, now: float
    ) -> dict[str, Any]:
        began = found.began_ms / 1000
        look = self._looks.get((worker, found.number))
        moved = look is None or (look.sealed, look.opened) != (found.sealed, found.opened)
        keys = facts.get("keys", ())
        is_known = facts["pipes"][0]["mode"] == "encrypt" or found.state >= State.RELAYING
        key = found.key or int(is_known)  # so far, there is one
        return {
            "id": f"{worker}-{found.number}",
            "pipe": pipe,
            "key": keys[key - 1] if 0 < key <= len(keys) else "",
            "worker": worker,
            "peer": _name(found.peer),
            "target": _name(found.target),
            "state": found.state.word,
            "age": round(now - began, 3),
            "idle": 0 if moved or look is None else int(now - look.active),
            "sealed": found.sealed,
            "opened": found.opened,
            "sealed_rate": 0 if look is None else round(look.sealed_rate),
            "opened_rate": 0 if look is None else round(look.opened_rate),
            "queued": sum(found.unsent),
        }

    # The daemon

    def status(self) -> dict[str, Any]:
        """What `/status` tells (docs/status.md)."""
        facts = self.facts()
        workers = [self._worker(each) for each in facts.get("workers", ())]
        total = self._counters.total
        told = {
            name: facts.get(name)
            for name in ("version", "pid", "name", "state", "ready", "started", "generation")
        }
        last = facts.get("last_reload")
        return {
            **told,
            "now": time.time(),
            "reloads": {
                "succeeded": total(Field.RELOADS),
                "failed": total(Field.RELOADS_FAILED),
                "last": last,
            },
            "upgrades": total(Field.UPGRADES),
            "worker_restarts": total(Field.WORKER_RESTARTS),
            "log_lines_dropped": total(Field.LOG_DROPPED),
            "pipes": [self._pipe(each) for each in facts.get("pipes", ())],
            "process": facts.get("process"),
            "workers": workers,
        }

    def families(self) -> list[Family]:
        """What `/metrics` tells."""
        return families(self._counters, self.facts())

    def _pipe(self, facts: Document) -> dict[str, Any]:
        total = self._counters.total
        failures = total(Field.ENDED_UNREACHED) + total(Field.ENDED_UNANSWERED)
        targets = [
            {**target, "connections": total(Field.ACTIVE), "failures": failures}
            for target in facts.get("targets", ())
        ]
        ended = {
            field.labels[0][1]: total(field) for field in PLACES if field.name.startswith("ENDED_")
        }
        return {
            **{name: facts.get(name) for name in ("name", "mode", "source")},
            "targets": targets,
            "keys": facts.get("keys"),
            "connections": {
                "active": total(Field.ACTIVE),
                "unauthenticated": total(Field.UNAUTHENTICATED),
                "limit": facts.get("limit"),
                "unauthenticated_limit": facts.get("unauthenticated_limit"),
                "accepted": total(Field.ACCEPTED),
                "established": total(Field.ESTABLISHED),
                "ended": ended,
            },
            "bytes": {"sealed": total(Field.SEALED), "opened": total(Field.OPENED)},
            "packets": {
                "sealed": total(Field.SEALED_PACKETS),
                "opened": total(Field.OPENED_PACKETS),
            },
        }

    def _worker(self, facts: Document) -> dict[str, Any]:
        slot = self._counters.slot(facts["slot"])
        sampled = slot[Field.MEMORY_BYTES] > 0
        return {
            **{name: facts.get(name) for name in ("id", "pid", "generation", "state")},
            "active": slot[Field.ACTIVE],
            "unauthenticated": slot[Field.UNAUTHENTICATED],
            "accepted": slot[Field.ACCEPTED],
            "established": slot[Field.ESTABLISHED],
            "sealed": slot[Field.SEALED],
            "opened": slot[Field.OPENED],
            "cpu_seconds": slot[Field.CPU_MILLISECONDS] / 1000 if sampled else None,
            "memory_bytes": slot[Field.MEMORY_BYTES] if sampled else None,
        }


def _name(sockaddr: bytes) -> str:
    address = decode_sockaddr(sockaddr)
    return "" if address is None else str(address)


def _sort_key(field: str) -> Callable[[dict[str, Any]], Any]:
    if field == "id":  # by number, and not by letter

        def by_number(row: dict[str, Any]) -> tuple[int, ...]:
            return tuple(map(int, row["id"].split("-")))

        return by_number
    return lambda row: row[field]
