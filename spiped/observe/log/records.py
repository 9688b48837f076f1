"""Events as lines for programs: JSON, and logfmt.  docs/log.md promises the names.

Imported only by those who want such lines.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable

from spiped.lean_typing import Any
from spiped.observe.log.kinds import ASKED_FOR, LEVELS, Event, level_of, name_of, text_of
from spiped.observe.log.printable import printable

NAMES = {number: name for name, number in LEVELS.items()} | {ASKED_FOR: "notice"}

# How long a value may be, in characters; the next one is taken if the line becomes too long
LENGTHS = (2000, 500, 100, 20)

Format = Callable[[Event, int], str]  # an event, as a line of at most so many bytes


def as_json(event: Event, most: int) -> str:
    """One object, in ASCII."""
    return _fit(event, most, lambda fields: json.dumps(fields, separators=(",", ":")))


def as_logfmt(event: Event, most: int) -> str:
    """``name=value``, with blanks between; quoted where that is needed."""
    return _fit(event, most, lambda fields: " ".join(f"{k}={_word(v)}" for k, v in fields.items()))


FORMATS: dict[str, Format] = {"json": as_json, "logfmt": as_logfmt}


def _fit(event: Event, most: int, write: Callable[[dict[str, Any]], str]) -> str:
    """Long values lose their middle if the line would be too long."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    fields = {
        "time": f"{stamp}.{int(now * 1000) % 1000:03d}Z",
        "level": NAMES[level_of(event)],
        "event": name_of(event),
        "pid": os.getpid(),
        **event._asdict(),
        "message": text_of(event),
    }
    line = ""
    for length in LENGTHS:
        line = write({name: _value(value, length) for name, value in fields.items()})
        if len(line.encode()) <= most:
            break
    return line


def _value(value: Any, length: int) -> Any:
    """A value that JSON has, without what is not to be seen as itself."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, str):
        return value
    if len(value) > length:
        value = f"{value[: length // 2]} ... {value[-(length // 2) :]}"
    return printable(value)


def _word(value: Any) -> str:
    text = str(value)
    if text and not any(c in ' "=\\' for c in text):
        return text
    return json.dumps(text, ensure_ascii=False)
