"""The columns of all tables: each is declared here, once.

The display, the plain output, the fields that are read of an answer, the keys that sort, the help
and what `--sort` takes follow from these tables.  For scripts, columns are added at the end of a
table and never taken away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from spiped.lean_typing import Any, NamedTuple
from spiped.top.figures import count, duration, limit, number, rate, share, size, text


class Column(NamedTuple):
    """One column; its field is what docs/status.md calls it, or what `snapshot` computes."""

    field: str
    title: str
    show: Callable[[Any], str]
    width: int  # on the screen, the mark of the sort order included
    letter: str = ""  # sorts by it
    rank: int = 1  # the higher, the earlier it yields to the others where there is no room
    stretch: int = 0  # how many more cells it can use

    @property
    def is_text(self) -> bool:
        return self.show is text


class Trace(NamedTuple):
    """A chart in each row, of what a field of it has been; on the screen only."""

    field: str
    title: str
    width: int
    rank: int
    stretch: int


class Table(NamedTuple):
    """What one kind of rows is called, and their columns; the first of these tells them apart."""

    kind: str
    columns: tuple[Column, ...]
    traces: tuple[Trace, ...] = ()

    def column(self, field: str) -> Column:
        return next(column for column in self.columns if column.field == field)

    @property
    def sortable(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.letter)


DAEMON = Table(
    "daemon",
    (
        Column("now", "TIME", number, 0),
        Column("state", "STATE", text, 0),
        Column("ready", "READY", text, 0),
        Column("name", "NAME", text, 0),
        Column("pid", "PID", number, 0),
        Column("version", "VERSION", text, 0),
        Column("generation", "GENERATION", number, 0),
        Column("uptime", "UP", duration, 0),
        Column("active", "ACTIVE", count, 0),
        Column("limit", "LIMIT", limit, 0),
        Column("unauthenticated", "STRANGERS", count, 0),
        Column("unauthenticated_limit", "LIMIT", limit, 0),
        Column("accepted", "ACCEPTED", count, 0),
        Column("established", "ESTABLISHED", count, 0),
        Column("established_rate", "HANDSHAKES/S", rate, 0),
        Column("sealed", "SEALED", size, 0),
        Column("opened", "OPENED", size, 0),
        Column("sealed_rate", "SEALED/S", size, 0),
        Column("opened_rate", "OPENED/S", size, 0),
        Column("worker_restarts", "RESTARTS", count, 0),
        Column("upgrades", "UPGRADES", count, 0),
        Column("reloads", "RELOADS", count, 0),
        Column("reloads_failed", "FAILED", count, 0),
        Column("reload_error", "ERROR", text, 0),
        Column("log_lines_dropped", "DROPPED", count, 0),
        Column("listed", "LISTED", count, 0),
        Column("total", "TOTAL", count, 0),
        Column("hidden", "HIDDEN", count, 0),
    ),
)

THROUGHPUT = Trace("throughput", "THROUGHPUT", 10, 2, 40)
HANDSHAKES = Trace("established_rate", "HANDSHAKES", 10, 4, 20)

PIPES = Table(
    "pipe",
    (
        Column("name", "PIPE", text, 8, "P", 1, 24),
        Column("mode", "MODE", text, 8, "M", 3),
        Column("source", "SOURCE", text, 17, "U", 4, 30),
        Column("target", "TARGET", text, 17, "T", 4, 30),
        Column("target_state", "TARGETS", text, 9, "E", 1),
        Column("active", "ACTIVE", count, 7, "A", 1),
        Column("limit", "LIMIT", limit, 7, "L", 3),
        Column("unauthenticated", "STRANGERS", count, 10, "R", 2),
        Column("unauthenticated_limit", "LIMIT", limit, 7, "I", 6),
        Column("accepted", "ACCEPTED", count, 10, "C", 5),
        Column("established", "ESTABL.", count, 10, "B", 5),
        Column("established_rate", "HANDSH/S", rate, 9, "H", 1),
        Column("sealed", "SEALED", size, 7, "D", 5),
        Column("opened", "OPENED", size, 7, "N", 5),
        Column("sealed_rate", "SEALED/S", size, 9, "S", 1),
        Column("opened_rate", "OPENED/S", size, 9, "O", 1),
        Column("keys", "KEYS", count, 5, "K", 6),
    ),
    (THROUGHPUT, HANDSHAKES),
)

WORKERS = Table(
    "worker",
    (
        Column("id", "WORKER", number, 8, "W", 1),
        Column("pid", "PID", number, 8, "P", 1),
        Column("generation", "GENERATION", number, 11, "G", 5),
        Column("state", "STATE", text, 9, "T", 1),
        Column("active", "ACTIVE", count, 7, "A", 1),
        Column("unauthenticated", "STRANGERS", count, 10, "R", 3),
        Column("accepted", "ACCEPTED", count, 10, "C", 5),
        Column("established", "ESTABL.", count, 10, "B", 5),
        Column("established_rate", "HANDSH/S", rate, 9, "H", 3),
        Column("sealed", "SEALED", size, 7, "D", 5),
        Column("opened", "OPENED", size, 7, "N", 5),
        Column("sealed_rate", "SEALED/S", size, 9, "S", 1),
        Column("opened_rate", "OPENED/S", size, 9, "O", 1),
        Column("cpu", "CPU", share, 5, "U", 1),
        Column("cpu_seconds", "CPU TIME", duration, 9, "I", 6),
        Column("memory_bytes", "MEMORY", size, 7, "M", 1),
    ),
    (THROUGHPUT, HANDSHAKES),
)

CONNECTIONS = Table(
    "connection",
    (
        Column("id", "CONN", text, 8, "C", 1, 4),
        Column("pipe", "PIPE", text, 8, "P", 5, 12),
        Column("key", "KEY", text, 8, "K", 6, 12),
        Column("worker", "WORKER", number, 7, "W", 7),
        Column("peer", "PEER", text, 21, "R", 1, 30),
        Column("target", "TARGET", text, 17, "G", 4, 30),
        Column("state", "STATE", text, 11, "T", 2),
        Column("age", "AGE", duration, 6, "A", 1),
        Column("idle", "IDLE", duration, 6, "I", 3),
        Column("sealed", "SEALED", size, 7, "D", 4),
        Column("opened", "OPENED", size, 7, "N", 4),
        Column("sealed_rate", "SEALED/S", size, 9, "S", 1),
        Column("opened_rate", "OPENED/S", size, 9, "O", 1),
        Column("queued", "QUEUED", size, 7, "Q", 4),
    ),
    (THROUGHPUT,),
)

PARTS = re.compile("[0-9]+|[^0-9]+", re.ASCII)

# In the order in which they stand on the screen
TABLES = (PIPES, WORKERS, CONNECTIONS)


def sort_key(column: Column) -> Callable[[Any], Any]:
    """What rows are sorted by; parts of a text that are numbers count as such."""
    return _parts if column.is_text else lambda value: value


def _parts(text: str) -> list[tuple[bool, int, str]]:
    parts = PARTS.findall(text.lower())
    return [(False, int(p), "") if p.isdigit() else (True, 0, p) for p in parts]


def ordered(
    rows: Sequence[dict[str, Any]], column: Column, descending: bool
) -> list[dict[str, Any]]:
    """The rows in the order of a column; those in which it is unknown come last."""
    key = sort_key(column)
    known = [row for row in rows if row.get(column.field) not in (None, "")]
    unknown = [row for row in rows if row.get(column.field) in (None, "")]
    return sorted(known, key=lambda row: key(row[column.field]), reverse=descending) + unknown
