"""The metrics: each declared once, with kind, unit and help (docs/metrics.md is made from here).

Samples come from counters that name the metric (`slot.Field`), and from what follows from these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from spiped.crypto.sizes import MESSAGE_MAX, PACKET_BYTES
from spiped.lean_typing import Any, NamedTuple
from spiped.observe.counters import Counters
from spiped.observe.facts import Document
from spiped.observe.families import COUNTER, GAUGE, HISTOGRAM, INFO, Family, Sample
from spiped.observe.slot import HISTOGRAMS, PLACES, TIME_BOUNDS, TIME_WORDS, Field, Labels, Place

PREFIX = "spiped_"


class Metric(NamedTuple):
    kind: str
    help: str
    unit: str = ""


METRICS = {
    "build": Metric(INFO, "The version of the program that runs."),
    "up": Metric(GAUGE, "1 while the daemon serves, 0 while it starts or drains."),
    "start_time": Metric(GAUGE, "When the daemon was started.", "seconds"),
    "generation": Metric(GAUGE, "The number of the present generation of workers."),
    "workers": Metric(GAUGE, "Workers that accept connections."),
    "worker_restarts": Metric(COUNTER, "Workers that died or hung, and were replaced."),
    "worker_cpu": Metric(COUNTER, "Processor time of the workers.", "seconds"),
    "worker_memory": Metric(GAUGE, "Memory that a worker holds for itself.", "bytes"),
    "reloads": Metric(COUNTER, "Reloads, by their result."),
    "upgrades": Metric(COUNTER, "Upgrades to another version."),
    "log_lines_dropped": Metric(COUNTER, "Lines that the log's rate limits have left out."),
    "connections_active": Metric(GAUGE, "Connections that are open now."),
    "connections_unauthenticated": Metric(
        GAUGE, "Connections now whose peer has not proved that it holds the key."
    ),
    "connections_max": Metric(GAUGE, "How many connections there may be; 0: any number."),
    "connections_rejected": Metric(
        COUNTER, "Connections that there was no room for, by the reason."
    ),
    "connections_accepted": Metric(COUNTER, "Connections that have been accepted."),
    "connections_established": Metric(COUNTER, "Connections that have been relayed."),
    "connections_closed": Metric(COUNTER, "Connections that have ended, by the reason."),
    "accept_errors": Metric(COUNTER, "Times that the system refused a connection, by the reason."),
    "handshake_failures": Metric(COUNTER, "Handshakes that have failed, by the reason."),
    "packet_auth_failures": Metric(COUNTER, "Packets that were not authentic."),
    "target_connect_failures": Metric(COUNTER, "Connections whose target was not reached."),
    "target_up": Metric(GAUGE, "1 if the target was reached last, 0 if it was not."),
    "dns_last_success_timestamp": Metric(
        GAUGE, "When the target's name was looked up last with success.", "seconds"
    ),
    "bytes": Metric(
        COUNTER,
        "Bytes, by the side and the direction; of the encrypted side, those of packets.",
        "bytes",
    ),
    "packets": Metric(COUNTER, "Packets that have been sealed or opened."),
    "padding": Metric(COUNTER, "Bytes of packets that carried nothing, by direction.", "bytes"),
    "handshake_duration": Metric(
        HISTOGRAM, "How long handshakes took that were completed.", "seconds"
    ),
    "target_connect_duration": Metric(
        HISTOGRAM, "How long it took to connect to the target.", "seconds"
    ),
    "connection_duration": Metric(
        HISTOGRAM, "How long connections lasted that were relayed.", "seconds"
    ),
}

# By which causes of the connections' ends some of them are counted again
HANDSHAKE_FAILURES = {
    "auth": (Field.ENDED_NO_KEY, Field.ENDED_OUT_OF_RANGE, Field.ENDED_SAME_ROLE),
    "timeout": (Field.ENDED_TOO_SLOW,),
    "pfs": (Field.ENDED_NO_PFS,),
    "eof": (Field.ENDED_CLOSED, Field.ENDED_LOST),
    "limit": (Field.ENDED_SHED, Field.ENDED_TOO_MANY, Field.ENDED_OVERLOAD),
}

# And those that have never been served
REJECTED = {
    "limit": (Field.ENDED_SHED, Field.ENDED_TOO_MANY),
    "overload": (Field.ENDED_OVERLOAD,),
    "fd": (Field.ACCEPT_PROCESS_FILES, Field.ACCEPT_SYSTEM_FILES),
}

# Of the supervisor's process, under the names that all programs have for it
PROCESS = {
    "process_cpu": ("cpu_seconds", COUNTER, "seconds", "Processor time of the supervisor."),
    "process_resident_memory": ("memory_bytes", GAUGE, "bytes", "Memory of the supervisor."),
    "process_open_fds": ("open_files", GAUGE, "", "File descriptors of the supervisor."),
    "process_max_fds": ("max_files", GAUGE, "", "How many it may have."),
}

Total = Callable[[int], int]


def name_of(metric: str) -> str:
    """The name of its family, with the unit."""
    unit = METRICS[metric].unit
    return f"{PREFIX}{metric}_{unit}" if unit and unit != metric else PREFIX + metric


def families(counters: Counters, facts: Document) -> list[Family]:
    """All of them, with what there is now; none is left out because it is 0."""
    samples: dict[str, list[Sample]] = {metric: [] for metric in METRICS}
    created = facts.get("started")
    pipes = facts.get("pipes") or [{}]
    for pipe in pipes:
        labels = ("pipe", pipe.get("name", "")), ("mode", pipe.get("mode", ""))
        for metric, sample in _of_pipe(counters.total, pipe, labels):
            samples[metric].append(sample)
    for metric, sample in _of_daemon(counters, facts):
        samples[metric].append(sample)
    ours = [
        Family(
            name_of(metric),
            declared.kind,
            declared.help,
            declared.unit,
            tuple(_since(sample, declared.kind, created) for sample in samples[metric]),
        )
        for metric, declared in METRICS.items()
    ]
    return [*ours, *_of_process(facts)]


def _of_process(facts: Document) -> Iterator[Family]:
    sampled = facts.get("process") or {}
    for metric, (field, kind, unit, text) in PROCESS.items():
        known = () if sampled.get(field) is None else (Sample((), sampled[field]),)
        name = f"{metric}_{unit}" if unit else metric
        yield Family(name, kind, text, unit, known)


def _since(sample: Sample, kind: str, created: float | None) -> Sample:
    return sample._replace(created=created) if kind in (COUNTER, HISTOGRAM) else sample


def _of_pipe(total: Total, pipe: dict[str, Any], labels: Labels) -> Iterator[tuple[str, Sample]]:
    for field in PLACES:
        if not field.metric or field >= Field.CPU_MILLISECONDS:
            continue
        if field in HISTOGRAMS:
            yield field.metric, _histogram(total, field, labels)
        else:
            yield field.metric, Sample((*labels, *field.labels), total(field))
    yield "connections_max", Sample(labels, pipe.get("limit", 0))
    for reason, fields in HANDSHAKE_FAILURES.items():
        number = sum(map(total, fields))
        yield "handshake_failures", Sample((*labels, ("reason", reason)), number)
    bad = total(Field.ENDED_BAD_TAG) + total(Field.ENDED_BAD_LENGTH)
    yield "packet_auth_failures", Sample(labels, bad)
    unreached = total(Field.ENDED_UNREACHED) + total(Field.ENDED_UNANSWERED)
    yield "target_connect_failures", Sample(labels, unreached)
    for reason, fields in REJECTED.items():
        number = sum(map(total, fields))
        yield "connections_rejected", Sample((*labels, ("reason", reason)), number)
    for direction, packets, payload, side in (
        ("sealed", Field.SEALED_PACKETS, Field.SEALED, "tx"),
        ("opened", Field.OPENED_PACKETS, Field.OPENED, "rx"),
    ):
        crypt = (*labels, ("side", "crypt"), ("direction", side))
        yield "bytes", Sample(crypt, total(packets) * PACKET_BYTES)
        padding = max(0, total(packets) * MESSAGE_MAX - total(payload))
        yield "padding", Sample((*labels, ("direction", direction)), padding)
    for target in pipe.get("targets", ()):
        of_target = (*labels, ("target", target["name"]))
        if target["state"] != "unknown":
            yield "target_up", Sample(of_target, float(target["state"] == "up"))
        if target["resolved"] is not None:
            yield "dns_last_success_timestamp", Sample(of_target, target["resolved"])


def _histogram(total: Total, field: Place, labels: Labels) -> Sample:
    buckets = []
    count = 0
    for i, bound in enumerate((*TIME_BOUNDS, math.inf)):
        count += total(field + i)
        buckets.append((bound, count))
    return Sample(labels, count, tuple(buckets), total(field + TIME_WORDS - 1) / 1e6)


def _of_daemon(counters: Counters, facts: Document) -> Iterator[tuple[str, Sample]]:
    total = counters.total
    yield "build", Sample((("version", facts.get("version", "")),))
    yield "up", Sample((), float(facts.get("state") in ("serving", "lame_duck")))
    yield "start_time", Sample((), facts.get("started", 0))
    yield "generation", Sample((), facts.get("generation", 0))
    yield "workers", Sample((), total(Field.SERVING))
    for field in PLACES:
        if field.metric and field >= Field.WORKER_RESTARTS:
            yield field.metric, Sample(field.labels, total(field))
    yield "worker_cpu", Sample((), total(Field.CPU_MILLISECONDS) / 1000)
    for worker in facts.get("workers", ()):
        memory = counters.slot(worker["slot"])[Field.MEMORY_BYTES]
        if memory:
            yield "worker_memory", Sample((("worker", str(worker["id"])),), memory)
