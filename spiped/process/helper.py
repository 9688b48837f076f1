"""Short-lived child processes, which do for the supervisor what it may not wait for, and report.

Processes and not threads, because the supervisor forks workers at any time, and a process that does
may not have threads.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

from spiped.net.reactor import READ, Reactor
from spiped.process.descriptors import close_all_but
from spiped.process.fork import fork
from spiped.process.signals import unblock_signals

TIME_LIMIT = 60  # seconds, for a child that would never end


class Helper:
    """One child; calls ``on_done`` with all that it has written to its socket, once it has ended.

    Raises OSError if the system does not let us have the process.
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
        self._sock, theirs = socket.socketpair()
        try:
            self.pid = fork(lambda: _run(child, theirs))
        except OSError:
            self._sock.close()
            raise
        finally:
            theirs.close()
        self._sock.setblocking(False)
        reactor.watch(self._sock, READ, self._on_readable)

    def abandon(self) -> None:
        """Do without the report."""
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
        self.abandon()
        self._on_done(self._report)


def _run(child: Callable[[socket.socket], None], sock: socket.socket) -> None:
    """The life of the child.

    Lets go of what it has inherited: it may outlive the daemon, and the listening socket not.
    """
    close_all_but(sock.fileno())
    signal.alarm(TIME_LIMIT)
    unblock_signals()
    child(sock)
