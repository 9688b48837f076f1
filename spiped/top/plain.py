"""A snapshot for scripts: one line for each row, its kind first, tabs between the columns."""

from __future__ import annotations

from collections.abc import Iterator

from spiped.lean_typing import Any
from spiped.top.columns import CONNECTIONS, DAEMON, TABLES, Table, ordered
from spiped.top.snapshot import Row, Snapshot

# An empty column would be none at all to a shell that splits at tabs
UNKNOWN = "-"


def header() -> str:
    """A line for each kind, with the names of the columns."""
    return "".join(
        "\t".join([f"#{table.kind}", *(column.field for column in table.columns)]) + "\n"
        for table in (DAEMON, *TABLES)
    )


def plain(snapshot: Snapshot, sort: str, descending: bool) -> str:
    """The daemon, its pipes, its workers, and its connections in the order that was asked for."""
    return "".join(_lines(snapshot, sort, descending))


def _lines(snapshot: Snapshot, sort: str, descending: bool) -> Iterator[str]:
    yield _line(DAEMON, snapshot.daemon)
    for table in TABLES:
        rows = snapshot.rows(table)
        if table is CONNECTIONS:
            rows = ordered(rows, table.column(sort), descending)
        yield from (_line(table, row) for row in rows)


def _line(table: Table, row: Row) -> str:
    return "\t".join([table.kind, *(_word(row[c.field]) for c in table.columns)]) + "\n"


def _word(value: Any) -> str:
    if value in (None, ""):
        return UNKNOWN
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)
