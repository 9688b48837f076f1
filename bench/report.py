"""The results as Markdown: a table of goals, and one of figures for every workload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.goals import UNKNOWN, judge
from bench.metrics import METRICS, SATURATED
from bench.results import Result, Results
from bench.workloads import WORKLOADS, Workload

REFERENCE = "debian"

LEGEND = f"""\
Medians of {{rounds}} rounds of {{seconds:g}} s each, the contenders taking turns; in parentheses
the ratio to C spiped.  CPU: user and system time of all processes of both ends, in seconds of the
system's clock and not in cycles: a core's cycles, which the row "clock" turns them into, are not
those of the TSC.  Every byte was
compared with the one sent.  An asterisk marks figures for which a process of the load generator
used more than {SATURATED:.0%} of a CPU, so that it may be what was measured."""


def markdown(results: Results, charts: Sequence[str] = ()) -> str:
    """The whole report.  ``charts``: names of picture files beside it."""
    parts = ["# Measurements", _machine(results)]
    parts.append(LEGEND.format(rounds=results.rounds, seconds=results.seconds))
    parts += ["## Goals", goal_table(results)]
    for workload in WORKLOADS:
        found = results.of(workload.name)
        if found:
            parts += [f"## {_capital(workload.title)}", workload_table(workload, results)]
            parts += [workload.note] if workload.note else []
            parts += _problems(found)
    parts += [f"![{name.partition('.')[0]}]({name})" for name in charts]
    return "\n\n".join(parts) + "\n"


def _machine(results: Results) -> str:
    rows = [*results.machine.items()]
    rows += [(name, text) for name, text in results.versions.items() if text]
    return table(["", ""], rows)


def goal_table(results: Results) -> str:
    """Every goal that was measured, with its verdict."""
    titles = {workload.name: workload.title for workload in WORKLOADS}
    rows = []
    for goal, value, verdict in judge(results):
        if verdict != UNKNOWN and value is not None:
            aim = "" if goal.aim is None else f"{goal.aim:g}"
            metric = METRICS[goal.metric].title
            title = titles[goal.workload]
            rows.append((title, metric, goal.bound, aim, f"{value:.2f}", verdict))
    return table(["workload", "figure", "at least", "aim", "measured", "verdict"], rows)


def workload_table(workload: Workload, results: Results) -> str:
    """All contenders in one workload."""
    titles = [METRICS[name].title for name in workload.metrics]
    rows = []
    for result in results.of(workload.name):
        if result.rounds:
            cells = [_cell(result, metric, results) for metric in workload.metrics]
            rows.append((_label(result), *cells))
    return table(["", *titles], rows)


def _label(result: Result) -> str:
    count = result.entrant.partition("/")[2]
    if count:
        return f"{result.title}, {count} worker{'s' if count != '1' else ''}"
    return result.title


def _cell(result: Result, metric: str, results: Results) -> str:
    value = result.median(metric)
    if value is None:
        return "–"  # noqa: RUF001
    text = format(value, METRICS[metric].form)
    other = results.median(result.workload, REFERENCE, metric)
    if other and result.entrant != REFERENCE:
        text += f" ({value / other:.2f})"
    return text + (" *" if result.saturated else "")


def _problems(found: list[Result]) -> list[str]:
    problems = [f"- {_label(r)}: {r.problem}" for r in found if r.problem is not None]
    return ["\n".join(problems)] if problems else []


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
