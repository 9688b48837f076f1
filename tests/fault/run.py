"""Inject every fault of the table into workers: ``python -m tests.fault.run``.

Each fault is one trial (scene.py).  A fault that no call has met is none, and is told.  Ends with 1
if a promise was broken.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from spiped.proto.terms import Role
from tests.conftest import backends
from tests.daemons import Stage
from tests.fault.faults import TABLE, Case, cases
from tests.fault.scene import Scene, Trial

ROLES = {"-e": Role.C, "-d": Role.S}


class Tally:
    """What has come of trials."""

    def __init__(self) -> None:
        self.trials = 0
        self.injected: Counter[str] = Counter()  # by call
        self.survived: Counter[str] = Counter()
        self.states: set[str] = set()  # in which a fault was injected
        self.missed: list[str] = []  # faults that no call has met
        self.broken: list[str] = []  # promises
        self.carried = 0  # connections
        self.verified = 0  # bytes

    def add(self, case: Case, trial: Trial, where: str) -> None:
        self.trials += 1
        call = case.fault.call.name
        if trial.hits:
            self.injected[call] += 1
            self.survived[call] += trial.survived
            self.states.add(case.state.name)
        else:
            self.missed.append(f"{where}, {case}")
        self.broken += [f"{where}, {case}: {promise}" for promise in trial.broken]


def run(
    role: str,
    backend: str,
    chosen: Iterable[Case],
    tally: Tally,
    tell: Callable[[Case, Trial], object] = lambda case, trial: None,
) -> None:
    """Try one fault after the other.  A daemon that has broken a promise is replaced."""
    left = list(chosen)
    while left:
        # what the daemon says is of interest only to who looks at a single fault
        with (
            redirect_stderr(io.StringIO()),
            tempfile.TemporaryDirectory() as directory,
            Stage(Path(directory)) as stage,
        ):
            scene = Scene(stage, ROLES[role], backend)
            trial = None
            while left and not (trial is not None and trial.broken):
                case = left.pop(0)
                trial = scene.trial(case.state, case.fault)
                tally.add(case, trial, f"{role} {backend}")
                tell(case, trial)
            tally.carried += scene.carried
            tally.verified += scene.verified


def report(tally: Tally, console: Console) -> None:
    table = Table(title="Faults of system calls")
    for column in ("call", "injected", "connection went on", "promises broken"):
        table.add_column(column, justify="left" if column == "call" else "right")
    for call in dict.fromkeys(row.call.name for row in TABLE):
        broken = sum(f": {call} " in line for line in tally.broken)
        table.add_row(call, str(tally.injected[call]), str(tally.survived[call]), str(broken))
    console.print(table)
    console.print(f"faults injected:      {tally.injected.total()}", highlight=False)
    console.print(f"not met by any call:  {len(tally.missed)}", highlight=False)
    console.print(f"connections carried:  {tally.carried}", highlight=False)
    console.print(f"bytes verified:       {tally.verified}", highlight=False)
    console.print(f"promises broken:      {len(tally.broken)}", highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fault.run", description="Inject faults of system calls."
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="faults whose description has this in it"
    )
    parser.add_argument("--verbose", action="store_true", help="tell of every fault")
    arguments = parser.parse_args()
    console, tally = Console(), Tally()
    plans = []
    for backend in backends():
        for role in ROLES:
            all_cases = cases(ROLES[role], backend)
            chosen = [case for case in all_cases if arguments.only in f"{role} {backend}, {case}"]
            plans.append((role, backend, chosen))
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("faults", total=sum(len(chosen) for _, _, chosen in plans))
        for role, backend, chosen in plans:

            def tell(case: Case, trial: Trial, where: str = f"{role} {backend}") -> None:
                progress.advance(task)
                lines = [f"BROKEN {where}, {case}: {promise}" for promise in trial.broken]
                if arguments.verbose:
                    outcome = "went on" if trial.survived else "ended"
                    lines.append(f"{where}, {case}: {trial.hits} times, {outcome}")
                for line in lines:
                    console.print(line, markup=False, soft_wrap=True)

            run(role, backend, chosen, tally, tell)
    if arguments.verbose:
        for line in tally.missed:
            console.print(f"not met: {line}", markup=False, soft_wrap=True)
    report(tally, console)
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
