"""Relaying: a session that is established, and its two sockets.

Per direction: receive a batch, transform it, send it, and do not receive again before all of it has
been sent.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import termios
import time
from collections.abc import Callable

from spiped.errors import PacketError
from spiped.lean_typing import suppress
from spiped.net.reactor import HANGUP, NOTHING, READ, WRITE, Reactor
from spiped.net.sockets import close_gracefully, close_with_reset, take_error
from spiped.observe.entry import Shown, State
from spiped.observe.slot import Field, Slot
from spiped.plane.ending import OF_FAULT, Ending, Reason
from spiped.plane.pipe_settings import PipeSettings
from spiped.proto.session import Session
from spiped.proto.terms import CRYPT, PLAIN

DRAIN_POLL = 0.01  # seconds between two looks at how much the peer has still to acknowledge

COUNTED = (Field.SEALED, Field.OPENED)  # by side
PACKETS = (Field.SEALED_PACKETS, Field.OPENED_PACKETS)

# What shutdown() says when the peer was faster: its reset will be noticed on its own
PEER_WAS_FASTER = (errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE)


class Relaying:
    """Moves what there is, and calls ``on_end`` when both sockets are closed."""

    __slots__ = (
        "_active",
        "_deadline",
        "_hung_up",
        "_is_draining",
        "_on_end",
        "_pipe",
        "_queued",
        "_reactor",
        "_session",
        "_shown",
        "_slot",
        "_sockets",
        "_timer",
    )

    def __init__(
        self,
        reactor: Reactor,
        session: Session,
        plain: socket.socket,
        crypt: socket.socket,
        pipe: PipeSettings,
        slot: Slot,
        shown: Shown,
        on_end: Callable[[Ending], None],
    ) -> None:
        self._reactor = reactor
        self._session = session
        self._sockets = (plain, crypt)
        self._pipe = pipe
        self._slot = slot
        self._shown = shown
        self._on_end = on_end
        self._hung_up = [False, False]  # the peer is gone; there may be something left to read
        self._is_draining = False  # after a failure
        self._deadline = 0.0  # of draining or leaving, once that has begun
        self._active = time.monotonic()  # when something was carried
        self._queued = 0  # what the system had still to deliver when we last asked
        self._timer = reactor.call_later(pipe.idle_timeout, self._on_silence)  # then of draining
        reactor.watch(plain, READ, self._on_plain)
        reactor.watch(crypt, READ, self._on_crypt)

    def abort(self, reason: Reason) -> None:
        self._end(close_with_reset, Ending(reason, self._pipe.role))

    # Events

    def _on_plain(self, events: int) -> None:
        self._on_events(PLAIN, events)

    def _on_crypt(self, events: int) -> None:
        self._on_events(CRYPT, events)

    def _on_events(self, side: int, events: int) -> None:
        if events == HANGUP:
            self._check(side)
        if events & WRITE:
            self._send(side)
        if events & READ and self._session.wants(side):
            self._receive(side)
        self._settle()

    def _check(self, side: int) -> None:
        sock = self._sockets[side]
        status = take_error(sock)
        self._hung_up[side] = True
        if sock.family == socket.AF_UNIX:
            self._session.reader_is_gone(side)
        if status != 0:
            self._session.fail(side, OSError(status, os.strerror(status)))

    def _receive(self, side: int) -> None:
        """Receive a batch, and send what has become of it."""
        session = self._session
        self._active = time.monotonic()
        try:
            data = self._sockets[side].recv(session.wants(side))
        except (BlockingIOError, InterruptedError):
            if session.failed_side == side:
                session.end(side)  # it has failed, and is empty
        except OSError as error:
            session.fail(side, error)
            session.end(side)
        else:
            if data:
                before = session.packets(side)
                self._slot.add(COUNTED[side], session.receive(side, data))
                self._slot.add(PACKETS[side], session.packets(side) - before)
            else:
                session.end(side)
        self._send(1 - side)

    def _send(self, side: int) -> None:
        """Send a side what there is for it, and pass the end on behind that."""
        session, sock = self._session, self._sockets[side]
        try:
            while session.output(side):
                session.sent(side, sock.send(session.output(side)))
                self._active = time.monotonic()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            session.fail(side, error)
        if session.end_is_due(side):
            try:
                sock.shutdown(socket.SHUT_WR)
                self._shown.state(State.HALF_CLOSED)
            except OSError as error:
                if error.errno not in PEER_WAS_FASTER:
                    session.fail(side, error)

    def _settle(self) -> None:
        """After every event: end if it is time, else watch for what can happen next."""
        self._show()
        if self._session.failed_side is not None:
            self._begin_to_drain()
        elif self._session.over or self._may_leave():
            self._end(close_gracefully, Ending(Reason.CLEAN, self._pipe.role))
        else:
            self._watch(PLAIN, self._on_plain)
            self._watch(CRYPT, self._on_crypt)

    def _show(self) -> None:
        session = self._session
        self._shown.carried(session.carried(PLAIN), session.carried(CRYPT))
        self._shown.unsent(len(session.output(CRYPT)), len(session.output(PLAIN)))

    def _watch(self, side: int, callback: Callable[[int], None]) -> None:
        events = READ if self._session.wants(side) else NOTHING
        if self._session.output(side):
            events |= WRITE
        if events == NOTHING and self._hung_up[side]:
            self._reactor.unwatch(self._sockets[side])
        else:
            self._reactor.watch(self._sockets[side], events, callback)

    def _unwatch(self) -> None:
        for sock in self._sockets:
            self._reactor.unwatch(sock)

    # Silence

    def _on_silence(self) -> None:
        """Has nothing been carried since the timer was set, or has something?"""
        left = self._active + self._pipe.idle_timeout - time.monotonic()
        if left <= 0 and self._has_moved():  # a slow peer is not a silent one
            left = self._pipe.idle_timeout
        if left > 0:
            self._timer = self._reactor.call_later(left, self._on_silence)
        else:
            self._end(close_with_reset, Ending(Reason.IDLE, self._pipe.role))

    def _has_moved(self) -> bool:
        """What the system has still to deliver has changed since we last asked."""
        before, self._queued = self._queued, sum(_queued(sock) for sock in self._sockets)
        return self._queued != before

    # The end

    def _may_leave(self) -> bool:
        """A UNIX peer has left, and the other peer's system has what it gave before.

        If more has come from there, closing resets, and would discard what is on its way.
        """
        left = self._session.left_side
        if left is None:
            return False
        if self._deadline == 0.0:
            self._deadline = time.monotonic() + self._pipe.timeout
        sock = self._sockets[1 - left]
        if sock.family == socket.AF_UNIX or not _queued(sock) or time.monotonic() > self._deadline:
            return True
        self._timer.cancel()
        self._timer = self._reactor.call_later(DRAIN_POLL, self._settle)
        return False

    def _begin_to_drain(self) -> None:
        self._is_draining = True
        self._shown.state(State.DRAINING)
        self._unwatch()
        self._timer.cancel()
        self._deadline = time.monotonic() + self._pipe.timeout
        self._drain()

    def _drain(self) -> None:
        """Move what the failed socket gave on to the other one; when that has it, reset it.

        For a limited time, and looking again and again: no event tells that a peer has received
        everything.
        """
        session = self._session
        side = session.failed_side
        assert side is not None
        self._send(1 - side)
        if session.wants(side):
            self._receive(side)
        if session.failed_side_is_done:
            close_with_reset(self._sockets[side])
        delivered = session.over and (
            session.has_given_up or _acknowledged(self._sockets[1 - side])
        )
        if delivered or time.monotonic() >= self._deadline:
            self._end(close_with_reset, self._failure())
            return
        delay = 0 if session.wants(side) else DRAIN_POLL
        self._timer = self._reactor.call_later(delay, self._drain)

    def _failure(self) -> Ending:
        failure, side = self._session.failure, self._session.failed_side
        if isinstance(failure, PacketError):
            return Ending(OF_FAULT[failure.fault], self._pipe.role, 0, side)
        assert isinstance(failure, OSError)
        return Ending(Reason.SOCKET_ERROR, self._pipe.role, failure.errno or errno.EIO, side)

    def _end(self, close: Callable[[socket.socket], None], ending: Ending) -> None:
        self._timer.cancel()
        if not self._is_draining:  # else it has been done
            self._unwatch()
        for sock in self._sockets:
            close(sock)
        session = self._session
        self._on_end(ending._replace(sealed=session.carried(PLAIN), opened=session.carried(CRYPT)))


def _acknowledged(sock: socket.socket) -> bool:
    """The peer's system has received everything, or never will.

    Of UNIX sockets that is always true.
    """
    return sock.family == socket.AF_UNIX or take_error(sock) != 0 or _queued(sock) == 0


def _queued(sock: socket.socket) -> int:
    """How much was sent that the peer's system has not received; 0 if nobody can tell."""
    pending = bytearray(4)
    with suppress(OSError):
        fcntl.ioctl(sock, termios.TIOCOUTQ, pending)
    return int.from_bytes(pending, sys.byteorder)
