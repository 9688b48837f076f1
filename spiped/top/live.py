"""The display that goes on: waits for keys, answers, signals and resizes, and shows the result."""

from __future__ import annotations

import os
import queue
import select
import signal
import time

from rich.console import Console

from spiped.lean_typing import NoReturn, suppress
from spiped.options.settings import TopOptions
from spiped.process.signals import is_ignored
from spiped.top.address import Address, NoAnswer
from spiped.top.client import Answer, Query
from spiped.top.columns import CONNECTIONS, TABLES
from spiped.top.figures import duration
from spiped.top.poller import Poller
from spiped.top.screen import Frame, frame, glyphs_for
from spiped.top.snapshot import Record, missed, seen
from spiped.top.terminal import Terminal
from spiped.top.view import first_view, press

# What ends the program, as `q` does
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
NOTED = (*ENDING, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)

# After which an answer that does not come is told of
SILENCE = 2.0  # seconds


class _Signals:
    """Signals that have come, and a descriptor that is readable then, or when somebody says so."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._noted: list[int] = []

    def catch(self) -> None:
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in NOTED:
            if not is_ignored(number):
                signal.signal(number, lambda number, frame: self._noted.append(number))

    def fileno(self) -> int:
        return self._reader

    def wake(self) -> None:
        with suppress(BlockingIOError):  # enough of them are in it
            os.write(self._writer, b"\0")

    def take(self) -> list[int]:
        with suppress(BlockingIOError):
            os.read(self._reader, 1 << 16)
        taken, self._noted = self._noted, []
        return taken


class Live:
    """The program while it runs."""

    def __init__(self, address: Address, options: TopOptions) -> None:
        self._terminal = Terminal(console := Console(highlight=False, markup=False, emoji=False))
        self._glyphs = glyphs_for(console.encoding)
        self._limit = options.limit
        self._view = first_view(options.sort)
        self._record = Record()  # all that has come
        self._shown = Record()  # what is looked at: in a pause, that of before
        self._trouble = ""
        self._answered = time.monotonic()
        self._frame = Frame([], (0,) * len(self._view.offsets), (0,) * len(self._view.offsets))
        self._signals = _Signals()
        self._poller = Poller(address, self._query, options.interval, self._signals.wake)

    def run(self) -> None:
        """Show what comes until it is enough.  Raises NoAnswer if nothing does at first."""
        first = self._poller.results.get()
        if isinstance(first, NoAnswer):
            raise first
        self._take(first)
        self._signals.catch()
        try:
            self._terminal.enter()
            while not self._view.ended:
                self._show()
                self._wait()
        finally:
            self._terminal.leave()

    @property
    def _query(self) -> Query:
        """A filter is about all connections that there are, not only about the first of them."""
        order = self._view.orders[TABLES.index(CONNECTIONS)]
        return Query(order.field, order.descending, 0 if self._view.filter else self._limit)

    def _wait(self) -> None:
        timeout = self._terminal.key_time or 1.0
        keyboard = self._terminal.fileno()
        ready, _, _ = select.select([keyboard, self._signals.fileno()], [], [], timeout)
        for number in self._signals.take():
            self._signal(number)
        with suppress(queue.Empty):
            while True:
                self._take(self._poller.results.get_nowait())
        if keyboard in ready:
            keys = self._terminal.read_keys()
            if keys is None:
                self._view = self._view._replace(ended=True)
            else:
                self._press(keys)
        elif self._terminal.key_time:
            self._press(self._terminal.last_keys())

    def _take(self, result: Answer | Exception) -> None:
        if isinstance(result, NoAnswer):
            self._record = missed(self._record)
            self._trouble = result.lines[0]
        elif isinstance(result, Exception):
            raise result
        else:
            self._record = seen(self._record, result)
            self._trouble = ""
            self._answered = time.monotonic()

    def _signal(self, number: int) -> None:
        if number in ENDING:
            self._view = self._view._replace(ended=True)
            for ending in ENDING:  # a terminal that takes nothing holds us up: one more ends us
                if not is_ignored(ending):
                    signal.signal(ending, self._give_up)
        elif number == signal.SIGTSTP:
            self._suspend()
        elif number == signal.SIGCONT:  # whoever stopped us may have used the terminal
            self._terminal.enter()
        else:
            self._terminal.forget()

    def _give_up(self, number: int, frame: object) -> NoReturn:
        self._terminal.abandon()
        os._exit(0)

    def _suspend(self) -> None:
        """Let the shell have the terminal until it wants us back."""
        self._terminal.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._terminal.enter()

    def _press(self, keys: list[str]) -> None:
        for key in keys:
            if key == "ctrl-l":
                self._terminal.forget()
            index = self._view.scrolled
            self._view = press(self._view, key, self._frame.rows[index], self._frame.pages[index])
        self._poller.want(self._query)

    def _show(self) -> None:
        if not self._view.paused:
            self._shown = self._record
        size = self._terminal.size
        self._frame = frame(
            self._shown, self._view, self._glyphs, size.columns, size.lines, self._notice()
        )
        self._terminal.show(self._frame.lines, size)

    def _notice(self) -> str:
        """That there is no answer, and for how long."""
        since = self._poller.asking_since
        late = since is not None and time.monotonic() - since > SILENCE
        if not self._trouble and not late:
            return ""
        silence = duration(time.monotonic() - self._answered)
        reason = self._trouble or "it takes long"
        return f"No answer for {silence}: {reason}; waiting for it to come back"
