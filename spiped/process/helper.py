"""Short-lived child processes, which do for the supervisor what it may not wait for, and report.

Processes and not threads, because the supervisor forks workers at any time, and a process that does
may not have threads.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable

from spiped.errors import REFUSALS, describe
from spiped.lean_typing import suppress
from spiped.net.reactor import READ, Reactor
from spiped.process.descriptors import close_all_but
from spiped.process.fork import fork, present_traceback
from spiped.process.signals import unblock_signals
from spiped.process.streams import detach_streams

TIME_LIMIT = 60  # seconds, for a child that would never end


class Helper:
    """One child; calls ``on_done`` with all that it has written to its socket, once it has ended.

    A child that does not end in time is ended.  Raises what `REFUSALS` names if the
    system does not let us have the process.
    """

    def __init__(
        self,
        reactor: Reactor,
        child: Callable[[socket.socket], None],
        on_done: Callable[[bytes], None],
    ) -> None:
        self._reactor = reactor
        self._on_done = on_done
        self._report = b""
        self._began = time.monotonic()
        self._sock, theirs = socket.socketpair()
        try:
            self._pid = fork(lambda: _run(child, theirs))
        except REFUSALS:
            self._sock.close()
            raise
        finally:
            theirs.close()
        self._sock.setblocking(False)
        reactor.watch(self._sock, READ, self._on_readable)

    @property
    def took_too_long(self) -> bool:
        """The child, which has ended, has had all the time that there is."""
        return time.monotonic() - self._began >= TIME_LIMIT

    def abandon(self) -> None:
        """Do without the report, and end the child."""
        if self._sock.fileno() >= 0:
            if self._is_there():
                os.kill(self._pid, signal.SIGKILL)
            self._close()

    def bury(self) -> None:
        """Abandon the child, and wait for its end: where nobody else waits for children."""
        self.abandon()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _is_there(self) -> bool:
        """The child has not ended: else, its number may be another process's by now."""
        try:
            return self._sock.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True

    def _close(self) -> None:
        self._reactor.unwatch(self._sock)
        self._sock.close()

    def _on_readable(self, events: int) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        self._report += data
        if data:
            return
        self._close()
        self._on_done(self._report)


def _run(child: Callable[[socket.socket], None], sock: socket.socket) -> None:
    """The life of the child; an exception is its report.

    Lets go of what it has inherited: it may outlive the daemon, whose listening socket and standard
    streams others wait to see closed.
    """
    try:
        close_all_but(sock.fileno())
        detach_streams()
        signal.alarm(TIME_LIMIT)
        unblock_signals()
        child(sock)
    except REFUSALS as error:
        _report(sock, describe(error))
    except Exception:
        _report(sock, present_traceback())


def _report(sock: socket.socket, text: str) -> None:
    with suppress(OSError):
        sock.sendall(text.encode(errors="backslashreplace"))
