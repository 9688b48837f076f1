"""``python -m bench``: the relay, measured beside everything that people use instead."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import resource
import sys
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.contenders import CONTENDERS, CannotRun, add_base
from bench.goals import UNKNOWN, judge
from bench.metrics import METRICS
from bench.report import goal_table, markdown
from bench.results import Result, Results
from bench.runner import Plan, run
from bench.workloads import WORKLOADS, Entrant, Workload

RESULTS = Path(__file__).resolve().parent / "results"

FULL = {"rounds": 5, "seconds": 2.0}
QUICK = {"rounds": 2, "seconds": 0.3}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: a first look")
    parser.add_argument("--only", metavar="PATTERN", help="workloads whose name begins with this")
    parser.add_argument("--contenders", metavar="A,B", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument(
        "--base", type=Path, metavar="TREE", help="ours as built in another tree is a contender too"
    )
    parser.add_argument("--rounds", type=int, help="how often everybody has their turn")
    parser.add_argument("--seconds", type=float, help="how long one measurement takes")
    parser.add_argument(
        "--workers", type=int, help="per end, of ours and the plain relay (default: one per CPU)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIRECTORY",
        help="where the report goes (default: one of this type of CPU, in bench/results)",
    )
    parser.add_argument("--list", action="store_true", help="list the workloads, run nothing")
    parser.add_argument("--render", type=Path, metavar="FILE", help="only report what is in FILE")
    arguments = parser.parse_args()
    if arguments.base is not None:
        try:
            add_base(arguments.base.resolve())
        except CannotRun as reason:
            parser.error(str(reason))
    names = None if arguments.contenders is None else arguments.contenders.split(",")
    if names is not None and not set(names) <= set(CONTENDERS):
        parser.error(f"contenders are {', '.join(CONTENDERS)}")
    arguments.contenders = names
    return arguments


def make_plan(arguments: argparse.Namespace) -> Plan:
    """The workloads and contenders that are wanted."""
    scale = QUICK if arguments.quick else FULL
    chosen = []
    for workload in WORKLOADS:
        if arguments.only is not None:
            wanted = re.match(arguments.only, workload.name) is not None
        else:
            wanted = not (arguments.quick and workload.slow)
        entrants = [
            entrant.with_workers(arguments.workers)
            for entrant in _with_base(workload.entrants)
            if arguments.contenders is None or entrant.contender.name in arguments.contenders
        ]
        if wanted and entrants:
            chosen.append(workload._replace(entrants=entrants))
    return Plan(
        chosen,
        rounds=int(arguments.rounds or scale["rounds"]),
        seconds=arguments.seconds or scale["seconds"],
        workers=arguments.workers,
    )


def _with_base(entrants: list[Entrant]) -> list[Entrant]:
    """The entrants, and beside ours what the other tree has, if there is one."""
    found = []
    for entrant in entrants:
        found.append(entrant)
        if entrant.name == "ours" and "base" in CONTENDERS:
            found.append(entrant._replace(name="base", contender=CONTENDERS["base"]))
    return found


class Display:
    """Shows how far we are, and every workload's figures once they are there."""

    def __init__(self, plan: Plan, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns, console=console)
        self._task = self.progress.add_task("", total=plan.steps)

    def begin(self, workload: Workload, entrant: Entrant) -> None:
        self.progress.update(self._task, description=f"{workload.title}: {entrant.name}")

    def done(self, steps: int) -> None:
        self.progress.advance(self._task, steps)

    def finished(self, workload: Workload, results: list[Result]) -> None:
        self.progress.console.print(f"[bold]{workload.title}[/bold]")
        for result in results:
            self.progress.console.print(f"  {result.entrant:10} {_figures(workload, result)}")


def _figures(workload: Workload, result: Result) -> str:
    if result.problem is not None:
        return result.problem
    figures = []
    for name in workload.metrics:
        value = result.median(name)
        if value is not None:
            figures.append(f"{format(value, METRICS[name].form)} {METRICS[name].title}")
    return " · ".join(figures) + (" (load generator saturated)" if result.saturated else "")


def write_report(results: Results, directory: Path, json_file: Path | None) -> None:
    """Write report.json, report.md and the charts, each in one piece."""
    directory.mkdir(parents=True, exist_ok=True)
    charts: list[str] = []
    if importlib.util.find_spec("matplotlib") is None:
        print("no charts: matplotlib is not installed", file=sys.stderr)
    else:
        from bench.charts import draw_all

        charts = draw_all(results, directory)
    _replace(directory / "report.json", results.to_json())
    _replace(directory / "report.md", markdown(results, charts))
    if json_file is not None:
        _replace(json_file, results.to_json())


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def use_all_descriptors() -> None:
    """Let what we start open as many files as this system permits."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    arguments = parse()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    if arguments.render is not None:
        results = Results.from_json(arguments.render.read_text())
    else:
        plan = make_plan(arguments)
        if arguments.list:
            for workload in plan.workloads:
                console.print(f"{workload.name:16} {workload.title}")
            return 0
        use_all_descriptors()
        display = Display(plan, console)
        with display.progress:
            results = run(plan, display)
    directory = arguments.results or RESULTS / results.place
    write_report(results, directory, arguments.json)
    if any(verdict.verdict != UNKNOWN for verdict in judge(results)):
        console.print(Markdown(goal_table(results)))
    console.print(f"report: {os.path.relpath(directory / 'report.md')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
