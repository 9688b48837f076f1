"""Answers of a daemon as text: for people, and as columns for scripts.

Nothing that came from outside reaches a terminal as what it is not: all of it is made printable.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from spiped.control.protocol import Answer
from spiped.lean_typing import Any
from spiped.observe.log.printable import printable

# What the rows of a list are, by the thing that is shown: names of columns, and where they stand
COLUMNS: dict[str, tuple[str, ...]] = {
    "pipes": (
        *("name", "mode", "source", "targets", "active", "unauthenticated", "limit"),
        *("accepted", "established", "sealed", "opened"),
    ),
    "workers": (
        *("id", "pid", "generation", "state", "active", "unauthenticated"),
        *("accepted", "established", "sealed", "opened", "cpu_seconds", "memory_bytes"),
    ),
    "connections": (
        *("id", "pipe", "key", "worker", "peer", "target", "state", "age", "idle"),
        *("sealed", "opened", "sealed_rate", "opened_rate", "queued"),
    ),
    "targets": ("pipe", "name", "addresses", "resolved", "state", "connections", "failures"),
    "config": ("option", "value", "effect"),
    "version": ("version", "python", "pid"),
}

# Columns that people need not see
LEFT_OUT = {"connections": ("worker", "pipe"), "workers": ("unauthenticated",)}

BYTES = ("sealed", "opened", "sealed_rate", "opened_rate", "queued", "memory_bytes")
SECONDS = ("age", "idle", "cpu_seconds")
TIMES = ("resolved",)  # points in time


def rows_of(what: str, answer: Answer) -> list[dict[str, Any]]:
    """The rows that an answer to ``show WHAT`` has, each with all columns."""
    found = [answer] if what == "version" else _objects(answer.get(what))
    return [_row(what, each) for each in found]


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, if it is one: another version may say something else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _row(what: str, given: dict[str, Any]) -> dict[str, Any]:
    if what == "pipes":
        connections, carried = _object(given.get("connections")), _object(given.get("bytes"))
        targets = [target.get("name") for target in _objects(given.get("targets"))]
        given = {**given, **connections, **carried, "targets": targets}
    return {name: given.get(name) for name in COLUMNS[what]}


# For scripts


def dump(what: str, answer: Answer) -> str:
    """A header line, and rows; tabs between the columns."""
    rows = [[_plain(value) for value in row.values()] for row in rows_of(what, answer)]
    return "".join("\t".join(row) + "\n" for row in [COLUMNS[what], *rows])


def _plain(value: Any) -> str:
    """A value in one word or a few; nothing, if it is not known."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_plain, value))
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    return printable(str(value))


# For people


def pretty(words: Sequence[str], answer: Answer) -> str:
    """The answer to a request that was granted."""
    verb, what = words[0], words[1] if len(words) > 1 else ""
    if verb != "show":
        shown = [
            f"{name}: {_plain(answer[name])}" for name in answer if name not in ("ok", "result")
        ]
        return "".join(f"{line}\n" for line in shown)
    if what == "":
        return _overview(answer)
    text = table(what, rows_of(what, answer))
    if what == "connections":
        left_out = _number(answer.get("total")) - len(_objects(answer.get("connections")))
        if left_out > 0:
            text += f"... and {left_out} more (limit=0 shows all that can be shown)\n"
    return text


def _overview(answer: Answer) -> str:
    since = _number(answer.get("now")) - _number(answer.get("started"))
    reloads = _object(answer.get("reloads"))
    ready = "ready" if answer.get("ready") else "not ready"
    last = _object(reloads.get("last"))
    lines = [
        f"{_plain(answer.get('name'))}: {_plain(answer.get('state'))}, {ready},"
        f" for {duration(since)}",
        f"version {_plain(answer.get('version'))}, process {_plain(answer.get('pid'))},"
        f" generation {_plain(answer.get('generation'))}",
        f"reloads {_plain(reloads.get('succeeded'))}, failed {_plain(reloads.get('failed'))};"
        f" upgrades {_plain(answer.get('upgrades'))};"
        f" workers replaced {_plain(answer.get('worker_restarts'))};"
        f" log lines lost {_plain(answer.get('log_lines_dropped'))}",
    ]
    if last.get("error"):
        lines.append(f"the last reload failed: {_plain(last['error'])}")
    lines += _ended(answer)
    targets = [
        {"pipe": pipe.get("name"), **target}
        for pipe in _objects(answer.get("pipes"))
        for target in _objects(pipe.get("targets"))
    ]
    parts = ["".join(f"{line}\n" for line in lines)]
    for what, given in (("pipes", answer), ("targets", {"targets": targets}), ("workers", answer)):
        parts.append(table(what, rows_of(what, given)))
    return "\n".join(parts)


def _ended(answer: Answer) -> Iterator[str]:
    """How many connections have ended for which reason, the most frequent first."""
    for pipe in _objects(answer.get("pipes")):
        ended = _object(_object(pipe.get("connections")).get("ended"))
        counts = {cause: _number(count) for cause, count in ended.items()}
        frequent = sorted(filter(counts.__getitem__, counts), key=lambda cause: -counts[cause])
        if frequent:
            yield "ended: " + ", ".join(f"{_plain(c)} {_plain(counts[c])}" for c in frequent)


def table(what: str, rows: Iterable[dict[str, Any]]) -> str:
    """Rows below each other, numbers to the right."""
    names = [name for name in COLUMNS[what] if name not in LEFT_OUT.get(what, ())]
    rows = list(rows)
    lines = [[name.upper().replace("_", " ") for name in names]]
    lines += [[_for_people(name, row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [all(_is_number(row[name]) for row in rows) and bool(rows) for name in names]
    adjusted = (
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        )
        for line in lines
    )
    return "".join(f"{line.rstrip()}\n" for line in adjusted)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _number(value: Any) -> float | int:
    return value if _is_number(value) and value is not None else 0


def _for_people(name: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    units: dict[tuple[str, ...], Callable[[float], str]] = {
        BYTES: size,
        SECONDS: duration,
        TIMES: point_in_time,
    }
    for names, write in units.items():
        if name in names and _is_number(value):
            return write(value)
    return _plain(value)


def size(count: float) -> str:
    """A number of bytes."""
    for unit in ("", "k", "M", "G"):
        if count < 1000:
            return f"{count:.0f}{unit}" if not unit or count >= 100 else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f}T"


def duration(seconds: float) -> str:
    """A time, in two units at most."""
    whole = int(seconds)
    for unit, long, next_unit, short in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= long:
            return f"{whole // long}{unit}{whole % long // short:02d}{next_unit}"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def point_in_time(seconds: float) -> str:
    """By the clock of this machine."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # another version may say anything
        return _plain(seconds)


def event(answer: Answer) -> str:
    """An event in one line."""
    if answer.get("event") == "events_missed":
        return f"({_plain(answer.get('number'))} events are missing here: they came too fast)\n"
    words = [_plain(answer.get(name)) for name in ("time", "level", "message")]
    return f"{words[0]} {words[1]:7} {words[2]}\n"
