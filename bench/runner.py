"""Running the workloads: rounds over all contenders in turn, so that each sees the same weather."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench import programs
from bench.contenders import CONTENDERS, CannotRun, Place, version
from bench.results import Result, Results, describe_machine
from bench.stage import Broken, Stage, on_stage
from bench.workloads import Entrant, Sample, Workload


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    workloads: Sequence[Workload]
    rounds: int
    seconds: float  # of every single measurement
    workers: int | None = None  # per end; None: one per CPU

    @property
    def steps(self) -> int:
        return sum(self.rounds_of(w) * len(w.entrants) for w in self.workloads)

    def rounds_of(self, workload: Workload) -> int:
        return self.rounds if workload.rounds is None else min(self.rounds, workload.rounds)


class Watcher(Protocol):
    """Who wants to see how it goes."""

    def begin(self, workload: Workload, entrant: Entrant) -> None: ...

    def done(self, steps: int) -> None: ...

    def finished(self, workload: Workload, results: list[Result]) -> None: ...


@contextmanager
def _place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        place = Place(directory, programs.build(directory))
        place.key.touch(0o600)
        place.key.write_bytes(os.urandom(32))
        yield place


def run(plan: Plan, watcher: Watcher) -> Results:
    """Run everything."""
    with _place() as place:
        results = Results(
            machine=describe_machine(plan.workers, place.programs.load),
            versions={name: version(contender) for name, contender in CONTENDERS.items()},
            rounds=plan.rounds,
            seconds=plan.seconds,
        )
        for workload in plan.workloads:
            found = _Turn(workload, place, plan, watcher).run()
            results.results += found
            watcher.finished(workload, found)
    return results


class _Turn:
    """One workload: its contenders, set up once and then measured in rounds."""

    def __init__(self, workload: Workload, place: Place, plan: Plan, watcher: Watcher) -> None:
        self._workload = workload
        self._place = place
        self._plan = plan
        self._watcher = watcher
        self._stages: dict[str, Stage] = {}
        self._results = {
            entrant.name: Result(workload.name, entrant.name, entrant.contender.title)
            for entrant in workload.entrants
        }

    def run(self) -> list[Result]:
        with ExitStack() as stack:
            if not self._workload.fresh:
                for entrant in self._workload.entrants:
                    self._watcher.begin(self._workload, entrant)
                    self._set_up(entrant, stack)
            for number in range(self._plan.rounds_of(self._workload)):
                for entrant in self._in_turn(number):
                    self._round(entrant)
                    self._watcher.done(1)
        return list(self._results.values())

    def _in_turn(self, number: int) -> list[Entrant]:
        """The entrants, another one first every time, so that none always follows the same."""
        entrants = self._workload.entrants
        first = number % len(entrants)
        return entrants[first:] + entrants[:first]

    def _set_up(self, entrant: Entrant, stack: ExitStack) -> None:
        result = self._results[entrant.name]
        try:
            stage = stack.enter_context(on_stage(entrant.contender, self._place, entrant.setting))
            if self._workload.prepare is not None:
                self._workload.prepare(stage)
            self._stages[entrant.name] = stage
        except (CannotRun, Broken) as reason:
            result.problem = str(reason)

    def _round(self, entrant: Entrant) -> None:
        result = self._results[entrant.name]
        if result.problem is not None:
            return
        self._watcher.begin(self._workload, entrant)
        try:
            result.rounds.append(self._measure(entrant))
        except (CannotRun, Broken, PermissionError) as reason:
            result.problem = str(reason)

    def _measure(self, entrant: Entrant) -> Sample:
        seconds = self._plan.seconds
        if not self._workload.fresh:
            return self._workload.measure(self._stages[entrant.name], seconds)
        with on_stage(entrant.contender, self._place, entrant.setting) as stage:
            return self._workload.measure(stage, seconds)
