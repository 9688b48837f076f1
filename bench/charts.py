"""The results as pictures, each as SVG and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.metrics import LOADS, METRICS, goodput
from bench.results import Results

COLOURS = {
    "ours": "#0b6e4f",
    "debian": "#c8553d",
    "stunnel": "#588b8b",
    "ssh": "#8d6a9f",
    "plain": "#b8b8b8",
    "python": "#e0b84c",
    "base": "#7fb069",
    "kernels": "#444444",
}
WIDTH = 0.8  # of a group of bars


class Chart(NamedTuple):
    """Bars for one or two figures in several workloads, a colour for each contender."""

    name: str
    title: str
    workloads: dict[str, str]  # with what to call them below the bars
    metrics: tuple[str, ...]  # side by side
    logarithmic: bool = False


CHARTS = [
    Chart(
        "bulk",
        "Bulk",
        {"bulk-1": "1", "bulk-8": "8", "bulk-64": "64", "duplex-8": "8, both ways"},
        ("mb_s", "cpu_s_gb"),
    ),
    Chart(
        "latency",
        "64-byte round trip",
        {
            "roundtrip": "alone",
            "roundtrip-1000": "1,000 silent",
            "roundtrip-4000": "4,000 silent",
            "mixed": "beside bulk",
        },
        ("p50_us", "p99_us"),
        logarithmic=True,
    ),
    Chart(
        "messages",
        "64-byte ping-pong",
        {"pingpong-64": "64 connections", "pingpong-256": "256 connections"},
        ("msg_s", "cpu_us_msg"),
    ),
    Chart(
        "connections",
        "New connections, 16 at a time",
        {"connect": "default", "connect-weak": "-f"},
        ("conn_s", "cpu_ms_conn"),
    ),
    Chart(
        "busy",
        "Bulk beside a busy process",
        {"shared-core": "on the CPU of the far end"},
        ("mb_s", "mb_s_beside"),
    ),
    Chart(
        "unix",
        "Round trip over UNIX sockets, beside a busy process",
        {"unix-busy": "on the CPU of the far end"},
        ("p90_us", "p90_beside_us"),
        logarithmic=True,
    ),
    Chart(
        "strangers",
        "Strangers, 16 at a time",
        {"strangers-garbage": "garbage", "strangers-silent": "silent"},
        ("fail_s", "cpu_us_fail"),
    ),
    Chart("memory", "Idle connection, both ends", {"memory": ""}, ("kib_conn",)),
    Chart(
        "start",
        "Start",
        {"start-spipe": "spipe: first byte", "start-daemon": "spiped -d: first word"},
        ("start_ms",),
        logarithmic=True,
    ),
    Chart(
        "workers",
        "Workers",
        {"workers-bulk-1": "bulk, 1", "workers-bulk-8": "bulk, 8"},
        ("mb_s", "cpu_s_gb"),
    ),
]


def draw_all(results: Results, directory: Path) -> list[str]:
    """Draw every chart for which there is something; returns the names of the SVG files."""
    mpl.rcParams["svg.hashsalt"] = "spiped"  # the same results, the same file
    figures = {chart.name: _draw(chart, results) for chart in CHARTS}
    figures["overload"] = _draw_overload(results)
    names = []
    for name, figure in figures.items():
        if figure is not None:
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None})
            figure.savefig(directory / f"{name}.png", dpi=144)
            names.append(f"{name}.svg")
    return names


def _draw_overload(results: Results) -> Figure | None:
    """What is served over what comes, both by what can be served."""
    measured = [result for result in results.of("overload") if result.rounds]
    if not measured:
        return None
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    figure.suptitle("More new connections than can be served")
    axes = figure.subplots()
    best = [min(load, 1.0) for load in LOADS]
    axes.plot(
        LOADS, best, color=COLOURS["plain"], linestyle="dotted", label="the best there can be"
    )
    for result in measured:
        curve = [(load, result.median(goodput(load))) for load in LOADS]
        known = [(load, share) for load, share in curve if share is not None]
        axes.plot(
            *zip(*known, strict=True), "o-", color=COLOURS[result.entrant], label=result.title
        )
    axes.set_xlabel("come, × capacity")  # noqa: RUF001
    axes.set_ylabel("served, × capacity")  # noqa: RUF001
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw(chart: Chart, results: Results) -> Figure | None:
    present = {name: label for name, label in chart.workloads.items() if results.of(name)}
    entrants = list(dict.fromkeys(r.entrant for name in present for r in results.of(name)))
    if not entrants:
        return None
    figure = Figure(figsize=(1.5 + 4.5 * len(chart.metrics), 3.6), layout="constrained")
    figure.suptitle(chart.title)
    for axes, metric in zip(
        figure.subplots(1, len(chart.metrics), squeeze=False)[0], chart.metrics, strict=True
    ):
        _bars(axes, metric, present, entrants, results)
        if chart.logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.yaxis.set_minor_formatter(NullFormatter())
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = 3 * len(chart.metrics)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _bars(
    axes: Axes, metric: str, workloads: dict[str, str], entrants: list[str], results: Results
) -> None:
    width = WIDTH / len(entrants)
    for number, entrant in enumerate(entrants):
        values = [results.median(name, entrant, metric) or 0.0 for name in workloads]
        places = [group - WIDTH / 2 + width * (number + 0.5) for group in range(len(workloads))]
        axes.bar(
            places, values, width, label=_label(results, entrant), color=_colour(entrant, entrants)
        )
    axes.set_xticks(range(len(workloads)), list(workloads.values()))
    axes.set_ylabel(METRICS[metric].title)
    axes.spines[["top", "right"]].set_visible(False)


def _label(results: Results, entrant: str) -> str:
    name, _, workers = entrant.partition("/")
    if workers:
        return f"{workers} worker{'s' if workers != '1' else ''}"
    return next(r.title for r in results.results if r.entrant == name)


def _colour(entrant: str, entrants: list[str]) -> str | tuple[float, ...]:
    if "/" not in entrant:
        return COLOURS[entrant]
    shade = (entrants.index(entrant) + 1) / len(entrants)
    colour: tuple[float, ...] = mpl.colormaps["Greens"](0.3 + 0.6 * shade)
    return colour
