"""A snapshot as lines of a screen of any size: charts, totals and tables.

Every text is a `Text` of its own and never markup, and what came from outside has been made
printable when it was read.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from spiped.lean_typing import NamedTuple
from spiped.top import figures
from spiped.top.columns import CONNECTIONS, TABLES, Column, Table, Trace, ordered
from spiped.top.figures import UNKNOWN, count, duration, rate, size
from spiped.top.snapshot import Record, Row, Snapshot, Traces, trace_key
from spiped.top.view import View, keeps

# Colours say nothing that words do not say as well, and attributes remain where there are none.
TITLE = "bold"
LABEL = "bright_black"
GOOD, WARN, BAD = "green", "yellow", "bold white on red"
HEADER, HEADER_IN_FOCUS = "bold", "bold reverse"
HOT = "underline"
STATES = {
    "serving": GOOD,
    "up": GOOD,
    "down": BAD,
    "lame_duck": WARN,
    "draining": WARN,
    "starting": WARN,
    "connecting": WARN,
    "handshake": WARN,
    "half-closed": WARN,
}

CHARTS = (
    ("sealed", "sealed_rate", "cyan"),
    ("opened", "opened_rate", "magenta"),
    ("handshakes", "established_rate", "yellow"),
)
TRACE_STYLES = {"throughput": "cyan", "established_rate": "yellow"}
LABEL_WIDTH = 10
VALUE_WIDTH = 10
PEAK_WIDTH = 16
WIDE = 60  # cells, from which on charts tell their maximum
TALL = 36  # lines, from which on charts are taller, and there are blank lines
SHORT = 16  # lines, below which the tables need those that can be missed
CHART_LINES = 3

KEYS = (
    ("q", "quit"),
    ("h", "help"),
    ("p", "pause"),
    ("/", "filter"),
    ("Tab", "table"),
    ("Left Right", "sort"),
    ("r", "reverse"),
    ("Up Down", "scroll"),
)


class Glyphs(NamedTuple):
    """What a terminal can show beside letters."""

    levels: str  # of a chart: nothing, and from little to much
    down: str
    up: str
    line: str


BLOCKS = Glyphs(" ▁▂▃▄▅▆▇█", "▼", "▲", "─")
ASCII = Glyphs(" _.-:=+*#", "v", "^", "-")


def glyphs_for(encoding: str) -> Glyphs:
    try:
        "".join(BLOCKS).encode(encoding)
    except (UnicodeError, LookupError):
        return ASCII
    return BLOCKS


class Frame(NamedTuple):
    """Lines of a screen, and how much of what can be scrolled they show."""

    lines: list[Text]
    pages: tuple[int, ...]  # rows that there is room for, of each table, and lines of the help
    rows: tuple[int, ...]  # how many there are


def frame(
    record: Record, view: View, glyphs: Glyphs, width: int, height: int | None, notice: str = ""
) -> Frame:
    """All that there is to see; a height of None is as many lines as it takes."""
    snapshot = record.newest
    is_tall = height is None or height >= TALL
    tables = [_sorted(snapshot, view, index) for index in range(len(TABLES))]
    totals = _totals(snapshot, width)
    if height is not None and height < SHORT:
        totals = totals[:1]
    top = [_title(snapshot, view), *_warnings(snapshot, notice, width), *totals]
    if height is None:  # of one moment there is no chart
        top += _charts(record, glyphs, 0, 1)
    else:
        top += _charts(record, glyphs, width, CHART_LINES if is_tall else 1)
    traces = None if height is None else record.traces
    gap = 1 if is_tall else 0
    wanted = [gap + 1 + len(rows) for rows in tables]
    heights = wanted
    if height is not None:
        heights = _heights(wanted, height - len(top) - 1, view.focus, gap + 2)
    middle: list[Text] = []
    for index, rows in enumerate(tables):
        if heights[index]:
            middle += [Text()] * gap
            page = heights[index] - gap
            middle += _table(rows, traces, view, index, glyphs, width, page)
    lines = [*top, *middle]
    if height is not None:
        lines += [Text()] * (height - len(lines) - 1)
        lines = [*lines[: height - 1], _bottom(snapshot, view, len(tables[-1]))]
    help_lines = _help(view, min(HELP_WIDTH, max(1, width - 4)))
    help_page = max(1, len(lines) - 2)
    if view.help:
        lines = _over(lines, help_lines, view.offsets[-1], width, glyphs.line)
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    pages = (*(max(0, lines - 1 - gap) for lines in heights), help_page)
    return Frame(lines, pages, (*map(len, tables), len(help_lines)))


# Above the tables


def _title(snapshot: Snapshot, view: View) -> Text:
    daemon = snapshot.daemon
    line = Text.assemble(("spiped-top ", LABEL), (daemon["name"] or "spiped", TITLE), "  ")
    line.append(daemon["state"] or UNKNOWN, STATES.get(daemon["state"], ""))
    ready = {"yes": ("ready", GOOD), "no": ("not ready", WARN)}.get(daemon["ready"], (UNKNOWN, ""))
    line.append_text(Text.assemble("  ", ready))
    for label, value in (
        ("up", duration(daemon["uptime"])),
        ("generation", figures.number(daemon["generation"])),
        ("pid", figures.number(daemon["pid"])),
        ("version", figures.text(daemon["version"])),
    ):
        line.append_text(Text.assemble("  ", (f"{label} ", LABEL), value))
    if view.paused:
        line = Text.assemble((" paused ", "bold reverse"), " ", line)
    return line


def _warnings(snapshot: Snapshot, notice: str, width: int) -> list[Text]:
    lines = []
    if notice:
        lines.append(_bar(notice, width))
    if error := snapshot.daemon["reload_error"]:
        lines.append(Text(f"The last reload failed: {error}", WARN))
    return lines


def _bar(text: str, width: int) -> Text:
    line = Text(f" {text}", BAD)
    line.truncate(width, overflow="ellipsis", pad=True)
    return line


def _totals(snapshot: Snapshot, width: int) -> list[Text]:
    daemon = snapshot.daemon
    totals = [
        ("connections", _of(daemon, "active", "limit")),
        ("strangers", _of(daemon, "unauthenticated", "unauthenticated_limit")),
        ("accepted", count(daemon["accepted"])),
        ("established", count(daemon["established"])),
        ("sealed", size(daemon["sealed"])),
        ("opened", size(daemon["opened"])),
    ]
    for label, field in (
        ("workers restarted", "worker_restarts"),
        ("reloads", "reloads"),
        ("reloads failed", "reloads_failed"),
        ("upgrades", "upgrades"),
        ("log lines dropped", "log_lines_dropped"),
    ):
        if daemon[field]:  # of what never happens nobody wants to read
            totals.append((label, count(daemon[field])))
    causes = sorted(snapshot.causes.items(), key=lambda item: (-item[1], item[0]))
    ended = [(name, count(number)) for name, number in causes]
    return [_pairs(totals, width), _pairs([("ended:", ""), *ended] if ended else [], width)]


def _of(daemon: Row, field: str, limit: str) -> str:
    text = count(daemon[field])
    return f"{text} of {count(daemon[limit])}" if daemon[limit] else text


def _pairs(pairs: Sequence[tuple[str, str]], width: int) -> Text:
    """As many of them as fit."""
    line = Text()
    for label, value in pairs:
        item = Text.assemble((label, LABEL), " ", value, " " if value else "")
        if line.cell_len + item.cell_len > width + 1:
            break
        line.append_text(item).append(" " if value else "")
    return line


def _charts(record: Record, glyphs: Glyphs, width: int, height: int) -> list[Text]:
    """The charts in so many cells; without a width, what they would be about."""
    daemon = record.newest.daemon
    tells_peak = width >= WIDE
    cells = max(0, width - LABEL_WIDTH - VALUE_WIDTH - 1 - (PEAK_WIDTH if tells_peak else 0))
    lines = []
    for (name, field, style), numbers in zip(
        CHARTS, zip(*record.samples, strict=True), strict=True
    ):
        show = rate if field == "established_rate" else size
        rows, peak = spark(numbers, cells, height, glyphs.levels)
        value = UNKNOWN if daemon[field] is None else f"{show(daemon[field])}/s"
        for i, row in enumerate(rows):
            label = [(f"{name:<{LABEL_WIDTH}}", LABEL), (f"{value:>{VALUE_WIDTH}}", TITLE)]
            if i < height - 1:
                label = [(" " * (LABEL_WIDTH + VALUE_WIDTH), "")]
            line = Text.assemble(*label, " ", (row, style))
            if i == 0 and tells_peak and peak is not None:
                line.append(f"  max {show(peak)}/s", LABEL)
            lines.append(line)
    return lines


def spark(
    values: Sequence[float | None], width: int, height: int, levels: str
) -> tuple[list[str], float | None]:
    """A chart of the last values, the newest at the right, and the largest of them."""
    shown = values[-width:] if width else ()
    known = [value for value in shown if value is not None]
    peak = max(known, default=None)
    steps = len(levels) - 1
    rows = []
    for row in reversed(range(height)):
        cells = []
        for value in shown:
            if not value or not peak:
                # a value of nothing is seen where there could be one; where none is known, nothing
                cells.append(levels[1] if value is not None and row == 0 else levels[0])
                continue
            level = max(1, round(value / peak * steps * height)) - row * steps
            cells.append(levels[max(0, min(level, steps))])
        rows.append("".join(cells).rjust(width))
    return rows, peak


# Tables


def _sorted(snapshot: Snapshot, view: View, index: int) -> list[Row]:
    table = TABLES[index]
    rows = snapshot.rows(table)
    if table is CONNECTIONS and view.filter:
        rows = [row for row in rows if keeps(row, view.filter)]
    order = view.orders[index]
    return ordered(rows, table.column(order.field), order.descending)


def _heights(wanted: list[int], room: int | None, focus: int, least: int) -> list[int]:
    """How many lines each table gets: some for all, and the rest for the one in focus first."""
    if room is None:
        return wanted
    heights = [0] * len(wanted)
    turns = [focus, *(i for i in reversed(range(len(wanted))) if i != focus)]
    for share in (max(least + 1, room // 4), room):
        for i in turns:
            more = min(wanted[i], share) - heights[i]
            if heights[i] or room >= least:
                heights[i] += max(0, min(more, room))
                room -= max(0, min(more, room))
    return heights


def _table(
    rows: list[Row],
    traces: Traces | None,
    view: View,
    index: int,
    glyphs: Glyphs,
    width: int,
    height: int,
) -> list[Text]:
    table = TABLES[index]
    order = view.orders[index]
    columns = fitting(table, order.field, width, charts=traces is not None)
    style = HEADER_IN_FOCUS if index == view.focus else HEADER
    header = Text(style=style)
    for column, cells in columns:
        title = Text(column.title)
        if isinstance(column, Trace):
            header.append_text(_padded(title, cells)).append(" ")
            continue
        if index == view.focus and column.letter:
            title.stylize(HOT, at := column.title.index(column.letter), at + 1)
        if column.field == order.field:
            title.append(glyphs.down if order.descending else glyphs.up)
        header.append_text(_cell(title, column, cells)).append(" ")
    header.truncate(width, pad=True)
    offset = max(0, min(view.offsets[index], len(rows) - (height - 1)))
    lines = [header]
    for row in rows[offset : offset + height - 1]:
        lines.append(_line(table, row, traces or {}, columns, glyphs))
    return lines


def _line(
    table: Table,
    row: Row,
    traces: Traces,
    columns: list[tuple[Column | Trace, int]],
    glyphs: Glyphs,
) -> Text:
    line = Text()
    for column, cells in columns:
        if isinstance(column, Trace):
            values = traces.get(trace_key(table, row, column.field), ())
            (chart,), _ = spark(values, cells, 1, glyphs.levels)
            line.append(chart, TRACE_STYLES[column.field]).append(" ")
            continue
        value = row[column.field]
        style = STATES.get(value, "") if column.is_text else ""
        line.append_text(_cell(Text(column.show(value), style), column, cells)).append(" ")
    line.right_crop(1)
    return line


def _cell(text: Text, column: Column, cells: int) -> Text:
    if column.is_text:
        return _padded(text, cells)
    text.truncate(cells, overflow="ellipsis")
    text.pad_left(max(0, cells - text.cell_len))
    return text


def _padded(text: Text, cells: int) -> Text:
    text.truncate(cells, overflow="ellipsis", pad=True)
    return text


def fitting(
    table: Table, sorted_by: str, width: int, *, charts: bool
) -> list[tuple[Column | Trace, int]]:
    """The columns for which there is room, the one that is sorted by always; and their widths."""

    def is_sorted_by(column: Column | Trace) -> bool:
        return isinstance(column, Column) and column.field == sorted_by

    columns: list[Column | Trace] = [*table.columns, *(table.traces if charts else ())]
    while len(columns) > 1 and sum(column.width + 1 for column in columns) > width + 1:
        columns.remove(max(reversed(columns), key=lambda c: 0 if is_sorted_by(c) else c.rank))
    spare = width + 1 - sum(column.width + 1 for column in columns)
    widths = []
    stretches = sum(column.stretch for column in columns)
    for column in columns:
        more = min(column.stretch, spare * column.stretch // stretches) if stretches else 0
        widths.append((column, column.width + max(0, more)))
    return widths


# Below the tables


def _bottom(snapshot: Snapshot, view: View, shown: int) -> Text:
    if view.typing:
        end = ("  Enter keeps it, Esc drops it", LABEL)
        return Text.assemble(("filter: ", TITLE), view.filter, ("_", "blink"), end)
    keys = (Text.assemble((key, TITLE), f" {what}") for key, what in KEYS)
    return Text("  ").join([_listed(snapshot, view, shown), *keys])


def _listed(snapshot: Snapshot, view: View, shown: int) -> Text:
    """Of how many connections the table tells."""
    daemon = snapshot.daemon
    text = f"{count(shown)} of {count(daemon['total'])}"
    if daemon["hidden"]:
        text += f", {count(daemon['hidden'])} hidden"
    return Text.assemble(text, (f" with {view.filter}", WARN) if view.filter else "")


def _help(view: View, width: int) -> list[Text]:
    sorting = "  ".join(f"{c.letter} {c.title.lower()}" for c in view.table.sortable)
    lines = [
        ("Keys", TITLE),
        ("q              quit", ""),
        ("h ?            this help", ""),
        ("p Space        pause, go on", ""),
        ("/              filter the connections", ""),
        ("Esc            show all of them", ""),
        ("Tab Shift-Tab  next or previous table", ""),
        ("Up Down        scroll it", ""),
        ("PgUp PgDn      scroll it by pages", ""),
        ("Home End       first row, last row", ""),
        ("Left Right     sort by next column", ""),
        ("r              sort in reverse", ""),
        ("", ""),
        (f"Sort the table of {view.table.kind}s by", TITLE),
    ]
    words = [Text(line, style) for line, style in lines]
    row = Text()
    for item in sorting.split("  "):
        if row.cell_len + len(item) > width:
            words.append(row)
            row = Text()
        row.append(f"{item}  ")
    return [*words, row, Text(), Text("Up, Down: scroll.  Else: close.", LABEL)]


HELP_WIDTH = 62


def _over(lines: list[Text], above: list[Text], offset: int, width: int, stroke: str) -> list[Text]:
    """Lay lines over the middle of others; of what is too long, a page from an offset on."""
    inner = min(HELP_WIDTH, max(1, width - 4))
    left = max(0, (width - inner - 4) // 2)
    page = max(1, len(lines) - 2)
    offset = max(0, min(offset, len(above) - page))
    shown = above[offset : offset + page]
    framed = [Text(stroke * inner), *shown, Text(stroke * inner)]
    for i, line in enumerate(framed):
        edge = stroke if i in (0, len(framed) - 1) else " "
        framed[i] = Text.assemble(" " * left, edge * 2, _padded(line, inner), edge * 2)
    start = max(0, (len(lines) - len(framed)) // 2)
    result = [*lines[:start], *framed, *lines[start + len(framed) :]]
    return result[: len(lines)]
