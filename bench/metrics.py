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
    "p99_us": Metric("p99, µs", ".0f"),
    "msg_s": Metric("messages/s", ",.0f", more_is_better=True),
    "cpu_us_msg": Metric("CPU-µs per message", ".1f"),
    "conn_s": Metric("connections/s", ",.0f", more_is_better=True),
    "cpu_ms_conn": Metric("CPU-ms per connection", ".3f"),
    "kib_conn": Metric("KiB per connection", ".1f"),
    "start_ms": Metric("start, ms", ".1f"),
    "start_cpu_ms": Metric("CPU of the start, ms", ".1f"),
}

# How much of one CPU the busiest process of the load generator used: from here on, it may be what
# was measured.
GENERATOR = "generator"
SATURATED = 0.9
