"""Connecting to the target: its addresses in turn, within one time limit."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable

from spiped.net.reactor import WRITE, Reactor, Timer
from spiped.net.sockets import close_with_reset, start_connect, take_error
from spiped.plane.ending import Ending, Reason
from spiped.plane.pipe_settings import PipeSettings
from spiped.proto.terms import CRYPT, PLAIN, Role

RETRY = 0.02  # seconds until we try again what the system cannot do at present
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Connector:
    """One attempt to reach the target.

    Every address gets an equal share of the time that is left, so that a dead one cannot hide the
    next.  Calls ``on_connected`` with the socket or ``on_failed`` with the reason, once, and never
    from within `start`.
    """

    def __init__(
        self,
        reactor: Reactor,
        pipe: PipeSettings,
        on_connected: Callable[[socket.socket], None],
        on_failed: Callable[[Ending], None],
    ) -> None:
        self._reactor = reactor
        self._pipe = pipe
        self._targets = list(pipe.targets)
        self._deadline = time.monotonic() + pipe.timeout
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._sock: socket.socket | None = None
        self._shortage: Ending | None = None  # of what the system had not enough, the last time
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin."""
        self._try_next()

    def cancel(self) -> None:
        """Give up silently."""
        if self._timer is not None:
            self._timer.cancel()
        self._close()

    def _try_next(self) -> None:
        left = self._deadline - time.monotonic()
        target = self._targets[0]
        if left <= 0:
            failure = self._shortage or self._failed(Reason.UNANSWERED)
            self._timer = self._reactor.call_later(0, lambda: self._on_failed(failure))
            return
        self._shortage = None
        try:
            self._sock = start_connect(target, self._pipe.bind, self._pipe.keepalive)
        except OSError as error:
            if error.errno in SHORTAGES:
                self._shortage = self._failed(Reason.SHORTAGE, error.errno or errno.EIO)
            if self._shortage is None and not isinstance(error, BlockingIOError):
                self._advance(self._failed(Reason.UNREACHED, error.errno or errno.EIO))
            else:  # a UNIX listener's backlog is full, or others have all that there is
                self._timer = self._reactor.call_later(min(RETRY, left), self._try_next)
            return
        share = left / len(self._targets)
        self._timer = self._reactor.call_later(share, self._give_up)
        self._reactor.watch(self._sock, WRITE, self._finish)

    def _finish(self, events: int) -> None:
        assert self._sock is not None
        assert self._timer is not None
        self._timer.cancel()
        status = take_error(self._sock)
        if status == 0:
            sock, self._sock = self._sock, None
            self._reactor.unwatch(sock)
            self._on_connected(sock)
        else:
            self._advance(self._failed(Reason.UNREACHED, status))

    def _give_up(self) -> None:
        self._advance(self._failed(Reason.UNANSWERED))

    def _advance(self, failure: Ending) -> None:
        self._close()
        del self._targets[0]
        then = self._try_next if self._targets else lambda: self._on_failed(failure)
        self._timer = self._reactor.call_later(0, then)

    def _failed(self, reason: Reason, error: int = 0) -> Ending:
        """What there is to be said of the present target."""
        if reason is Reason.SHORTAGE:
            return Ending(reason, self._pipe.role, error)
        side = CRYPT if self._pipe.role is Role.C else PLAIN
        return Ending(reason, self._pipe.role, error, side, target=self._targets[0])

    def _close(self) -> None:
        if self._sock is not None:
            self._reactor.unwatch(self._sock)
            close_with_reset(self._sock)
            self._sock = None
