"""A daemon that there is not: what the status server tells of it depends on the time alone.

For what tests of the server and the page need to have at will: many connections, hostile names, a
daemon that drains.  The real daemon is told of in `tests/process/`.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from spiped.observe.families import COUNTER, GAUGE, HISTOGRAM, INFO, Family, Sample
from spiped.status.source import NoSuchPipe

CAUSES = {
    "clean": 48_211,
    "closed": 312,
    "no_key": 97,
    "too_slow": 41,
    "idle": 28,
    "unreached": 12,
    "plain_lost": 9,
    "bad_tag": 1,
    "truncated": 0,
    "aborted": 0,
}

OWN = "document.title='owned'"
HOSTILE = f'<img src=x onerror="{OWN}"></td><script>{OWN}</script>'

LIMITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, math.inf)


class Scenario(NamedTuple):
    connections: int = 240
    state: str = "serving"
    pipes: tuple[str, ...] = ("mail", "cache")
    hostile: bool = False  # names are what an attacker would have chosen
    hidden: int = 0
    seed: int = 7


class Connection(NamedTuple):
    """What stays the same of one."""

    number: int
    pipe: int
    worker: int
    peer: str
    begun: float
    busy: float  # bytes a second on average
    period: float  # seconds of its ups and downs
    state: str


class Example:
    """A `spiped.status.source.Source`."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.started = time.time() - 11 * 86400 - 7421
        chance = random.Random(scenario.seed)
        self._connections = [
            Connection(
                number=1000 + i,
                pipe=chance.randrange(len(scenario.pipes)),
                worker=chance.choice((3, 4)),
                peer=HOSTILE if scenario.hostile else _peer(chance),
                begun=time.time() - chance.expovariate(1 / 2400),
                busy=chance.choice((0, 0, 0, 300, 2_000, 40_000, 1_500_000)) * chance.random(),
                period=chance.uniform(8, 60),
                state=chance.choices(
                    ("relaying", "handshake", "connecting", "half-closed", "draining"),
                    (90, 4, 2, 3, 1 if scenario.state == "serving" else 40),
                )[0],
            )
            for i in range(scenario.connections)
        ]

    # The protocol

    def ready(self) -> bool:
        return self.scenario.state == "serving"

    def live(self) -> bool:
        return True

    def status(self) -> dict[str, Any]:
        now = time.time()
        return {
            "version": "2.0.0",
            "pid": 4711,
            "name": self._name("mail-gateway"),
            "state": self.scenario.state,
            "ready": self.ready(),
            "now": now,
            "started": self.started,
            "generation": 4,
            "reloads": {
                "succeeded": 3,
                "failed": 1,
                "last": {"at": now - 5230, "error": self._name("")},
            },
            "upgrades": 1,
            "worker_restarts": 0,
            "log_lines_dropped": 0,
            "pipes": [self._pipe(i, now) for i in range(len(self.scenario.pipes))],
            "workers": [self._worker(i, now) for i in (3, 4)],
        }

    def connections(
        self, sort: str, descending: bool, limit: int, pipe: str | None
    ) -> dict[str, Any]:
        now = time.time()
        names = [self._name(name) for name in self.scenario.pipes]
        if pipe is not None and pipe not in names:
            raise NoSuchPipe(f"the pipes are {', '.join(names)}")
        rows = [c for c in self._connections if pipe is None or names[c.pipe] == pipe]
        rows.sort(key=lambda c: self._field(c, sort, now), reverse=descending)
        listed = rows[: limit or None]
        return {
            "total": len(rows) + self.scenario.hidden,
            "listed": len(listed),
            "hidden": self.scenario.hidden,
            "connections": [self._row(c, now) for c in listed],
        }

    def families(self) -> list[Family]:
        now = time.time()
        labels = [(("pipe", self._name(name)),) for name in self.scenario.pipes]
        return [
            Family("spiped_build", INFO, "Version.", samples=(Sample((("version", "2.0.0"),)),)),
            Family(
                "spiped_connections_active",
                GAUGE,
                "Connections that there are now.",
                samples=tuple(
                    Sample(label, self._active(i, now)) for i, label in enumerate(labels)
                ),
            ),
            Family(
                "spiped_sealed_bytes",
                COUNTER,
                "Payload that was encrypted.",
                "bytes",
                tuple(
                    Sample(label, self._moved(i, now, 1), created=self.started)
                    for i, label in enumerate(labels)
                ),
            ),
            Family(
                "spiped_connections_ended",
                COUNTER,
                "Connections that have ended, by cause.",
                samples=tuple(
                    Sample((*label, ("cause", cause)), count, created=self.started)
                    for label in labels
                    for cause, count in CAUSES.items()
                ),
            ),
            Family(
                "spiped_handshake_duration_seconds",
                HISTOGRAM,
                'Time from accept to "established".',
                "seconds",
                tuple(
                    Sample(
                        label,
                        48_000,
                        tuple(
                            (le, int(48_000 * (1 - math.exp(-le * 90))))
                            if le < math.inf
                            else (le, 48_000)
                            for le in LIMITS
                        ),
                        533.25,
                        self.started,
                    )
                    for label in labels
                ),
            ),
        ]

    # How the numbers come about

    def _name(self, harmless: str) -> str:
        return HOSTILE + harmless if self.scenario.hostile else harmless

    def _active(self, pipe: int, now: float) -> int:
        there = sum(c.pipe == pipe for c in self._connections)
        return max(0, there + round(there * 0.06 * math.sin(now / 17 + pipe)))

    def _moved(self, pipe: int, now: float, direction: int) -> int:
        """Bytes since the beginning: their rate is what the page draws."""
        t = now - self.started
        mean = (31e6 if direction else 74e6) / (1 + 2.5 * pipe)
        waves = ((23, 0.35), (7.3, 0.2), (2.9, 0.12), (131, 0.3))
        return round(
            mean * t
            + sum(mean * a * p / 6.283 * math.sin(6.283 * t / p + direction) for p, a in waves)
        )

    def _pipe(self, i: int, now: float) -> dict[str, Any]:
        active = self._active(i, now)
        waiting = round(active * 0.05)
        ended = {cause: count // (1 + 3 * i) for cause, count in CAUSES.items()}
        established = sum(ended.values()) + active - waiting + round((now - self.started) * 1.7)
        sealed, opened = self._moved(i, now, 1), self._moved(i, now, 0)
        return {
            "name": self._name(self.scenario.pipes[i]),
            "mode": "decrypt" if i == 0 else "encrypt",
            "source": self._name(f"[0.0.0.0]:{8025 + i}"),
            "targets": [
                {
                    "name": self._name(f"{self.scenario.pipes[i]}.internal:{25 + i}"),
                    "addresses": [f"[10.0.{i}.{n}]:{25 + i}" for n in (17, 18)],
                    "resolved": now - 42,
                    "state": "up" if i == 0 else "unknown",
                    "connections": active,
                    "failures": 12 if i == 0 else 0,
                }
            ],
            "keys": [
                {"name": self._name("mail.key"), "active": active, "last_seen": now - 0.4},
            ],
            "connections": {
                "active": active,
                "unauthenticated": waiting,
                "limit": 500 if i == 0 else 0,
                "unauthenticated_limit": 375 if i == 0 else 0,
                "accepted": established + ended["no_key"],
                "established": established,
                "ended": ended,
            },
            "bytes": {"sealed": sealed, "opened": opened},
            "packets": {"sealed": sealed // 900, "opened": opened // 900},
        }

    def _worker(self, serial: int, now: float) -> dict[str, Any]:
        pipes = range(len(self.scenario.pipes))
        share = 0.47 if serial == 3 else 0.53
        return {
            "id": serial,
            "pid": 4709 + serial,
            "generation": 4,
            "state": "draining" if self.scenario.state == "draining" else "serving",
            "active": round(share * sum(self._active(i, now) for i in pipes)),
            "unauthenticated": 3,
            "accepted": round(share * (now - self.started)),
            "established": round(share * (now - self.started) * 0.99),
            "sealed": round(share * sum(self._moved(i, now, 1) for i in pipes)),
            "opened": round(share * sum(self._moved(i, now, 0) for i in pipes)),
            "cpu_seconds": share * 0.31 * (now - self.started),
            "memory_bytes": 11_534_336 if serial == 3 else None,
        }

    def _field(self, c: Connection, field: str, now: float) -> Any:
        return FIELDS[field](self, c, now)

    def _row(self, c: Connection, now: float) -> dict[str, Any]:
        return {name: field(self, c, now) for name, field in FIELDS.items()}

    def key_of(self, c: Connection) -> str:
        return "" if c.state in ("handshake", "connecting") else self._name("mail.key")

    def target_of(self, c: Connection) -> str:
        return "" if c.state == "handshake" else f"[10.0.{c.pipe}.17]:{25 + c.pipe}"

    def pipe_of(self, c: Connection) -> str:
        return self._name(self.scenario.pipes[c.pipe])


def _peer(chance: random.Random) -> str:
    port = chance.randrange(32768, 61000)
    if chance.random() < 0.2:
        return f"[2001:db8:{chance.randrange(65536):x}::{chance.randrange(65536):x}]:{port}"
    network = chance.choice(("198.51.100", "203.0.113", "192.0.2"))
    return f"[{network}.{chance.randrange(1, 255)}]:{port}"


def _rate(c: Connection, now: float, share: float) -> int:
    if c.state != "relaying":
        return 0
    return round(share * c.busy * (1 + math.sin(now / c.period + c.number)))


FIELDS: dict[str, Callable[[Example, Connection, float], Any]] = {
    "id": lambda e, c, now: f"{c.worker}-{c.number}",
    "pipe": lambda e, c, now: e.pipe_of(c),
    "key": lambda e, c, now: e.key_of(c),
    "worker": lambda e, c, now: c.worker,
    "peer": lambda e, c, now: c.peer,
    "target": lambda e, c, now: e.target_of(c),
    "state": lambda e, c, now: c.state,
    "age": lambda e, c, now: max(0, int(now - c.begun)),
    "idle": lambda e, c, now: int(c.busy == 0) * int(now - c.begun),
    "sealed": lambda e, c, now: int(0.3 * c.busy * (now - c.begun)),
    "opened": lambda e, c, now: int(0.7 * c.busy * (now - c.begun)),
    "sealed_rate": lambda e, c, now: _rate(c, now, 0.3),
    "opened_rate": lambda e, c, now: _rate(c, now, 0.7),
    "queued": lambda e, c, now: c.number % 7 * 9731 if c.busy > 500_000 else 0,
}
