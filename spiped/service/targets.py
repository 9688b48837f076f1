"""The addresses that the target's name stands for, looked up again and again without waiting.

A short-lived child process asks the name service, which may take its time, and reports.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Sequence

from spiped.crypto import Backend
from spiped.errors import REFUSALS, LookupFailed, OperatorError, describe
from spiped.lean_typing import Any, NamedTuple
from spiped.net.address import (
    SocketAddress,
    decode_addresses,
    encode_addresses,
    is_literal,
    resolve,
)
from spiped.net.reactor import Reactor, Timer
from spiped.observe.log.events import TargetsChanged, TargetsFound, TargetsNotFound
from spiped.observe.log.log import Log
from spiped.process.helper import TIME_LIMIT, Helper

REFRESH_MIN = 0.1  # seconds from one look-up to the next, at least


class Answer(NamedTuple):
    """What became of looking an address up: what it stands for, or why that is not known."""

    addresses: list[SocketAddress]
    failure: OperatorError | None = None


def look_up(
    reactor: Reactor,
    texts: Sequence[str],
    crypto: Backend,
    on_done: Callable[[list[Answer]], None],
    *,
    port_optional: Sequence[bool] = (),
) -> Helper | None:
    """Look addresses up, of which some may have no port; calls back with an answer for each.

    Returns the child that asks, which erases all secrets first; None if there can be none.
    """

    def answer(sock: socket.socket) -> None:
        crypto.wipe_secrets()
        optional = [*port_optional, *([False] * len(texts))]
        answers = [_resolve(text, optional[i]) for i, text in enumerate(texts)]
        sock.sendall(json.dumps(answers).encode())

    def take(report: bytes) -> None:
        try:
            answers = [_decode(each) for each in json.loads(report)]
        except ValueError:
            answers = _all_failed(texts, _explain(report, helper.took_too_long))
        on_done(answers)

    try:
        helper = Helper(reactor, answer, take)
    except REFUSALS as error:
        refused = _all_failed(texts, describe(error))
        reactor.call_later(0, lambda: on_done(refused))
        return None
    return helper


def _resolve(text: str, port_optional: bool) -> Any:
    """What the child finds, as JSON has it: addresses, the lines of an error, and may that end?"""
    try:
        return [encode_addresses(resolve(text, port_optional=port_optional)), [], False]
    except OperatorError as error:
        return [[], error.lines, isinstance(error, LookupFailed)]


def _decode(found: Any) -> Answer:
    addresses, lines, may_end = found
    failure = (LookupFailed if may_end else OperatorError)(*lines) if lines else None
    return Answer(decode_addresses(addresses), failure)


def _explain(report: bytes, took_too_long: bool) -> str:
    """Why a child that looks names up has ended without an answer."""
    if took_too_long:
        return f"there is no answer for {TIME_LIMIT} seconds"
    *_, last = ["the process that looks names up died", *report.decode().splitlines()]
    return last


def _all_failed(texts: Sequence[str], reason: str) -> list[Answer]:
    lines = [(reason, f"Error resolving socket address: {text}") for text in texts]
    return [Answer([], LookupFailed(*each)) for each in lines]


class Targets:
    """Keeps asking what the target's name stands for; says so when that has changed."""

    def __init__(
        self,
        reactor: Reactor,
        crypto: Backend,
        log: Log,
        text: str,
        interval: float,
        on_change: Callable[[list[SocketAddress]], None],
    ) -> None:
        """``text``: as the operator wrote it; ``interval``: seconds, may be infinite."""
        self._reactor = reactor
        self._crypto = crypto
        self._log = log
        self._text = text
        self._interval = interval
        self._on_change = on_change
        self.known: list[SocketAddress] = []  # what it stands for
        self._goes_on = False
        self.resolved: float | None = None  # when; seconds since 1970
        self._asking: Helper | None = None
        self.error = ""  # why the name could not be looked up the last time
        self._timer: Timer | None = None
        self._again = False  # the name may have got another meaning since we began to ask

    def begin(self, known: list[SocketAddress]) -> None:
        """These addresses are in use; ask from time to time whether they have changed."""
        self.known = known
        self._goes_on = True
        self._note()
        self._schedule(self._interval)

    def _note(self) -> None:
        if not is_literal(self._text):
            self.resolved = time.time()

    def refresh(self) -> None:
        """Ask now; and once more if an answer is on its way."""
        if not self._goes_on or is_literal(self._text):
            return
        if self._asking is not None:
            self._again = True
            return
        self._asking = look_up(self._reactor, [self._text], self._crypto, self._take)

    def stop(self) -> None:
        """Ask no more."""
        self._goes_on = False
        if self._asking is not None:
            self._asking.abandon()
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not is_literal(self._text):
            self._timer = self._reactor.call_later(max(delay, REFRESH_MIN), self.refresh)

    def _take(self, answers: list[Answer]) -> None:
        self._asking = None
        if not self._goes_on:
            return
        (answer,) = answers
        self._tell(answer)
        if answer.addresses:
            self._note()
        if answer.addresses and answer.addresses != self.known:
            self.known = answer.addresses
            self._on_change(answer.addresses)
        self._schedule(0 if self._again else self._interval)
        self._again = False

    def _tell(self, answer: Answer) -> None:
        """Say what is different from the last time; the order of addresses is nothing to tell."""
        reason = "" if answer.failure is None else answer.failure.line
        if reason not in ("", self.error):
            self._log.event(TargetsNotFound(reason))
        if self.error and not reason:
            self._log.event(TargetsFound(self._text))
        self.error = reason
        if answer.addresses and set(answer.addresses) != set(self.known):
            names = ", ".join(map(str, answer.addresses))
            self._log.event(TargetsChanged(self._text, names))
