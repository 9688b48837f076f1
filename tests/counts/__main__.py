"""``python -m tests.counts``: print what the data plane spends, beside the table in the tree."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from tests.counts.counting import SCENES, TABLE, UNITS, Counts, Table, build, count_all


def show(counted: Table, before: Table | None, console: Console) -> None:
    """One row for each scene: what one unit costs, and which calls of the system that are."""
    console.print(f"{counted.compiler}, {counted.machine}; in parentheses: × the table's")  # noqa: RUF001
    if before is not None and before.compiler != counted.compiler:
        console.print(f"The table's instructions are those of {before.compiler}.")
    grid = Grid("", "per", "instructions", "calls", "clock", "which calls")
    for scene in SCENES:
        counts = counted.scenes[scene.name]
        old = None if before is None else before.scenes.get(scene.name)
        grid.add_row(scene.name, UNITS[scene.act], *_figures(counts, old))
    console.print(grid)


def _figures(counts: Counts, old: Counts | None) -> list[str]:
    def one(value: int, before: int | None) -> str:
        each = value / counts.times
        text = f"{each:,.0f}" if each >= 1000 else f"{each:.4g}"
        return f"{text} ({value / before:.3f})" if before else text

    return [
        one(counts.instructions, None if old is None else old.instructions),
        one(sum(counts.calls.values()), None if old is None else sum(old.calls.values())),
        f"{counts.clock / counts.times:.4g}",
        " ".join(f"{name} {number / counts.times:.4g}" for name, number in counts.calls.items()),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.counts", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the table in the tree anew")
    arguments = parser.parse_args()
    before = Table.from_json(TABLE.read_text()) if TABLE.exists() else None
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        counted = count_all(build(directory), directory)
    show(counted, before, Console(width=None if sys.stdout.isatty() else 160))
    if arguments.update:
        TABLE.write_text(counted.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
