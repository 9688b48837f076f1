"""A contender on stage: its pair running in front of a target, and the load that is put on it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import psutil

from bench.contenders import (
    CannotRun,
    Contender,
    Pair,
    Place,
    Setting,
    free_port,
    name_of,
    running_pair,
)
from bench.measure import cpu_seconds, pin

PATIENCE = 60.0  # seconds that a client may take beyond what it was told


class Broken(Exception):
    """A contender did not carry what it was given, and how that showed."""


class Run(NamedTuple):
    """What a client has measured, and what the pair used meanwhile."""

    report: dict[str, float]
    pair_cpu: float  # seconds
    generator: float  # the busiest process of the generator, in CPUs


class Client:
    """A process of the load generator, from its start to its report."""

    def __init__(self, command: list[str]) -> None:
        self.process = psutil.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._patience = PATIENCE

    def wait_until_ready(self) -> None:
        """Wait until its connections are open."""
        self._read_line()

    def go(self, seconds: float = 0.0) -> None:
        """Let it run, for so long."""
        self._patience = PATIENCE + seconds
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def report(self) -> dict[str, float]:
        """Wait for its measurements.  Raises Broken if anything was lost or altered."""
        report: dict[str, float] = self._read_line()
        if report["damaged"] or report["failed"] or report["sent"] != report["received"]:
            raise Broken(f"data was lost or altered: {report}")
        return report

    def _read_line(self) -> Any:
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the load generator died"}
        if "error" in answer:
            raise Broken(answer["error"])
        return answer


class Stage:
    """A running contender, and what there is to measure it with."""

    def __init__(
        self,
        contender: Contender,
        place: Place,
        setting: Setting,
        pair: Pair,
        target: psutil.Popen,
        stack: ExitStack,
    ) -> None:
        self.contender = contender
        self.place = place
        self.setting = setting
        self.pair = pair
        self._target = target
        self._stack = stack

    def client(self, command: str, *arguments: float, far: bool = False) -> Client:
        """A client of the pair whose connections are open; it is ended with the stage.

        ``far``: it comes to the far end, whose clients are the near one's otherwise.
        """
        port = self.pair.ports.middle if far else self.pair.ports.source
        name = name_of(self.place, self.setting, port)
        words = [self.place.programs.load, command, name, *map(str, arguments)]
        client = Client(words)
        self._stack.callback(_end, client.process)
        client.wait_until_ready()
        return client

    def measure(self, command: str, *arguments: float, far: bool = False) -> Run:
        """Run a client and look at what the pair uses while it does; the last argument: seconds."""
        client = self.client(command, *arguments, far=far)
        pair_before, target_before = cpu_seconds(self.pair.processes), self._target_cpu()
        begin = time.monotonic()
        client.go(arguments[-1])
        report = client.report()
        elapsed = time.monotonic() - begin
        target_cpu = self._target_cpu() - target_before
        return Run(
            report=report,
            pair_cpu=cpu_seconds(self.pair.processes) - pair_before,
            generator=max(report["cpu"], target_cpu) / elapsed,
        )

    def tool(self, *words: str) -> dict[str, float]:
        """What a command of the load generator says that starts programs itself."""
        return self.run(self.place.programs.load, *words)

    def run(self, *command: str, patience: float = PATIENCE) -> dict[str, float]:
        """What a program says that answers with one line of JSON."""
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=patience, check=False
        )
        report: dict[str, Any] = json.loads(done.stdout or '{"error": "died"}')
        if "error" in report:
            raise Broken(f"{report['error']}; {done.stderr.strip()}")
        return report

    @contextmanager
    def apart(self) -> Iterator[int]:
        """The far end has a CPU of its own meanwhile, this one; all others are for the rest."""
        cpus = os.sched_getaffinity(0)
        if len(cpus) < 2:
            raise CannotRun("the far end needs a CPU of its own")
        own = max(cpus)
        far, *near = self.pair.processes
        try:
            os.sched_setaffinity(0, cpus - {own})  # clients inherit it
            pin([far], {own})
            pin([*near, self._target], cpus - {own})
            yield own
        finally:
            os.sched_setaffinity(0, cpus)
            pin([*self.pair.processes, self._target], cpus)

    @contextmanager
    def busy(self, cpu: int) -> Iterator[None]:
        """A process does nothing but compute on this CPU meanwhile."""
        process = psutil.Popen(["sh", "-c", "while :; do :; done"])
        try:
            os.sched_setaffinity(process.pid, {cpu})
            yield
        finally:
            _end(process)

    def _target_cpu(self) -> float:
        return cpu_seconds([self._target])


def _end(process: psutil.Popen) -> None:
    process.kill()
    process.wait()


def _listen(place: Place, setting: Setting, port: int) -> socket.socket:
    if not setting.unix:
        return socket.create_server(("127.0.0.1", port), backlog=4096)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name_of(place, setting, port))
    listener.listen(4096)
    return listener


@contextmanager
def on_stage(contender: Contender, place: Place, setting: Setting) -> Iterator[Stage]:
    """Start a target and a pair in front of it.  Raises CannotRun."""
    with ExitStack() as stack:
        port = free_port()
        listener = stack.enter_context(_listen(place, setting, port))
        fd = listener.fileno()
        target = psutil.Popen([place.programs.load, "target", str(fd)], pass_fds=[fd])
        stack.callback(_end, target)
        pair = stack.enter_context(running_pair(contender, place, port, setting))
        yield Stage(contender, place, setting, pair, target, stack)
