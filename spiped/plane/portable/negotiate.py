"""Handshakes: a session and the encrypted socket, until the session is established.

What the session has to say is sent; what it wants is received, and no byte more: what follows
belongs to the relay.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from spiped.errors import HandshakeError
from spiped.lean_typing import suppress
from spiped.net.reactor import HANGUP, NOTHING, READ, WRITE, Reactor
from spiped.net.sockets import take_error
from spiped.plane.ending import OF_FAULT, Reason
from spiped.plane.portable.computing import Computing
from spiped.proto.session import Session
from spiped.proto.terms import CRYPT


class Negotiation:
    """Calls ``on_authentic`` when the peer has proved that it holds the key, ``on_established``
    when the handshake is complete, and ``on_failed`` instead of or after either.
    """

    __slots__ = (
        "_computing",
        "_is_waiting",
        "_on_authentic",
        "_on_established",
        "_on_failed",
        "_over",
        "_reactor",
        "_session",
        "_sock",
    )

    def __init__(
        self,
        reactor: Reactor,
        computing: Computing,
        session: Session,
        sock: socket.socket,
        on_authentic: Callable[[], None],
        on_established: Callable[[], None],
        on_failed: Callable[[Reason, int], None],
    ) -> None:
        self._reactor = reactor
        self._computing = computing
        self._session = session
        self._sock = sock
        self._on_authentic = on_authentic
        self._on_established = on_established
        self._on_failed = on_failed
        self._is_waiting = False  # for its turn to compute
        self._over = False
        reactor.watch(sock, READ | WRITE, self._on_events)

    def stop(self) -> None:
        """Watch the socket no more, and call nobody back."""
        if not self._over:
            self._over = True
            self._reactor.unwatch(self._sock)

    def _fail(self, reason: Reason, error: int) -> None:
        self.stop()
        self._on_failed(reason, error)

    def _on_events(self, events: int) -> None:
        try:
            if events == HANGUP:
                self._check()
                return
            if events & READ and self._session.wants(CRYPT) and not self._session.established:
                self._receive()
            if not self._over:
                self._progress()
        except BlockingIOError:
            return
        except HandshakeError as error:
            self._fail(OF_FAULT[error.fault], 0)
        except OSError as error:
            self._fail(Reason.LOST, error.errno or errno.EIO)

    def _check(self) -> None:
        """The peer hung up while nothing was expected of it."""
        self._reactor.unwatch(self._sock)
        status = take_error(self._sock)
        if status != 0:
            raise OSError(status, os.strerror(status))

    def _receive(self) -> None:
        session = self._session
        data = self._sock.recv(session.wants(CRYPT))
        if not data:
            session.end(CRYPT)
            return
        known = session.peer_is_authentic
        session.receive(CRYPT, data)
        if session.peer_is_authentic and not known:
            self._on_authentic()

    def _compute(self) -> None:
        if self._over:
            return
        self._is_waiting = False
        if self._session.peer_is_waiting and self._peer_has_given_up():
            self._fail(Reason.CLOSED, 0)
            return
        self._session.compute()
        self._on_events(WRITE)

    def _peer_has_given_up(self) -> bool:
        """It has nothing to say now, so if there is an end, nobody waits for an answer."""
        try:
            return self._sock.recv(1, socket.MSG_PEEK) == b""
        except OSError:  # there is nothing; or an error, which an event will tell of
            return False

    def _send(self) -> None:
        session = self._session
        with suppress(BlockingIOError):
            while not session.established and session.output(CRYPT):
                session.sent(CRYPT, self._sock.send(session.output(CRYPT)))

    def _progress(self) -> None:
        """Send what there is to send, then see what the handshake needs next."""
        session = self._session
        self._send()
        while session.computing and not session.needs_power:
            session.compute()
            self._send()
        if session.established:
            self.stop()
            self._on_established()
            return
        if session.computing and not self._is_waiting:
            self._is_waiting = True
            self._computing.add(self._compute, session.is_agreeing)
        events = READ if session.wants(CRYPT) else NOTHING
        if session.output(CRYPT):
            events |= WRITE
        self._reactor.watch(self._sock, events, self._on_events)
