"""Run a soak: ``python -m tests.soak --minutes N``; see run.py.

Ends with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.soak.run import Plan, Result, soak

WARM_UP = 0.05  # of the time
FAULTS_SHOWN = 20


def table(result: Result) -> Table:
    rows = Table("what", "how many", title="soak")
    carried = {name: count for name, count in sorted(result.ended.items()) if name != "lost"}
    strangers = sum(carried.pop(name, 0) for name in ("garbage", "wrong key"))
    rows.add_row("connections opened", f"{result.opened:,}")
    rows.add_row("  a second", f"{result.opened / result.seconds:.0f}")
    for name, count in carried.items():
        rows.add_row(f"  {name}", f"{count:,}")
    rows.add_row("strangers sent away", f"{strangers:,}")
    rows.add_row("bytes compared", f"{result.bytes:,}")
    rows.add_row("workers killed", f"{result.kills:,}")
    for name, count in sorted(result.havoc.items()):
        rows.add_row(f"  {name}", f"{count:,}")
    rows.add_row("connections lost with their worker", f"{result.lost_with_worker:,}")
    rows.add_row("connections lost otherwise", f"{len(result.lost):,}")
    rows.add_row("wrong bytes, wrong ends", f"{len(result.wrong):,}")
    for name, before, after in result.footprints:
        rows.add_row(f"-{name}: descriptors", f"{before.descriptors} then {after.descriptors}")
        rows.add_row(f"-{name}: memory, KB", f"{before.memory >> 10:,} then {after.memory >> 10:,}")
        counted = result.counted[name]
        rows.add_row(f"-{name}: accepted, ended", f"{counted.accepted:,}, {counted.ended:,}")
        rows.add_row(f"-{name}: opened, received", f"{counted.opened:,}, {result.received[name]:,}")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Run a soak.")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=220, help="connections begun a second")
    parser.add_argument("--havoc-every", type=float, default=4, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("Only root can see which connections a worker carries", file=sys.stderr)
        return 1
    seconds = 60 * arguments.minutes
    plan = Plan(
        seconds=seconds * (1 - WARM_UP),
        warm_up=seconds * WARM_UP,
        rate=arguments.rate,
        span=min(20.0, seconds / 20),
        havoc_every=arguments.havoc_every,
        seed=arguments.seed,
    )
    console = Console()
    console.print(f"seed: {plan.seed}", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory() as directory, soak(Path(directory), plan) as run:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=seconds)
            began = progress.get_time()

            def show(result: Result) -> None:
                progress.update(
                    task,
                    completed=progress.get_time() - began,
                    description=f"{result.opened:,} connections, {result.bytes / 1e9:.1f} GB, "
                    f"{result.kills} kills, {len(result.wrong)} wrong",
                )

            result = run.run(show)
        console.print(table(result))
    faults = result.faults()
    for fault in faults[:FAULTS_SHOWN]:
        console.print(fault, markup=False)
    console.print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
