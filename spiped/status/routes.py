"""What each path answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qsl

from spiped.lean_typing import Any, NamedTuple
from spiped.observe.view import CONNECTION_FIELDS
from spiped.status import exposition
from spiped.status.page import Page
from spiped.status.source import Source

PLAIN = "text/plain; charset=utf-8"
JSON = "application/json"

# What a browser may do with an answer: nothing; and what the page may do, it says itself.
NO_CONTENT = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

DEFAULT_SORT, DEFAULT_ORDER, DEFAULT_LIMIT = "age", "desc", 100
ORDERS = ("asc", "desc")
LIMIT_DIGITS_MAX = 9


class Request(NamedTuple):
    """What is asked for, as far as it decides the answer: equal requests have equal answers."""

    path: str
    query: str = ""  # what is behind the question mark
    accept: str = ""  # the header


class Answer(NamedTuple):
    """A status code, and a body with its type."""

    status: int
    content_type: str
    body: bytes
    policy: str = NO_CONTENT  # Content-Security-Policy


class BadQuery(Exception):
    """A query that nobody understands; the text says what is right."""


def say(status: int, line: str) -> Answer:
    """An answer of one line."""
    return Answer(status, PLAIN, f"{line}\n".encode(errors="replace"))


class Routes:
    """The paths, over what there is to be told."""

    def __init__(self, source: Source, page: Page) -> None:
        self._source = source
        self._page = page
        self._paths: dict[str, Callable[[Request], Answer]] = {
            "/": self._people,
            "/status": self._status,
            "/connections": self._connections,
            "/metrics": self._metrics,
            "/ready": self._ready,
            "/live": self._live,
        }

    def answer(self, request: Request) -> Answer:
        handler = self._paths.get(request.path)
        if handler is None:
            return say(404, f"There is nothing here, but at {' '.join(self._paths)}")
        try:
            return handler(request)
        except BadQuery as error:
            return say(400, str(error))

    def _people(self, request: Request) -> Answer:
        return Answer(200, "text/html; charset=utf-8", self._page.document, self._page.policy)

    def _status(self, request: Request) -> Answer:
        return _json(self._source.status())

    def _connections(self, request: Request) -> Answer:
        query = _parameters(request.query, "sort", "order", "limit", "pipe", "peer")
        sort = _one_of("sort", query.get("sort", DEFAULT_SORT), CONNECTION_FIELDS)
        order = _one_of("order", query.get("order", DEFAULT_ORDER), ORDERS)
        limit = query.get("limit", str(DEFAULT_LIMIT))
        if not (limit.isascii() and limit.isdigit() and len(limit) <= LIMIT_DIGITS_MAX):
            raise BadQuery("limit is how many connections to list at most; 0 is all of them")
        pipe = query.get("pipe")
        if pipe is not None:
            pipes = [each["name"] for each in self._source.facts().get("pipes", ())]
            _one_of("pipe", pipe, tuple(pipes))
        peer = query.get("peer", "")
        return _json(self._source.connections(sort, order == "desc", int(limit), pipe, peer))

    def _metrics(self, request: Request) -> Answer:
        content_type = exposition.choose(request.accept)
        return Answer(200, content_type, exposition.render(self._source.families(), content_type))

    def _ready(self, request: Request) -> Answer:
        if self._source.facts().get("ready"):
            return say(200, "ready")
        return say(503, "not ready")

    def _live(self, request: Request) -> Answer:
        """We end with the supervisor, so whoever is answered knows that it lives."""
        return say(200, "alive")


def _json(content: dict[str, Any]) -> Answer:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Answer(200, JSON, text.encode())


def _parameters(query: str, *known: str) -> dict[str, str]:
    """What a query says, by name.  Raises BadQuery."""
    given = parse_qsl(query, keep_blank_values=True)
    found = dict(given)
    if len(found) < len(given) or not found.keys() <= set(known):
        raise BadQuery(f"a query may have once each: {', '.join(known)}")
    return found


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise BadQuery(f"{name} is one of {', '.join(choices)}")
    return value
