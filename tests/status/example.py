"""The shared memory of a daemon, written as a supervisor and its workers write it.

For what tests of the server and the page need to have at will: many connections, hostile names, a
daemon that drains.  Whoever looks does so with the real `View`.
"""

from __future__ import annotations

import math
import random
import time
from typing import Any, NamedTuple

from spiped import __version__
from spiped.net.address import encode_sockaddr
from spiped.observe import entry
from spiped.observe.counters import Counters
from spiped.observe.entry import Shown, State
from spiped.observe.facts import Facts
from spiped.observe.slot import Field

ENDED = {
    Field.ENDED_CLEAN: 48_211,
    Field.ENDED_CLOSED: 312,
    Field.ENDED_NO_KEY: 97,
    Field.ENDED_TOO_SLOW: 41,
    Field.ENDED_IDLE: 28,
    Field.ENDED_UNREACHED: 12,
    Field.ENDED_PLAIN_LOST: 9,
    Field.ENDED_BAD_TAG: 1,
    Field.ENDED_LEFT: 2_004,
    Field.ENDED_ABORTED: 15,
    Field.ENDED_KILLED: 3,
}

OWN = "document.title='owned'"
HOSTILE = f'<img src=x onerror="{OWN}"></td><script>{OWN}</script>"\\'

STATES = (State.RELAYING, State.HANDSHAKE, State.CONNECTING, State.HALF_CLOSED, State.DRAINING)


class Scenario(NamedTuple):
    connections: int = 240
    state: str = "serving"
    hostile: bool = False  # names are what an attacker would have chosen
    hidden: int = 0  # connections that have no place in the table
    churn: bool = False  # connections come and go


class Connection(NamedTuple):
    shown: Shown
    slot: int
    is_waiting: bool  # to be authenticated
    busy: float  # bytes a second on average
    phase: float


def counters_for(scenario: Scenario) -> Counters:
    """Memory for two workers that share these connections."""
    counters = Counters(3, entries=scenario.connections + 1)
    counters.use(3)
    return counters


class Daemon:
    """What writes: it carries nothing, and counts as if it did."""

    def __init__(self, scenario: Scenario, counters: Counters, facts: Facts) -> None:
        self._counters = counters
        self._facts = facts
        self._chance = random.Random(7)
        self._number = 1000
        self._usual, self._churn = scenario.connections, scenario.churn
        self._connections: list[Connection] = []
        self._last = time.monotonic()
        self._tables = {slot: entry.Table(counters.entries(slot)) for slot in (1, 2)}
        self.document = self._describe(scenario)
        for index in range(scenario.connections):
            self.open(1 + index % 2)
        self._count_the_past(scenario.hidden)
        self.say()

    def say(self, **changes: Any) -> None:
        """Write the supervisor's document, with other values for some of it."""
        self.document.update(changes)
        self._facts.write(self.document)

    def add_worker(self) -> None:
        """One more, in a slot that there was not; with one connection."""
        slot = self._counters.slots
        self._counters.use(slot + 1)
        self._tables[slot] = entry.Table(self._counters.entries(slot))
        self.open(slot)
        self.say(workers=[*self.document["workers"], worker(slot)])

    def open(self, slot: int) -> None:
        """A connection of a worker's."""
        self._number += 1
        shown = self._tables[slot].take(self._number, 0)
        chance = self._chance
        state = chance.choices(STATES, (90, 4, 2, 3, 1))[0]
        age = int(1000 * chance.expovariate(1 / 2400))
        shown._began_ms = max(1, shown._began_ms - age)  # not before the system's clock began
        shown.addresses(peer=encode_sockaddr(_peer(chance)))
        if state is not State.HANDSHAKE:
            shown.addresses(target=encode_sockaddr(("10.0.0.17", 25)))
        shown.state(state)
        is_waiting = state in (State.HANDSHAKE, State.CONNECTING)
        moves = state in (State.RELAYING, State.HALF_CLOSED)
        busy = chance.choice((0, 0, 0, 300, 2_000, 40_000, 400_000)) * chance.random() * moves
        old = time.monotonic() - shown._began_ms / 1000
        shown.carried(int(0.3 * busy * old), int(0.7 * busy * old))
        if busy > 100_000:
            shown.unsent(0, chance.randrange(100_000))
        self._connections.append(Connection(shown, slot, is_waiting, busy, chance.uniform(0, 6)))
        words = self._counters.slot(slot)
        words.view[Field.ENTRIES] = self._tables[slot].fresh
        words.add(Field.ACTIVE, 1)
        words.add(Field.ACCEPTED, 1)
        if is_waiting:
            words.add(Field.UNAUTHENTICATED, 1)
        else:
            words.add(Field.ESTABLISHED, 1)
            words.time(Field.HANDSHAKE_TIME, chance.expovariate(200))
            words.time(Field.CONNECT_TIME, chance.expovariate(1000))

    def go_on(self) -> None:
        """Carry what has come since the last time."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        tide = 1 + 0.35 * math.sin(now / 23) + 0.2 * math.sin(now / 7.3)
        for connection in self._connections:
            if not connection.busy:
                continue
            wave = tide * (1 + math.sin(now / 9 + connection.phase))
            count = int(connection.busy * passed * wave)
            sealed, opened = count * 3 // 10, count * 7 // 10
            at = connection.shown._at
            assert at is not None
            carried = entry._CARRIED.unpack_from(connection.shown._entries, at + 64)
            connection.shown.carried(carried[0] + sealed, carried[1] + opened)
            self._carry(connection.slot, sealed, opened)
        if self._churn:
            self._come_and_go(now)
        for slot in (1, 2):
            words = self._counters.slot(slot)
            come = int(passed * 12 + self._chance.random())
            words.add(Field.ACCEPTED, come)
            words.add(Field.ESTABLISHED, come)
            words.add(Field.ENDED_CLEAN, come)
            words.add(Field.CPU_MILLISECONDS, int(passed * 80))

    def _come_and_go(self, now: float) -> None:
        """One comes or goes, and there are soon as many as befits the time."""
        wanted = self._usual * (0.82 + 0.12 * math.sin(now / 41) + 0.05 * math.sin(now / 11))
        if len(self._connections) < wanted:
            self.open(self._chance.choice((1, 2)))
        else:
            index = self._chance.randrange(len(self._connections))
            connection = self._connections.pop(index)
            self._tables[connection.slot].give_back(connection.shown)
            words = self._counters.slot(connection.slot)
            words.add(Field.ACTIVE, -1)
            words.add(Field.ENDED_CLEAN, 1)
            if connection.is_waiting:
                words.add(Field.UNAUTHENTICATED, -1)

    def _carry(self, slot: int, sealed: int, opened: int) -> None:
        words = self._counters.slot(slot)
        for field, count in ((Field.SEALED, sealed), (Field.OPENED, opened)):
            words.add(field, count)
            words.add(field + 2, -(-count // 1024))

    def _count_the_past(self, hidden: int) -> None:
        kept = self._counters.slot(0)
        for field, count in ENDED.items():
            kept.add(field, count)
        kept.add(Field.ACCEPTED, sum(ENDED.values()))
        kept.add(Field.ESTABLISHED, ENDED[Field.ENDED_CLEAN])
        kept.add(Field.RELOADS, 3)
        self._carry(0, 31 * 10**9, 74 * 10**9)
        self._counters.slot(1).add(Field.ACTIVE, hidden)
        for slot in (1, 2):
            self._counters.slot(slot).view[Field.SERVING] = 1
            self._counters.slot(slot).add(Field.CPU_MILLISECONDS, 340_000 + 9000 * slot)
            self._counters.slot(slot).add(Field.MEMORY_BYTES, 11_534_336 + 70_000 * slot)

    def _describe(self, scenario: Scenario) -> dict[str, Any]:
        now = time.time()

        def name(harmless: str) -> str:
            return HOSTILE + harmless if scenario.hostile else harmless

        return {
            "version": __version__,
            "pid": 4711,
            "process": {
                "cpu_seconds": 12.5,
                "memory_bytes": 14_000_000,
                "open_files": 14,
                "max_files": 1024,
            },
            "name": name("mail"),
            "state": scenario.state,
            "ready": scenario.state == "serving",
            "started": now - 11 * 86400 - 7421,
            "generation": 4,
            "last_reload": {"at": now - 5230, "error": name("") and name("no such key")},
            "pipes": [
                {
                    "name": name("mail"),
                    "mode": "decrypt",
                    "source": name("[0.0.0.0]:8025"),
                    "targets": [
                        {
                            "name": name("mail.internal:25"),
                            "addresses": ["[10.0.0.17]:25", "[10.0.0.18]:25"],
                            "resolved": now - 42,
                            "state": "up",
                            "connections": 0,
                            "failures": 12,
                        }
                    ],
                    "keys": [{"name": name("mail.key"), "active": 0, "last_seen": now}],
                    "limit": 500,
                    "unauthenticated_limit": 375,
                }
            ],
            "workers": [worker(slot) for slot in (1, 2)],
        }


def worker(slot: int) -> dict[str, Any]:
    return {"id": slot, "pid": 4711 + slot, "generation": 4, "state": "serving", "slot": slot}


def _peer(chance: random.Random) -> tuple[str, int]:
    port = chance.randrange(32768, 61000)
    if chance.random() < 0.2:
        return f"2001:db8:{chance.randrange(65536):x}::{chance.randrange(1, 65536):x}", port
    network = chance.choice(("198.51.100", "203.0.113", "192.0.2"))
    return f"{network}.{chance.randrange(1, 255)}", port
