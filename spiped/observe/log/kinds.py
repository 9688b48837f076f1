"""Events that can be logged: what is declared of each kind, and what can be done with one.

An event says what happened, to whom, and what to do about it where that is not plain.  Each kind is
declared once, in `common` or in `events`: its class names the fields, and ``@event`` its level and
its text.  The names of events and of their fields are a promise (docs/log.md, which a test
compares).
"""

from __future__ import annotations

from collections.abc import Callable

from spiped.lean_typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from spiped.observe.log.printable import printable

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

# Levels, by the numbers of syslog (RFC 5424, 6.2.1); ASKED_FOR is a notice that is always shown.
ASKED_FOR, ERROR, WARNING, NOTICE, INFO, DEBUG = 1, 3, 4, 5, 6, 7

# By the names that operators give them
LEVELS = {"debug": DEBUG, "info": INFO, "notice": NOTICE, "warning": WARNING, "error": ERROR}


class Event(Protocol):
    """What the classes below have in common."""

    def _asdict(self) -> dict[str, Any]: ...


class Kind(NamedTuple):
    """What is declared of a class of events."""

    make: Callable[..., Any]
    fields: tuple[str, ...]
    level: int
    text: str | Callable[[Any], str]  # a template over the fields, or a function of the event
    name: str  # "": that of the class, in other letters


KINDS: dict[str, Kind] = {}  # by the name of the class


def event(
    level: int, text: str | Callable[[Any], str], name: str = ""
) -> Callable[[type[T]], type[T]]:
    """Declare a class of events."""

    def declare(kind: type[T]) -> type[T]:
        fields: tuple[str, ...] = getattr(kind, "_fields")  # noqa: B009
        KINDS[kind.__name__] = Kind(kind, fields, level, text, name)
        return kind

    return declare


def level_of(event: Event) -> int:
    return KINDS[type(event).__name__].level


def name_of(event: Event) -> str:
    """For example ``worker_died``."""
    kind = type(event).__name__
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind)
    return KINDS[kind].name or words[1:]


def text_of(event: Event) -> str:
    """The event for people, in one line."""
    text = KINDS[type(event).__name__].text
    if not isinstance(text, str):
        return printable(text(event))
    return printable(text.format_map({name: _Shown(v) for name, v in event._asdict().items()}))


class _Shown:
    """A value in a template; ``{workers:worker|workers}`` is how many, in words that fit."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __format__(self, spec: str) -> str:
        one, bar, many = spec.partition("|")
        return counted(self._value, one, many) if bar else format(self._value, spec)


def counted(number: Any, one: str, many: str) -> str:
    """A number, and what there is of it; one that is not known may be any text."""
    return f"{number} {one if number == 1 else many}"


def more_of(event: Event) -> list[str]:
    """What belongs below that line."""
    return [printable(line) for line in event._asdict().get("traceback", "").splitlines()]


# From one process to another


def encode(event: Event) -> dict[str, Any]:
    """An event in a form that JSON can carry."""
    return {"name": type(event).__name__, "fields": event._asdict()}


def decode(encoded: dict[str, Any]) -> Event:
    """The reverse of `encode`.  Raises ValueError for what is no event of ours.

    A worker of another version may know other fields: what is missing is empty.
    """
    kind, fields = KINDS.get(str(encoded.get("name"))), encoded.get("fields")
    if kind is None or not isinstance(fields, dict):
        raise ValueError(f"no event: {encoded}")
    if not all(type(value) in (str, int, float) for value in fields.values()):
        raise ValueError(f"no fields of an event: {encoded}")
    event: Event = kind.make(**{name: fields.get(name, "") for name in kind.fields})
    return event
