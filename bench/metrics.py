"""What is measured: names, units, and which way is better."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    title: str
    form: str  # for format()
    more_is_better: bool = False


METRICS = {
    "mb_s": Metric("MB/s", ".0f", more_is_better=True),
    "cpu_s_gb": Metric("CPU-s per GB", ".2f"),
    "p50_us": Metric("p50, µs", ".0f"),
    "p90_us": Metric("p90, µs", ".0f"),
    "p90_beside_us": Metric("p90 beside, µs", ".0f"),
    "times_quiet": Metric("× its quiet p90", ".2f"),  # noqa: RUF001
    "mb_s_beside": Metric("MB/s beside", ".0f", more_is_better=True),
    "share": Metric("share of its quiet rate", ".2f", more_is_better=True),
    "p99_us": Metric("p99, µs", ".0f"),
    "msg_s": Metric("messages/s", ",.0f", more_is_better=True),
    "cpu_us_msg": Metric("CPU-µs per message", ".1f"),
    "conn_s": Metric("connections/s", ",.0f", more_is_better=True),
    "cpu_ms_conn": Metric("CPU-ms per connection", ".3f"),
    "fail_s": Metric("failing connections/s", ",.0f", more_is_better=True),
    "cpu_us_fail": Metric("CPU-µs per failing connection", ".1f"),
    "kib_conn": Metric("KiB per connection", ".1f"),
    "start_ms": Metric("start, ms", ".1f"),
    "start_cpu_ms": Metric("CPU of the start, ms", ".1f"),
}

# What comes, as a multiple of what can be served, where more comes than that
LOADS = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)


def goodput(load: float) -> str:
    """The name of a metric: what is served, by what could be, when so much comes."""
    return f"goodput_{load:g}"


METRICS |= {
    goodput(load): Metric(f"served of {load:g} ×", ".2f", more_is_better=True)  # noqa: RUF001
    for load in LOADS
}

# How much of one CPU the busiest process of the load generator used: from here on, it may be what
# was measured.
GENERATOR = "generator"
SATURATED = 0.9
