"""The status process of a daemon: forked, watched, and replaced when it dies.

It is as a stranger to the supervisor: nothing that it says is ever acted on (`spiped.status`).
"""

from __future__ import annotations

import socket
import time

from spiped.errors import REFUSALS, describe
from spiped.net.reactor import Reactor
from spiped.observe.counters import Counters
from spiped.observe.facts import Facts
from spiped.observe.log.events import StatusDied, StatusNotForked
from spiped.observe.view import View
from spiped.process.fork import fork
from spiped.process.signals import Signals
from spiped.service.holdings import Holdings
from spiped.service.worker_process import describe_status
from spiped.status import child
from spiped.status.page import Page

BACKOFF_MIN, BACKOFF_MAX = 0.1, 10.0  # seconds until one that has died young is replaced
STABLE = 1.0  # seconds; one that dies older is replaced at once


class StatusServer:
    """At most one process at a time."""

    def __init__(
        self,
        reactor: Reactor,
        signals: Signals,
        holdings: Holdings,
        counters: Counters,
        facts: Facts,
        page: Page,
        *,
        detach: bool,
    ) -> None:
        self._reactor = reactor
        self._signals = signals
        self._holdings = holdings
        self._counters = counters
        self._facts = facts
        self._page = page
        self._detach = detach
        self._pid: int | None = None
        self._sock: socket.socket | None = None  # whose end is the end of the process
        self._born = 0.0
        self._backoff = BACKOFF_MIN

    def start(self) -> None:
        """Fork the process; if the system refuses, later."""
        ours, theirs = socket.socketpair()
        try:
            self._pid = fork(lambda: self._become(ours, theirs))
        except REFUSALS as error:
            ours.close()
            self._holdings.log.event(StatusNotForked(describe(error)))
            self._reactor.call_later(BACKOFF_MAX, self.start)
            return
        finally:
            theirs.close()
        self._sock = ours
        self._born = time.monotonic()

    def close_in_child(self) -> None:
        """Let go, in another child."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def bury(self, pid: int, status: int) -> None:
        """A child has ended: if it was this one, put another in its place."""
        if pid != self._pid:
            return
        assert self._sock is not None
        self._sock.setblocking(False)
        try:
            words = self._sock.recv(child.LAST_WORDS_MAX).decode(errors="replace")
        except OSError:
            words = ""
        self._sock.close()
        self._pid = self._sock = None
        lines = words.splitlines() or [describe_status(status)]
        more = words if len(lines) > 1 else ""
        self._holdings.log.event(StatusDied(pid, lines[-1], more))
        if time.monotonic() - self._born >= STABLE:
            self._backoff = BACKOFF_MIN
        self._reactor.call_later(self._backoff, self.start)
        self._backoff = min(2 * self._backoff, BACKOFF_MAX)

    def _become(self, ours: socket.socket, theirs: socket.socket) -> int:
        """What the child does after the fork."""
        self._reactor.close()  # only our copy of the descriptors: nothing may be unregistered
        self._signals.close()
        ours.close()
        sandbox = self._holdings.sandbox
        return child.run(
            child.StatusSetup(
                program=self._holdings.log.name,
                listeners=[listener.sock for listener in self._holdings.status],
                page=self._page,
                view=View(self._counters, self._facts),
                erase_secrets=self._holdings.crypto.wipe_secrets,
                enter_sandbox=None if sandbox is None else sandbox.enter_without_pipe,
                detach=self._detach,
            ),
            theirs,
        )
