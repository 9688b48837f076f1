"""What is measured, in the form in which Prometheus and others take it: families of samples.

A family is one thing that is counted or measured, a sample one number of it, which labels tell from
the others.  Rendering is `status/exposition.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from spiped.lean_typing import NamedTuple

COUNTER, GAUGE, HISTOGRAM, INFO = "counter", "gauge", "histogram", "info"

# What a renderer appends to the name of a family, by its kind
SUFFIXES = {
    COUNTER: ("_total", "_created"),
    GAUGE: ("",),
    HISTOGRAM: ("_bucket", "_count", "_sum", "_created"),
    INFO: ("_info",),
}

NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")


class Sample(NamedTuple):
    """One number, or one histogram."""

    labels: tuple[tuple[str, str], ...] = ()  # names and values
    value: float = 0  # of a histogram: how many observations there have been; of an info: unused
    buckets: tuple[tuple[float, int], ...] = ()  # upper limit, how many were up to it; last is inf
    sum: float = 0  # of a histogram's observations
    created: float | None = None  # since when it counts: seconds since the UNIX epoch


class Family(NamedTuple):
    """Samples of one thing.

    The name has the unit as its last word, if there is one, and no suffix of `SUFFIXES`:
    ``spiped_sealed_bytes``, which is shown as ``spiped_sealed_bytes_total``.
    """

    name: str
    kind: str
    help: str  # one sentence
    unit: str = ""  # a base unit: bytes, seconds
    samples: tuple[Sample, ...] = ()


def problems(families: Sequence[Family]) -> list[str]:
    """What is wrong with declarations and numbers, for tests; nothing, as a rule.

    The renderer does not look: what is exposed is made by us, not by others.
    """
    found = [f"{family.name}: {text}" for family in families for text in _of_family(family)]
    seen: dict[str, str] = {}
    for family in families:
        for name in {family.name, *(family.name + suffix for suffix in SUFFIXES[family.kind])}:
            if name in seen:
                found.append(f"{family.name}: {name} belongs to {seen[name]} as well")
            seen[name] = family.name
    return found


def _of_family(family: Family) -> list[str]:
    found = []
    if not NAME.fullmatch(family.name):
        found.append("not a name")
    if family.name.endswith(("_total", "_created", "_bucket", "_count", "_sum", "_info")):
        found.append("the name has a suffix that renderers append")
    if family.unit and not family.name.endswith(f"_{family.unit}"):
        found.append(f"the name does not end with the unit, {family.unit}")
    if family.unit and family.kind == INFO:
        found.append("an info has no unit")
    if not family.help or "\n" in family.help:
        found.append("the help is not one line")
    labels = [sample.labels for sample in family.samples]
    if len({frozenset(each) for each in labels}) < len(labels):
        found.append("two samples have the same labels")
    if len({frozenset(name for name, _ in each) for each in labels}) > 1:
        found.append("samples differ in which labels they have")
    for sample in family.samples:
        found += _of_sample(family.kind, sample)
    return found


def _of_sample(kind: str, sample: Sample) -> list[str]:
    found = []
    names = [name for name, _ in sample.labels]
    if len(set(names)) < len(names) or not all(map(NAME.fullmatch, names)):
        found.append(f"labels {names}")
    if "le" in names or any(name.startswith("__") for name in names):
        found.append(f"reserved labels in {names}")
    if (kind == HISTOGRAM) != bool(sample.buckets):
        found.append("histograms, and only they, have buckets")
    if kind in (COUNTER, HISTOGRAM) and not 0 <= sample.value < math.inf:
        found.append(f"counts {sample.value}")
    if sample.buckets:
        limits, counts = zip(*sample.buckets, strict=True)
        if list(limits) != sorted(set(limits)) or limits[-1] != math.inf:
            found.append("limits do not rise to infinity")
        if list(counts) != sorted(counts) or counts[-1] != sample.value:
            found.append("counts do not rise to the whole")
    return found
