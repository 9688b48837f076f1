"""A soak: a real pair of daemons, clients of many kinds, and havoc among the workers.

warm up -> rest, measure -> go on for the time -> rest, measure, compare
"""

from __future__ import annotations

import json
import queue
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.daemons import Stage, wait_until
from tests.helpers import ROOT
from tests.soak.havoc import End, Footprint, Havoc, Totals, quiet_footprint, renew, totals

WORKERS = 3
CLIENTS = 2  # processes
TIME_LIMIT = 30  # -o: what is slow here is the machine
REST_MAX = 120.0  # seconds until the last connection has ended
TICK = 0.1

MEMORY_GROWTH = 4 << 20  # bytes that a daemon may have more at the end than after the warm-up


class Plan(NamedTuple):
    """How long, and how hard."""

    seconds: float
    warm_up: float
    rate: float  # connections that are begun a second
    span: float  # seconds that connections may be silent
    havoc_every: float  # seconds
    seed: int


@dataclass
class Result:
    """What has become of everything."""

    seconds: float = 0.0
    opened: int = 0  # connections at the encrypting daemon
    strangers: int = 0
    bytes: int = 0  # compared
    received: dict[str, int] = field(default_factory=dict)  # of these, behind each end
    ended: Counter[str] = field(default_factory=Counter)  # as they should, by kind
    havoc: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    lost_with_worker: int = 0
    lost: list[dict[str, Any]] = field(default_factory=list)  # for no reason
    wrong: list[str] = field(default_factory=list)
    footprints: list[tuple[str, Footprint, Footprint]] = field(default_factory=list)
    counted: dict[str, Totals] = field(default_factory=dict)
    carried: dict[str, int] = field(default_factory=dict)  # connections of workers when killed

    def faults(self) -> list[str]:
        """What must not have been."""
        faults = [f"lost: {lost}" for lost in self.lost] + self.wrong
        for name, before, after in self.footprints:
            if not after.is_like(before):
                faults.append(f"-{name}: workers, descriptors: {before[:2]} before, {after[:2]}")
            if after.memory > before.memory + MEMORY_GROWTH:
                faults.append(f"-{name}: memory: {before.memory} before, {after.memory}")
        for name, counted in self.counted.items():
            faults += [f"-{name}: {fault}" for fault in self._miscounted(name, counted)]
        accepted = self.counted["e"].accepted
        # a worker may die between accepting a connection and counting it
        if not self.opened - self.kills <= accepted <= self.opened:
            faults.append(f"-e: {accepted} connections accepted, {self.opened} opened")
        return faults

    def _miscounted(self, name: str, counted: Totals) -> Iterator[str]:
        """What a daemon has counted is not what has been."""
        if counted.now != 0 or counted.listed != 0:
            yield f"{counted.now} connections at rest, {counted.listed} in the table"
        without_end = counted.accepted - counted.ended
        if not 0 <= without_end <= self.carried.get(name, 0):
            yield f"{without_end} connections had no end, and {self.carried} a killed worker"
        if not counted.established - self.kills <= counted.shaken <= counted.established:
            yield f"{counted.shaken} handshakes timed, {counted.established} connections relayed"
        if counted.opened < self.received.get(name, 0):
            yield f"{counted.opened} bytes opened, {self.received[name]} received"


class Process:
    """A client or the target: takes commands and reports."""

    def __init__(self, name: str, *arguments: object, fd: int | None = None) -> None:
        command = [sys.executable, "-m", f"tests.soak.{name}", *map(str, arguments)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[] if fd is None else [fd],
        )
        self.last: dict[str, Any] = {}  # the newest report
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()

    def reports(self) -> Iterator[dict[str, Any]]:
        """Those that have come since the last time."""
        assert self._process.poll() is None, f"{self._process.args!r} has died"
        while not self._lines.empty():
            self.last = json.loads(self._lines.get())
            yield self.last

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class Soak:
    """Everything that is running."""

    def __init__(self, stage: Stage, plan: Plan) -> None:
        self.plan = plan
        self.result = Result()
        self._unexplained: list[dict[str, Any]] = []
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._target = stage.on_stage(Process("target", listener.fileno(), fd=listener.fileno()))
        d = _start(stage, "d", f"[127.0.0.1]:{listener.getsockname()[1]}")
        e = _start(stage, "e", d.daemon.source)
        listener.close()
        stranger = stage.spiped(
            "-e", d.daemon.source, "-n", "0", "--workers", "1", key=stage.write("wrong", b"wrong")
        )
        ports = [daemon.source.rpartition(":")[2] for daemon in (e.daemon, stranger, d.daemon)]
        self._clients = [
            stage.on_stage(
                Process("client", *ports, plan.rate / CLIENTS, plan.span, plan.seed + number)
            )
            for number in range(CLIENTS)
        ]
        self._ends = [e, d]
        self._havoc = Havoc(self._ends, random.Random(plan.seed))

    def run(self, on_tick: Callable[[Result], None]) -> Result:
        for end in self._ends:
            renew(end)
        self._work(self.plan.warm_up, on_tick)
        before = [quiet_footprint(end) for end in self._ends]
        self._work(self.plan.seconds, on_tick)
        result = self.result
        result.footprints = [
            (end.name, wanted, quiet_footprint(end, wanted))
            for end, wanted in zip(self._ends, before, strict=True)
        ]
        result.counted = {end.name: totals(end) for end in self._ends}
        return result

    def _work(self, seconds: float, on_tick: Callable[[Result], None]) -> None:
        """Let clients come, and havoc, for so long; then wait until the last one has gone."""
        began = time.monotonic()
        for client in self._clients:
            client.tell("go")
        next_havoc = began + self.plan.havoc_every
        while (now := time.monotonic()) < began + seconds:
            if now >= next_havoc:
                self._havoc.act()
                next_havoc += self.plan.havoc_every
            self._take_reports()
            on_tick(self.result)
            time.sleep(TICK)
        self.result.seconds += seconds
        for client in self._clients:
            client.tell("rest")
        wait_until(self._is_at_rest, "all connections have ended", REST_MAX)
        self._explain()

    def _is_at_rest(self) -> bool:
        self._take_reports()
        return not any(c.last.get("going", True) or c.last["active"] for c in self._clients)

    def _take_reports(self) -> None:
        result = self.result
        for process in (*self._clients, self._target):
            for report in process.reports():
                result.wrong += report["wrong"]
                self._unexplained += report.get("lost", [])
        last = [client.last for client in self._clients if client.last]
        result.opened = sum(report["opened"] for report in last)
        result.strangers = sum(report["strangers"] for report in last)
        result.ended = sum((Counter(report["ended"]) for report in last), Counter())
        result.bytes = sum(report["bytes"] for report in (*last, self._target.last))
        at_clients = sum(report["bytes"] for report in last)
        result.received = {"e": at_clients, "d": result.bytes - at_clients}
        result.havoc, result.kills = self._havoc.done, len(self._havoc.kills)
        result.carried = {end.name: self._havoc.carried(end.name) for end in self._ends}

    def _explain(self) -> None:
        """Tell what was lost with its worker from what was lost otherwise."""
        for lost in self._unexplained:
            if any(kill.excuses(lost) for kill in self._havoc.kills):
                self.result.lost_with_worker += 1
            else:
                self.result.lost.append(lost)
        self._unexplained.clear()


def _start(stage: Stage, name: str, target: str) -> End:
    key = Path(stage.write(f"key-{name}", b"the same at both ends"))
    log = stage.directory / f"log-{name}"
    status = stage.address("unix")
    options = ("-n", "0", "-o", str(TIME_LIMIT), "--workers", str(WORKERS), "--log-file", str(log))
    options += ("--status", status)
    daemon = stage.spiped(f"-{name}", target, *options, key=str(key), background=True)
    return End(name, daemon, WORKERS, key, log, status)


@contextmanager
def soak(directory: Path, plan: Plan) -> Iterator[Soak]:
    with Stage(directory) as stage:
        yield Soak(stage, plan)
