"""The addresses that the target's name stands for, looked up again and again without waiting.

A short-lived child process asks the name service, which may take its time, and reports.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence

from spiped.crypto import Backend
from spiped.errors import LookupFailed, OperatorError, describe
from spiped.lean_typing import NamedTuple, suppress
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
from spiped.process.helper import Helper

REFRESH_MIN = 0.1  # seconds from one look-up to the next, at least


class Answer(NamedTuple):
    """What became of looking an address up: what it stands for, or why that is not known."""

    addresses: list[SocketAddress]
    reasons: tuple[str, ...] = ()
    may_change: bool = False  # the name may come to stand for something


def look_up(
    reactor: Reactor,
    texts: Sequence[str],
    crypto: Backend,
    on_done: Callable[[list[Answer]], None],
    *,
    port_optional: Sequence[bool] = (),
) -> None:
    """Look addresses up, of which some may have no port; calls back with an answer for each.

    The child erases all secrets first.
    """

    def answer(sock: socket.socket) -> None:
        crypto.wipe_secrets()
        optional = [*port_optional, *([False] * len(texts))]
        answers = [_resolve(text, optional[i]) for i, text in enumerate(texts)]
        encoded = [[encode_addresses(a.addresses), a.reasons, a.may_change] for a in answers]
        with suppress(OSError):  # the supervisor is gone
            sock.sendall(json.dumps(encoded).encode())

    def take(report: bytes) -> None:
        try:
            answers = json.loads(report)
        except ValueError:
            reason = "The process that looks names up died"
            on_done([Answer([], (reason,), True) for _ in texts])
        else:
            on_done([Answer(decode_addresses(a), tuple(r), may) for a, r, may in answers])

    try:
        Helper(reactor, answer, take)
    except OSError as error:
        reason = f"Cannot look names up: {describe(error)}"
        refused = [Answer([], (reason,), True) for _ in texts]
        reactor.call_later(0, lambda: on_done(refused))


def _resolve(text: str, port_optional: bool) -> Answer:
    try:
        return Answer(resolve(text, port_optional=port_optional))
    except OperatorError as error:
        return Answer([], error.lines, isinstance(error, LookupFailed))


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
        self._known: list[SocketAddress] | None = None
        self._asking = False
        self._told: tuple[str, ...] = ()  # why the name could not be looked up the last time
        self._timer: Timer | None = None

    def begin(self, known: list[SocketAddress]) -> None:
        """These addresses are in use; ask from time to time whether they have changed."""
        self._known = known
        self._schedule()

    def refresh(self) -> None:
        """Ask now."""
        if self._known is None or self._asking or is_literal(self._text):
            return
        self._asking = True
        look_up(self._reactor, [self._text], self._crypto, self._take)

    def stop(self) -> None:
        """Ask no more."""
        self._known = None
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not is_literal(self._text):
            self._timer = self._reactor.call_later(max(self._interval, REFRESH_MIN), self.refresh)

    def _take(self, answers: list[Answer]) -> None:
        self._asking = False
        if self._known is None:
            return
        (answer,) = answers
        self._tell(answer)
        if answer.addresses and answer.addresses != self._known:
            self._known = answer.addresses
            self._on_change(answer.addresses)
        self._schedule()

    def _tell(self, answer: Answer) -> None:
        """Say what is different from the last time; the order of addresses is nothing to tell."""
        for reason in answer.reasons:
            if reason not in self._told:
                self._log.event(TargetsNotFound(reason))
        if self._told and not answer.reasons:
            self._log.event(TargetsFound(self._text))
        self._told = answer.reasons
        if answer.addresses and set(answer.addresses) != set(self._known or ()):
            names = ", ".join(map(str, answer.addresses))
            self._log.event(TargetsChanged(self._text, names))
