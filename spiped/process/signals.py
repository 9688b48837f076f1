"""The signals that tell a daemon what to do, from the start of the program to its end.

`entry` blocks them before anything else, so that one that comes early waits.  While the daemon
starts, SIGTERM and SIGINT take effect where it may have to wait (`stoppable`).  After that, a
handler only notes that a signal has come; a descriptor wakes the event loop, which does the rest.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

from spiped.lean_typing import suppress

# What a supervisor handles.  Its children inherit neither the handlers nor the meaning.
HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)

STOPPING = (signal.SIGTERM, signal.SIGINT)


def block_signals() -> None:
    """Let the handled signals wait; they do so also while another program takes our place."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def is_ignored(number: int) -> bool:
    """Whoever started us made us ignore this signal: a shell does that for background jobs."""
    return signal.getsignal(number) is signal.SIG_IGN


def _catch(number: int, handler: Callable[[int, object], None]) -> None:
    """Handle a signal; but an interrupt from the keyboard is not for background jobs.

    A hang-up is no matter of a terminal here: it means to reload, also after nohup(1).
    """
    if number != signal.SIGINT or not is_ignored(number):
        signal.signal(number, handler)


def forget_handlers() -> None:
    """Handle nothing any more: for a child, which begins with our handlers."""
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        if not is_ignored(number):
            signal.signal(number, signal.SIG_DFL)


def die_of(number: int) -> None:
    """End as this signal ends a program that knows nothing of it.  Process 1 cannot: it returns."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(signal.Signals(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])


class Stopped(BaseException):
    """SIGTERM or SIGINT has come while the daemon starts."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, frame: object) -> None:
    raise Stopped(number)


class stoppable:  # noqa: N801
    """A context in which SIGTERM and SIGINT raise `Stopped`; outside of it they wait."""

    def __enter__(self) -> None:
        for number in STOPPING:
            _catch(number, _stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def __exit__(self, *error: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


class Signals:
    """The signals that have come and are not handled yet."""

    def __init__(self) -> None:
        self._raised: list[int] = []
        self._wakeup, self._waker = socket.socketpair()
        for end in (self._wakeup, self._waker):
            end.setblocking(False)

    def fileno(self) -> int:
        """A descriptor that is readable when there are some."""
        return self._wakeup.fileno()

    def catch(self) -> None:
        """From now on, note what comes, and what has waited."""
        # The descriptor cannot be the queue, because it can be full.
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            _catch(number, lambda number, frame: self._raised.append(number))
        unblock_signals()

    def take(self) -> list[int]:
        """What has come since the last time, in order."""
        with suppress(BlockingIOError):
            self._wakeup.recv(4096)
        taken, self._raised = self._raised, []
        return taken

    def are_pending(self) -> bool:
        """Some have come that nobody has taken; to be asked while they are blocked."""
        try:
            self._wakeup.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return bool(self._raised)
        return True

    def close(self) -> None:
        """Let go of the descriptors: for a child."""
        self._wakeup.close()
        self._waker.close()
