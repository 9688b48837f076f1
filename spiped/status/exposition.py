"""Families as text for Prometheus: the text format 0.0.4, and OpenMetrics 1.0 for who prefers it.

Both say the same.  They differ in where a counter's suffix stands, and in what the older one lacks:
units, info, points in time at which counting began, and an end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from spiped.lean_typing import NamedTuple
from spiped.observe.families import COUNTER, GAUGE, HISTOGRAM, INFO, Family, Sample

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_Labels = tuple[tuple[str, str], ...]


class _Preference(NamedTuple):
    """One of the ranges of an ``Accept`` header, and how much it is wanted: from 0 to 1."""

    range: str  # "text/plain", "text/*", "*/*"
    version: str  # "" if that does not matter
    quality: float


def choose(accept: str) -> str:
    """The content type to answer with.

    It is the text format unless OpenMetrics 1.0 is asked for by name, and at least as much.
    """
    preferences = [_preference(text) for text in accept.split(",")]
    openmetrics = _quality(preferences, "1.0.0", "application/openmetrics-text")
    text = _quality(preferences, "0.0.4", "text/plain", "text/*", "*/*")
    return OPENMETRICS if 0 < openmetrics >= text else TEXT


def _preference(text: str) -> _Preference:
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    named = dict(parameter.partition("=")[::2] for parameter in parameters)
    try:
        quality = float(named.get("q", "1"))
    except ValueError:
        quality = 0.0  # it says nothing that we understand
    return _Preference(kind, named.get("version", "").strip('"'), quality)


def _quality(preferences: Sequence[_Preference], version: str, *ranges: str) -> float:
    """How much a type is wanted: the first of the ranges that are named decides (RFC 9110)."""
    for wanted in ranges:
        found = [p.quality for p in preferences if p.range == wanted and p.version in ("", version)]
        if found:
            return max(found)
    return 0.0


def render(families: Sequence[Family], content_type: str) -> bytes:
    """The families in one of the two formats."""
    lines = _openmetrics(families) if content_type == OPENMETRICS else _text(families)
    # a name of the operator's may hold what is no character
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")


def _text(families: Sequence[Family]) -> Iterator[str]:
    for family in families:
        name = family.name + {COUNTER: "_total", INFO: "_info"}.get(family.kind, "")
        yield f"# HELP {name} {_escape(family.help)}"
        yield f"# TYPE {name} {GAUGE if family.kind == INFO else family.kind}"
        for sample in family.samples:
            yield from _SAMPLES[family.kind](family.name, sample)


def _openmetrics(families: Sequence[Family]) -> Iterator[str]:
    for family in families:
        yield f"# TYPE {family.name} {family.kind}"
        if family.unit:
            yield f"# UNIT {family.name} {family.unit}"
        yield f"# HELP {family.name} {_escape(family.help, quotes=True)}"
        for sample in family.samples:
            yield from _SAMPLES[family.kind](family.name, sample)
            if sample.created is not None and family.kind in (COUNTER, HISTOGRAM):
                yield _line(f"{family.name}_created", sample.labels, sample.created)
    yield "# EOF"


def _counter(name: str, sample: Sample) -> Iterator[str]:
    yield _line(f"{name}_total", sample.labels, sample.value)


def _gauge(name: str, sample: Sample) -> Iterator[str]:
    yield _line(name, sample.labels, sample.value)


def _histogram(name: str, sample: Sample) -> Iterator[str]:
    for limit, count in sample.buckets:
        yield _line(f"{name}_bucket", (*sample.labels, ("le", _number(float(limit)))), count)
    yield _line(f"{name}_count", sample.labels, sample.value)
    yield _line(f"{name}_sum", sample.labels, sample.sum)


def _info(name: str, sample: Sample) -> Iterator[str]:
    yield _line(f"{name}_info", sample.labels, 1)


_SAMPLES: dict[str, Callable[[str, Sample], Iterator[str]]] = {
    COUNTER: _counter,
    GAUGE: _gauge,
    HISTOGRAM: _histogram,
    INFO: _info,
}


def _line(name: str, labels: _Labels, value: float) -> str:
    inner = ",".join(f'{label}="{_escape(text, quotes=True)}"' for label, text in labels)
    return f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}"


def _number(value: float) -> str:
    """As both formats have it: whole numbers stay whole, so that large ones stay exact."""
    if value == math.inf:
        return "+Inf"
    return str(value).replace("nan", "NaN").replace("-inf", "-Inf")


def _escape(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text
