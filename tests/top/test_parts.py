"""The parts of the display by themselves: keys, figures, charts, columns, and what has changed."""

from __future__ import annotations

from typing import Any

import pytest

from spiped.top import figures
from spiped.top.client import Answer
from spiped.top.columns import CONNECTIONS, PIPES, TABLES, WORKERS, Table, ordered
from spiped.top.keys import keys_of
from spiped.top.screen import BLOCKS, fitting, frame, spark
from spiped.top.snapshot import SAMPLES_MAX, TRACE_MAX, Record, missed, seen
from spiped.top.view import SIMPLE, first_view, press
from tests.top.server import Json, connection, pipe, status, worker

each_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)


# Keys


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"qA/", ["q", "A", "/"]),
        (b"\x1b[A\x1bOB\x1b[5~\x1b[Z", ["up", "down", "page up", "back tab"]),
        ("é€𝄞".encode(), ["é", "€", "𝄞"]),
        (b"\x1b[1;5C\x1b[200~x", ["x"]),  # keys that mean nothing here
        (b"\xff\xfea\x00", ["a"]),
        (b"\r\t\x7f\x15", ["enter", "tab", "backspace", "ctrl-u"]),
    ],
)
def test_keys_are_the_same_however_their_bytes_come(data: bytes, keys: list[str]) -> None:
    assert keys_of(data, more_may_come=True) == (keys, b"")
    found: list[str] = []
    rest = b""
    for i in range(len(data)):
        more, rest = keys_of(rest + data[i : i + 1], more_may_come=True)
        found += more
    assert (found, rest) == (keys, b"")


def test_escape_alone_is_a_key_once_nothing_follows() -> None:
    assert keys_of(b"\x1b", more_may_come=True) == ([], b"\x1b")
    assert keys_of(b"\x1b", more_may_come=False) == (["escape"], b"")


# Figures


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (figures.size, 0, "0 B"),
        (figures.size, 999, "999 B"),
        (figures.size, 999.6, "1.00 kB"),
        (figures.size, 123_456_789, "123 MB"),
        (figures.size, None, "–"),  # noqa: RUF001
        (figures.size, 1e24, "1000000 EB"),
        (figures.count, 9_999_999, "9,999,999"),
        (figures.count, 12_345_678, "12.3M"),
        (figures.rate, 0.25, "0.2"),
        (figures.rate, 1234.5, "1,234"),
        (figures.limit, 0, "none"),
        (figures.share, 1.5, "150%"),
        (figures.duration, 59.9, "59s"),
        (figures.duration, 3600, "1h00m"),
        (figures.duration, 302_400, "3d12h"),
    ],
)
def test_figures_are_short(show: Any, value: float | None, text: str) -> None:
    assert show(value) == text


# Charts


def test_a_chart_ends_with_the_newest_and_its_largest_is_full() -> None:
    rows, peak = spark([0, 1, 2, 4, 8], 8, 1, BLOCKS.levels)
    assert rows == ["   ▁▁▂▄█"]
    assert peak == 8


def test_a_gap_in_a_chart_is_seen() -> None:
    rows, _ = spark([8, None, 8], 3, 1, BLOCKS.levels)
    assert rows == ["█ █"]


def test_a_tall_chart_is_filled_from_below() -> None:
    rows, _ = spark([1, 2, 3], 3, 3, BLOCKS.levels)
    assert rows == ["  █", " ██", "███"]


def test_a_chart_of_nothing_is_empty() -> None:
    assert spark([], 4, 1, BLOCKS.levels) == (["    "], None)
    assert spark([1.0], 0, 1, BLOCKS.levels) == ([""], None)
    assert spark([0, 0], 2, 1, BLOCKS.levels) == (["▁▁"], 0)


# Columns


@each_table
def test_each_column_has_a_letter_of_its_own_that_is_in_its_title(table: Table) -> None:
    letters = [column.letter for column in table.columns]
    assert len(set(letters)) == len(letters)
    for column in table.columns:
        assert column.letter.isupper()
        assert column.letter in column.title
        assert column.letter not in SIMPLE


@each_table
@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 132, 250])
def test_columns_fit_and_that_which_is_sorted_by_is_among_them(table: Table, width: int) -> None:
    for column in table.sortable:
        columns = fitting(table, column.field, width, charts=True)
        assert column in [shown for shown, _ in columns]
        if len(columns) > 1:
            assert sum(cells + 1 for _, cells in columns) <= width + 1


def test_connections_have_a_chart_in_80_columns_and_workers_too() -> None:
    for table, field in ((CONNECTIONS, "sealed_rate"), (WORKERS, "id")):
        titles = [column.title for column, _ in fitting(table, field, 80, charts=True)]
        assert "THROUGHPUT" in titles


def test_addresses_sort_by_their_numbers_and_what_is_unknown_comes_last() -> None:
    peers = ["[10.0.0.10]:5", "", "[10.0.0.9]:5", "[10.0.0.9]:40"]
    rows: list[dict[str, Any]] = [{"peer": peer} for peer in peers]
    column = CONNECTIONS.column("peer")
    up = [row["peer"] for row in ordered(rows, column, descending=False)]
    assert up == ["[10.0.0.9]:5", "[10.0.0.9]:40", "[10.0.0.10]:5", ""]
    assert [row["peer"] for row in ordered(rows, column, descending=True)][-1] == ""


# Views


def test_no_key_breaks_any_view() -> None:
    keys = [*SIMPLE, "up", "down", "page up", "page down", "home", "end", "enter", "backspace"]
    keys += [column.letter for table in TABLES for column in table.columns]
    record = seen(Record(), answered(0))
    for before in ["", *keys]:
        for key in keys:
            view = first_view("sealed_rate")
            for each in (before, key, key):
                view = press(view, each, rows=3, page=2)
            for size in ((40, 10), (3, 2)):
                assert len(frame(record, view, BLOCKS, *size).lines) <= size[1]


# What has changed


def answered(at: float, listing: list[Json] | None = None, **fields: Any) -> Answer:
    connections = [connection(1)] if listing is None else listing
    return Answer(at, status(now=1_000_000 + at, **fields), {"connections": connections})


def moved(sealed: int) -> dict[str, Any]:
    workers = [worker(1, sealed=sealed, cpu_seconds=sealed / 1e6), worker(2)]
    return {
        "pipes": [pipe(bytes={"sealed": sealed, "opened": 0})],
        "workers": workers,
    }


def test_a_rate_is_what_came_since_the_look_before() -> None:
    record = seen(seen(Record(), answered(0, **moved(0))), answered(2, **moved(1_000_000)))
    newest = record.newest
    assert newest.daemon["sealed_rate"] == 500_000
    assert newest.pipes[0]["sealed_rate"] == 500_000
    assert [row["sealed_rate"] for row in newest.workers] == [500_000, 0]
    assert newest.workers[0]["cpu"] == pytest.approx(0.5)


def test_a_counter_that_went_back_and_a_daemon_that_is_new_have_no_rate() -> None:
    first = seen(Record(), answered(0, **moved(1_000_000)))
    assert first.newest.daemon["sealed_rate"] is None
    assert seen(first, answered(1, **moved(5))).newest.daemon["sealed_rate"] is None
    another = seen(first, answered(1, started=2.0, **moved(2_000_000)))
    assert another.newest.daemon["sealed_rate"] is None


def test_a_clock_that_was_set_makes_no_difference() -> None:
    first = seen(Record(), answered(0, **moved(0)))
    later = answered(2, **moved(1_000_000))
    set_back = later._replace(status=later.status | {"now": 5.0})
    assert seen(first, set_back).newest.daemon["sealed_rate"] == 500_000


def test_a_connection_has_a_chart_as_long_as_it_is_listed() -> None:
    record = Record()
    for i in range(3):
        listing = [connection(1, sealed_rate=i, opened_rate=10)]
        record = seen(record, answered(i, listing=listing))
    key = ("connection", "2-1", "throughput")
    assert record.traces[key] == (10, 11, 12)
    record = seen(record, answered(3, listing=[connection(2)]))
    assert key not in record.traces
    assert record.traces["worker", 1, "established_rate"] == (None, 0, 0, 0)


def test_what_is_remembered_has_a_limit() -> None:
    record = Record()
    for i in range(SAMPLES_MAX + 10):
        record = seen(record, answered(i)) if i < 2 * TRACE_MAX else missed(record)
    assert len(record.samples) == SAMPLES_MAX
    assert len(record.traces["worker", 1, "throughput"]) == TRACE_MAX
    assert len(record.snapshots) < 15


def test_several_pipes_are_summed_and_no_limit_of_one_is_none_of_all() -> None:
    one = pipe("one")
    other = pipe("other")
    other["connections"] = other["connections"] | {"limit": 0}
    daemon = seen(Record(), answered(0, pipes=[one, other])).newest.daemon
    assert daemon["active"] == 6
    assert daemon["sealed"] == 10_000_000
    assert daemon["limit"] == 0
    assert daemon["unauthenticated_limit"] == 150
    assert PIPES.column("limit").show(daemon["limit"]) == "none"
