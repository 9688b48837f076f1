"""Running a handshake over a socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from spiped.errors import HandshakeError, describe
from spiped.net.ending import Cause, Ending
from spiped.net.reactor import HANGUP, NOTHING, READ, WRITE, Reactor
from spiped.net.sockets import take_error
from spiped.proto.handshake import Handshake
from spiped.proto.keys import SessionKeys


class Negotiation:
    """Feeds a handshake from a socket and the socket from the handshake.

    Reads no byte more than the handshake wants: what follows belongs to the data plane.  Calls
    ``on_authentic`` when the peer has proved to hold the key, ``on_keys`` at the end, or
    ``on_failed``.  The socket is the caller's, and is not watched any more once it is over.
    """

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        handshake: Handshake,
        on_authentic: Callable[[], None],
        on_keys: Callable[[SessionKeys], None],
        on_failed: Callable[[Ending], None],
    ) -> None:
        self._reactor = reactor
        self._sock = sock
        self._handshake = handshake
        self._on_authentic = on_authentic
        self._on_keys = on_keys
        self._on_failed = on_failed
        self._unsent = b""
        self._computing = False
        self._over = False
        self._progress()

    def cancel(self) -> None:
        """Stop silently, erasing the secrets."""
        if not self._over:
            self._over = True
            self._reactor.unwatch(self._sock)
            self._handshake.abandon()

    def _on_events(self, events: int) -> None:
        try:
            if events == HANGUP:
                self._check()
            elif events & READ and self._handshake.wanted:
                self._receive()
        except BlockingIOError:
            return
        except HandshakeError as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(describe(error))
        else:
            if not self._over and events != HANGUP:
                self._progress()

    def _receive(self) -> None:
        data = self._sock.recv(self._handshake.wanted)
        if not data:
            self._fail("the peer closed the connection")
            return
        known = self._handshake.peer_is_authentic
        self._handshake.receive(data)
        if self._handshake.peer_is_authentic and not known:
            self._on_authentic()

    def _check(self) -> None:
        """The peer hung up while nothing was expected of it."""
        self._reactor.unwatch(self._sock)
        status = take_error(self._sock)
        if status != 0:
            raise OSError(status, os.strerror(status))

    def _compute(self) -> None:
        if not self._over:
            self._computing = False
            self._handshake.compute()
            self._progress()

    def _progress(self) -> None:
        """Send what there is to send, then see what the handshake needs next."""
        self._unsent += self._handshake.data_to_send()
        try:
            while self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(describe(error))
            return
        if self._handshake.computing:
            if not self._computing:
                self._computing = True
                self._reactor.compute(self._compute)
        elif not self._handshake.wanted and not self._unsent:
            self._over = True
            self._reactor.unwatch(self._sock)
            self._on_keys(self._handshake.take_keys())
            return
        events = READ if self._handshake.wanted else NOTHING
        if self._unsent:
            events |= WRITE
        self._reactor.watch(self._sock, events, self._on_events)

    def _fail(self, detail: str) -> None:
        self.cancel()
        self._on_failed(Ending(Cause.HANDSHAKE, detail))
