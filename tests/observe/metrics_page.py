"""Writes docs/metrics.md from the declarations of metrics.

python -m tests.observe.metrics_page > docs/metrics.md
"""

from __future__ import annotations

from collections.abc import Iterator

from spiped.observe.counters import Counters
from spiped.observe.facts import Document
from spiped.observe.families import COUNTER, INFO, Family
from spiped.observe.metrics import families
from spiped.observe.slot import TIME_BOUNDS, Field
from tests.observe.log_page import CAUSES

INTRODUCTION = """\
# Metrics

What `/metrics` of a status server (`spiped --status ADDRESS`) tells Prometheus, in the text format 0.0.4, or in OpenMetrics 1.0
if `Accept` asks for that. Names, kinds, units and labels are a promise: within a major version they are added to, and neither
renamed nor given another meaning. Counters and histograms go on through reloads, upgrades and the deaths of workers.

`pipe` is the name of the pipe (`--name`; else the source), `mode` is `encrypt` or `decrypt`. The plain side is the one without
encryption; `rx` is what we receive there, and `tx` what we send.

| metric | kind | what it is | labels |
|---|---|---|---|
"""  # noqa: E501

HISTOGRAMS = f"""
The buckets of histograms end at {", ".join(f"{bound:g}" for bound in TIME_BOUNDS)} seconds.

## Why connections end

`spiped_connections_closed_total` counts each connection once. The log has the same words as `cause` (docs/log.md).

| reason | |
|---|---|
"""  # noqa: E501

FACTS: Document = {
    "version": "1",
    "state": "serving",
    "started": 1.0,
    "generation": 1,
    "process": {"cpu_seconds": 1.0, "memory_bytes": 1, "open_files": 1, "max_files": 1},
    "workers": [{"id": 1, "slot": 1}],
    "pipes": [
        {
            "name": "a",
            "mode": "decrypt",
            "limit": 100,
            "targets": [{"name": "b", "state": "up", "resolved": 1.0}],
        }
    ],
}


def example() -> list[Family]:
    """What a daemon tells, with a sample of everything."""
    counters = Counters(2)
    counters.slot(1).view[Field.MEMORY_BYTES] = 1
    try:
        return families(counters, FACTS)
    finally:
        counters.close()


def page() -> str:
    """The page as it should be."""
    causes = {reason.word: text.replace(" (`info`)", "") for reason, text in CAUSES.items()}
    causes["overload"] = "refused at once, because it could not have been served in time"
    rows = [f"| `{cause}` | {text.replace(' (`debug`)', '')} |\n" for cause, text in causes.items()]
    return "".join([INTRODUCTION, *map(_row, example()), HISTOGRAMS, *rows])


def _row(family: Family) -> str:
    suffix = {COUNTER: "_total", INFO: "_info"}.get(family.kind, "")
    labels = " ".join(f"`{name}`" for name in _labels(family))
    return f"| `{family.name}{suffix}` | {family.kind} | {family.help} | {labels} |\n"


def _labels(family: Family) -> Iterator[str]:
    """The names of labels, and the values of those that have only a few."""
    names = dict.fromkeys(name for sample in family.samples for name, _ in sample.labels)
    for name in names:
        values = dict.fromkeys(dict(sample.labels).get(name, "") for sample in family.samples)
        few = name in ("side", "direction", "result", "reason", "errno") and len(values) < 8
        yield f"{name}={'/'.join(values)}" if few else name


if __name__ == "__main__":
    print(page(), end="")
