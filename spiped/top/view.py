"""What the operator has chosen to see, and what each key changes about it."""

from __future__ import annotations

from collections.abc import Callable

from spiped.lean_typing import NamedTuple
from spiped.top.columns import CONNECTIONS, TABLES, Column, Table

FILTER_MAX = 100  # characters
CONNECTIONS_INDEX = TABLES.index(CONNECTIONS)
HELP_INDEX = len(TABLES)  # among what can be scrolled


class Order(NamedTuple):
    """How a table is sorted."""

    field: str
    descending: bool


class View(NamedTuple):
    """What the operator has chosen to see."""

    orders: tuple[Order, ...]  # of each table
    # the first row that is shown of each, and the first line of the help
    offsets: tuple[int, ...] = (0,) * (len(TABLES) + 1)
    focus: int = CONNECTIONS_INDEX  # which table keys are about: the connections, at first
    filter: str = ""
    typing: bool = False  # what is typed is the filter
    paused: bool = False
    help: bool = False
    ended: bool = False

    @property
    def table(self) -> Table:
        return TABLES[self.focus]

    @property
    def scrolled(self) -> int:
        """What the keys for scrolling move."""
        return HELP_INDEX if self.help else self.focus

    @property
    def order(self) -> Order:
        return self.orders[self.focus]


def first_view(sort: str) -> View:
    """At the beginning: pipes and workers in their order, connections as the options say."""
    *others, connections = TABLES
    orders = [Order(table.sortable[0].field, False) for table in others]
    return View((*orders, natural_order(connections.column(sort))))


def natural_order(column: Column) -> Order:
    """Texts from A to Z, the largest number first."""
    return Order(column.field, not column.is_text)


def press(view: View, key: str, rows: int, page: int) -> View:
    """The view after a key; what it scrolls has so many rows, and room for a page of them."""
    if view.typing:
        return _type(view, key)
    if key in ("up", "down", "page up", "page down", "home", "end"):
        return _scroll(view, key, rows, page)
    if view.help:
        return view._replace(help=False, ended=key == "q")
    if key in SIMPLE:
        return SIMPLE[key](view)
    for column in view.table.sortable:
        if key == column.letter:
            return _sort(view, column)
    return view


def _type(view: View, key: str) -> View:
    if key == "enter":
        return view._replace(typing=False)
    if key == "escape":
        return view._replace(typing=False, filter="")
    if key == "backspace":
        return _filter(view, view.filter[:-1])
    if key == "ctrl-u":
        return _filter(view, "")
    if len(key) == 1:
        return _filter(view, (view.filter + key)[:FILTER_MAX])
    return view


def _filter(view: View, text: str) -> View:
    return _with_offset(view._replace(filter=text), CONNECTIONS_INDEX, 0)


def _scroll(view: View, key: str, rows: int, page: int) -> View:
    last = max(0, rows - page)
    offset = min(view.offsets[view.scrolled], last)
    moved = {
        "up": offset - 1,
        "down": offset + 1,
        "page up": offset - page,
        "page down": offset + page,
        "home": 0,
        "end": last,
    }[key]
    return _with_offset(view, view.scrolled, max(0, min(moved, last)))


def _with_offset(view: View, index: int, offset: int) -> View:
    offsets = list(view.offsets)
    offsets[index] = offset
    return view._replace(offsets=tuple(offsets))


def _sort(view: View, column: Column) -> View:
    """Sort by a column; by the one by which it is sorted already, the other way round."""
    if column.field == view.order.field:
        return _reverse(view)
    return _with_order(view, natural_order(column))


def _reverse(view: View) -> View:
    return _with_order(view, view.order._replace(descending=not view.order.descending))


def _with_order(view: View, order: Order) -> View:
    orders = list(view.orders)
    orders[view.focus] = order
    return _with_offset(view._replace(orders=tuple(orders)), view.focus, 0)


def _neighbour(view: View, step: int) -> View:
    """Sort by the next column."""
    columns = view.table.sortable
    at = next(i for i, column in enumerate(columns) if column.field == view.order.field)
    return _with_order(view, natural_order(columns[(at + step) % len(columns)]))


def _help(view: View) -> View:
    return _with_offset(view._replace(help=True), HELP_INDEX, 0)


def _focus(view: View, step: int) -> View:
    return view._replace(focus=(view.focus + step) % len(TABLES))


SIMPLE: dict[str, Callable[[View], View]] = {
    "q": lambda view: view._replace(ended=True),
    "h": lambda view: _help(view),
    "?": lambda view: _help(view),
    "p": lambda view: view._replace(paused=not view.paused),
    " ": lambda view: view._replace(paused=not view.paused),
    "/": lambda view: view._replace(typing=True, focus=CONNECTIONS_INDEX),
    "escape": lambda view: _filter(view, ""),
    "r": _reverse,
    "tab": lambda view: _focus(view, 1),
    "back tab": lambda view: _focus(view, -1),
    "left": lambda view: _neighbour(view, -1),
    "right": lambda view: _neighbour(view, 1),
}


def keeps(row: dict[str, object], text: str) -> bool:
    """A filter keeps a row: what is searched for is in one of its texts, whatever the case."""
    text = text.lower()
    return any(text in value.lower() for value in row.values() if isinstance(value, str))
