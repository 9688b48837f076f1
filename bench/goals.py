"""What the relay sets out to reach: every goal, once, and how the figures compare with it."""

from __future__ import annotations

from typing import NamedTuple

from bench.metrics import METRICS, goodput
from bench.results import Results

MET_AIM, MET, MISSED, UNKNOWN = "aim reached", "reached", "missed", "not measured"


class Goal(NamedTuple):
    """A figure of ours, divided by another one: at least, or at most, so much."""

    workload: str
    metric: str
    least: float
    aim: float | None = None
    entrant: str | None = "debian"  # whose figure it is divided by; None: by 1
    beside: str | None = None  # the workload of that figure, if it is another one
    plus: tuple[str, str] | None = None  # workload and entrant of what is added to that figure

    @property
    def more_is_better(self) -> bool:
        return METRICS[self.metric].more_is_better

    @property
    def bound(self) -> str:
        """The goal in words, without the aim."""
        sign = "≥" if self.more_is_better else "≤"
        return f"{sign} {self.least:g}{self.unit}"

    @property
    def unit(self) -> str:
        if self.entrant is None:
            return " " + METRICS[self.metric].title
        other = self.entrant if self.beside is None else f"{self.entrant}, {self.beside}"
        other = other if self.plus is None else f"({other} + {self.plus[1]})"
        return f" × {other}"  # noqa: RUF001

    def reached(self, value: float, bound: float) -> bool:
        return value >= bound if self.more_is_better else value <= bound


KERNELS = ("kernels", "kernels")

GOALS = [
    Goal("bulk-1", "mb_s", 4.0, 5.0),
    Goal("bulk-1", "cpu_s_gb", 0.25, 0.2),
    Goal("bulk-1", "cpu_s_gb", 0.7, entrant="stunnel"),
    Goal("bulk-8", "mb_s", 4.5, 6.0),
    Goal("bulk-8", "cpu_s_gb", 0.24),
    Goal("bulk-1", "cpu_s_gb", 1.05, entrant="plain", plus=KERNELS),
    Goal("bulk-8", "cpu_s_gb", 1.2, entrant="plain", plus=KERNELS),
    Goal("roundtrip", "p50_us", 1.1, 0.9),
    Goal("roundtrip", "p99_us", 1.0),
    Goal("roundtrip", "cpu_us_msg", 0.9, 0.7),
    Goal("roundtrip-1000", "p50_us", 0.08),
    Goal("roundtrip-1000", "p50_us", 1.3, 1.1, entrant="ours", beside="roundtrip"),
    Goal("pingpong-64", "cpu_us_msg", 0.75, 0.65),
    Goal("pingpong-64", "msg_s", 1.3, 1.5),
    Goal("connect", "conn_s", 3.5, 4.5),
    Goal("connect", "cpu_ms_conn", 0.3),
    Goal("connect", "conn_s", 1.0, entrant="stunnel"),
    Goal("connect-weak", "conn_s", 1.0, 1.3),
    Goal("memory", "kib_conn", 10.0, 7.0, entrant=None),
    Goal("mixed", "p99_us", 2.0, 1.0),
    Goal("mixed", "mb_s", 3.0, 4.0),
    Goal("shared-core", "share", 0.4, 0.45, entrant=None),
    Goal("unix-busy", "times_quiet", 2.0, entrant=None),
    Goal("unix-busy", "times_quiet", 1.2),
    Goal("overload", goodput(2.5), 0.8, 0.9, entrant=None),
    Goal("strangers-garbage", "cpu_us_fail", 0.67, entrant="base"),
    Goal("strangers-silent", "cpu_us_fail", 0.67, entrant="base"),
    Goal("start-spipe", "start_ms", 2.0, 1.6, entrant="python"),
]


class Verdict(NamedTuple):
    goal: Goal
    value: float | None  # the quotient
    verdict: str


def judge(results: Results) -> list[Verdict]:
    """How the results compare with every goal."""
    return [_judge(goal, results) for goal in GOALS]


def _judge(goal: Goal, results: Results) -> Verdict:
    value = results.median(goal.workload, "ours", goal.metric)
    if value is not None and goal.entrant is not None:
        other = results.median(goal.beside or goal.workload, goal.entrant, goal.metric)
        if goal.plus is not None and other is not None:
            more = results.median(*goal.plus, goal.metric)
            other = None if more is None else other + more
        value = value / other if other else None
    if value is None:
        return Verdict(goal, None, UNKNOWN)
    if goal.aim is not None and goal.reached(value, goal.aim):
        return Verdict(goal, value, MET_AIM)
    if goal.reached(value, goal.least):
        return Verdict(goal, value, MET)
    shortfall = 1 - value / goal.least if goal.more_is_better else value / goal.least - 1
    return Verdict(goal, value, f"{MISSED} by {shortfall:.0%}")
