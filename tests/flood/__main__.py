"""Flood a daemon: ``python -m tests.flood`` measures round trips without and with strangers."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.daemons import Stage
from tests.flood.run import Flood, Report, Scene

BAR = 3.0  # times the quiet p99


def row(name: str, report: Report) -> list[str]:
    trips, cpu = report.trips, report.cpu
    figures = [f"{trips[key]:,.0f}" for key in ("count", "p50_us", "p99_us", "max_us")]
    shares = [f"{cpu[end] / trips['seconds']:.2f}" for end in ("-e", "-d")]
    return [name, *figures, *shares]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.flood", description=__doc__)
    parser.add_argument("--strangers", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=4000, help="strangers a second")
    parser.add_argument("--hanging", type=int, default=2000, help="strangers that stay, at once")
    parser.add_argument("--connections", type=int, default=4, help="with round trips")
    parser.add_argument("--quiet", type=float, default=5.0, help="seconds without strangers")
    arguments = parser.parse_args()
    flood = Flood(arguments.strangers, arguments.rate, arguments.hanging)
    with tempfile.TemporaryDirectory() as directory, Stage(Path(directory)) as stage:
        scene = Scene(stage, arguments.connections)
        quiet = scene.measure(arguments.quiet)
        flooded = scene.measure(flood.count / flood.rate, flood)
        again = scene.measure(arguments.quiet)
    table = Table("", "round trips", "p50 µs", "p99 µs", "max µs", "CPU -e", "CPU -d")
    for name, report in (("quiet", quiet), ("flood", flooded), ("quiet again", again)):
        table.add_row(*row(name, report))
    console = Console()
    console.print(table)
    told = flooded.strangers
    console.print(
        f"{told['let_in']:,} strangers let in, {told['not_let_in']:,} not, in {told['seconds']} s"
    )
    times = flooded.trips["p99_us"] / quiet.trips["p99_us"]
    console.print(f"p99 beside the flood: {times:.1f} times the quiet one (the bar: {BAR:g})")
    damaged = sum(report.trips["damaged"] for report in (quiet, flooded, again))
    console.print(f"round trips damaged or lost: {damaged:g}")
    return 0 if times < BAR and damaged == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
