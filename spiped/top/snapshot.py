"""What a daemon was like at one moment, as rows of tables, and what has changed since the last.

An answer comes from outside: of each field only the kind of value that its column is about gets in
here, texts without control characters.  Whatever is missing, or of another kind, is unknown: None,
or "" for a text.  Fields that nobody knows here are passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from spiped.lean_typing import Any, NamedTuple
from spiped.observe.log.printable import printable
from spiped.top.client import Answer
from spiped.top.columns import CONNECTIONS, DAEMON, PIPES, TABLES, WORKERS, Table

TEXT_MAX = 256  # characters
NUMBER_MAX = 1e24
SAMPLES_MAX = 1000  # more than any terminal has columns
# For each row there is a chart, of the last values, and only as long as it is among the first rows
TRACE_MAX = 60
TRACED_MAX = 2000
# Over which the processor time of a worker is averaged: it is sampled less often than we look
SPAN = 10.0  # seconds

Row = dict[str, Any]
# What a field of a row has been, oldest first; by the kind of the row, its first column, the field
Traces = dict[tuple[str, Any, str], tuple[float | None, ...]]


class Sample(NamedTuple):
    """One point of the charts: numbers a second; None: unknown."""

    sealed: float | None = None
    opened: float | None = None
    established: float | None = None


class Snapshot(NamedTuple):
    """What a daemon was like at one moment."""

    received: float  # on our own clock
    daemon: Row
    pipes: list[Row]
    workers: list[Row]
    connections: list[Row]
    causes: dict[str, float]  # of which connections have ended, and how many

    def rows(self, table: Table) -> list[Row]:
        if table is PIPES:
            return self.pipes
        return self.workers if table is WORKERS else self.connections


class Record(NamedTuple):
    """What has been seen so far, the newest last; immutable, so that a pause can keep it."""

    snapshots: tuple[Snapshot, ...] = ()  # those of the last seconds
    samples: tuple[Sample, ...] = ()
    traces: Traces = {}  # noqa: RUF012  # never changed

    @property
    def newest(self) -> Snapshot:
        return self.snapshots[-1]


def seen(record: Record, answer: Answer) -> Record:
    """The record with this answer."""
    snapshot = _snapshot(answer, record.snapshots)
    daemon = snapshot.daemon
    sample = Sample(daemon["sealed_rate"], daemon["opened_rate"], daemon["established_rate"])
    # of old ones, connections are of no use any more
    older = [old._replace(connections=[]) for old in record.snapshots]
    recent = [old for old in older[:-1] if snapshot.received - old.received <= SPAN]
    return Record(
        (*recent, *older[-1:], snapshot),
        _with_sample(record, sample),
        _traces(snapshot, record.traces),
    )


def missed(record: Record) -> Record:
    """The record with a gap, because there was no answer."""
    return record._replace(samples=_with_sample(record, Sample()))


def _with_sample(record: Record, sample: Sample) -> tuple[Sample, ...]:
    return (*record.samples, sample)[-SAMPLES_MAX:]


def trace_key(table: Table, row: Row, field: str) -> tuple[str, Any, str]:
    return (table.kind, row[table.columns[0].field], field)


def _traces(snapshot: Snapshot, past: Traces) -> Traces:
    """The traces with what there is now; those of rows that are gone are forgotten."""
    traces: Traces = {}
    for table in TABLES:
        for row in snapshot.rows(table)[:TRACED_MAX]:
            for trace in table.traces:
                key = trace_key(table, row, trace.field)
                traces[key] = (*past.get(key, ())[1 - TRACE_MAX :], row[trace.field])
    return traces


def _snapshot(answer: Answer, past: Sequence[Snapshot]) -> Snapshot:
    status, listing = answer.status, answer.connections
    pipes = [_pipe(item) for item in _dicts(status.get("pipes"))]
    workers = [_row(WORKERS, item) for item in _dicts(status.get("workers"))]
    connections = [_row(CONNECTIONS, item) for item in _dicts(listing.get("connections"))]
    causes = _sums(_dict(item.get("connections")) for item in _dicts(status.get("pipes")))
    daemon = _daemon(status, listing, pipes)
    snapshot = Snapshot(answer.received, daemon, pipes, workers, connections, causes)
    _compare(snapshot, past)
    return snapshot


# What an answer says


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(value[:TEXT_MAX]) if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if abs(value) > NUMBER_MAX or not math.isfinite(value):
        return None
    return value


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _row(table: Table, item: dict[str, Any]) -> Row:
    return {
        column.field: (_text if column.is_text else _number)(item.get(column.field))
        for column in table.columns
    }


def _pipe(item: dict[str, Any]) -> Row:
    targets = _dicts(item.get("targets"))
    names = [name for name in (_text(target.get("name")) for target in targets) if name]
    states = [_text(target.get("state")) for target in targets]
    keys = item.get("keys")
    more = f" (+{len(names) - 1})" if len(names) > 1 else ""
    numbers = {**_dict(item.get("bytes")), **_dict(item.get("connections"))}
    return _row(PIPES, numbers) | {
        "name": _text(item.get("name")),
        "mode": _text(item.get("mode")),
        "source": _text(item.get("source")),
        "target": f"{names[0]}{more}" if names else "",
        "target_state": states[0] if len(states) == 1 else _up(states),
        "keys": len(keys) if isinstance(keys, list) else None,
    }


def _up(states: list[str]) -> str:
    return f"{states.count('up')}/{len(states)} up" if states else ""


def _daemon(status: dict[str, Any], listing: dict[str, Any], pipes: list[Row]) -> Row:
    row = _row(DAEMON, {**status, **{name: listing.get(name) for name in LISTING}})
    reloads = _dict(status.get("reloads"))
    last = _dict(reloads.get("last"))
    started = _number(status.get("started"))
    both_known = row["now"] is not None and started is not None
    return (
        row
        | {field: _total(pipes, field) for field in SUMS}
        | {field: _limit(pipes, field) for field in LIMITS}
        | {
            "started": started,
            "uptime": row["now"] - started if both_known else None,
            "reloads": _number(reloads.get("succeeded")),
            "reloads_failed": _number(reloads.get("failed")),
            "reload_error": _text(last.get("error")),
        }
    )


LISTING = ("listed", "total", "hidden")
SUMS = ("active", "unauthenticated", "accepted", "established", "sealed", "opened")
LIMITS = ("limit", "unauthenticated_limit")


def _total(rows: Iterable[Row], *fields: str) -> float | None:
    known = [row[field] for row in rows for field in fields if row[field] is not None]
    return sum(known) if known else None


def _limit(pipes: Iterable[Row], field: str) -> float | None:
    """The limits of all pipes together; 0: one of them has none."""
    limits = [pipe[field] for pipe in pipes]
    if not limits or None in limits:
        return None
    return 0 if 0 in limits else sum(limits)


def _sums(connections: Iterable[dict[str, Any]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for item in connections:
        for cause, number in _dict(item.get("ended")).items():
            known = _number(number)
            if known:
                name = _text(cause)
                sums[name] = sums.get(name, 0) + known
    return sums


# What has changed


# What is computed, and of which counter it is the increase
RATES = {"sealed_rate": "sealed", "opened_rate": "opened", "established_rate": "established"}


def _compare(snapshot: Snapshot, past: Sequence[Snapshot]) -> None:
    """Fill in what a second has brought."""
    since = [old for old in past if old.daemon["started"] == snapshot.daemon["started"]]
    last = since[-1] if since else None
    for row, old in _pairs(snapshot, last):
        seconds = 0.0 if last is None else _elapsed(last, snapshot)
        for field, counter in RATES.items():
            row[field] = _rate(row[counter], old[counter] if old else None, seconds)
    for worker in snapshot.workers:
        worker["cpu"] = _processor(worker, snapshot, since)
    for row in (*snapshot.pipes, *snapshot.workers, *snapshot.connections):
        row["throughput"] = _total([row], "sealed_rate", "opened_rate")


def _pairs(snapshot: Snapshot, last: Snapshot | None) -> Iterator[tuple[Row, Row | None]]:
    """The rows that have rates, each with what it was before."""
    pipes = {pipe["name"]: pipe for pipe in last.pipes} if last else {}
    workers = {worker["id"]: worker for worker in last.workers} if last else {}
    yield snapshot.daemon, last.daemon if last else None
    for pipe in snapshot.pipes:
        yield pipe, pipes.get(pipe["name"])
    for worker in snapshot.workers:
        yield worker, workers.get(worker["id"])


def _elapsed(old: Snapshot, new: Snapshot) -> float:
    """Seconds: by the daemon's clock, unless somebody has set it meanwhile."""
    ours = new.received - old.received
    before, now = old.daemon["now"], new.daemon["now"]
    if before is None or now is None or not ours / 2 <= now - before <= 2 * ours:
        return ours
    return float(now - before)


def _rate(now: float | None, before: float | None, seconds: float) -> float | None:
    if now is None or before is None or now < before or seconds <= 0:
        return None
    return (now - before) / seconds


def _processor(worker: Row, snapshot: Snapshot, since: Sequence[Snapshot]) -> float | None:
    """How much of a processor a worker takes, over as long as we know it."""
    for old in since:
        for other in old.workers:
            if (other["id"], other["pid"]) == (worker["id"], worker["pid"]):
                return _rate(worker["cpu_seconds"], other["cpu_seconds"], _elapsed(old, snapshot))
    return None
