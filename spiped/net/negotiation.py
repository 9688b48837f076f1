"""The portable data plane's handshake: the machine of `proto.handshake` on a socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from spiped.crypto import Backend, wipe
from spiped.errors import HandshakeError, describe
from spiped.net.ending import Cause, Ending
from spiped.net.pipe import Pipe
from spiped.net.reactor import HANGUP, NOTHING, READ, WRITE, Reactor
from spiped.net.sockets import close_with_reset, take_error
from spiped.proto.handshake import Handshake, Step, draw_secrets
from spiped.proto.keys import SessionKeys


class Negotiation:
    """Feeds a handshake from a socket, which it takes over, and the socket from the handshake.

    Reads no byte more than the handshake wants: what follows belongs to the relay.  Calls
    ``on_authentic`` when the peer has proved to hold the key, ``on_ready`` when the handshake is
    complete, and ``on_failed``, instead of or after these, when the socket has been reset.
    """

    def __init__(
        self,
        reactor: Reactor,
        crypto: Backend,
        sock: socket.socket,
        pipe: Pipe,
        on_authentic: Callable[[], None],
        on_ready: Callable[[], None],
        on_failed: Callable[[Ending], None],
    ) -> None:
        self._reactor = reactor
        self._sock = sock
        self._handshake = Handshake(
            crypto,
            pipe.role,
            pipe.K,
            draw_secrets(crypto, pipe.weak),
            require_pfs=pipe.require_pfs,
        )
        self._on_authentic = on_authentic
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._unsent = b""
        self._keys: SessionKeys | None = None
        self._computing = False
        self._over = False
        self._reactor.watch(sock, READ | WRITE, self._on_events)

    @property
    def ready(self) -> bool:
        """The handshake is complete, and what it had to say has been sent."""
        return self._keys is not None

    def take(self) -> tuple[socket.socket, SessionKeys]:
        """The socket and the keys of a handshake that is `ready`; whoever takes them owns them."""
        assert self._keys is not None
        keys, self._keys = self._keys, None
        self._forget()
        return self._sock, keys

    def cancel(self) -> None:
        """Reset the socket, and call nobody back any more."""
        if not self._over:
            self._forget()
            self._handshake.abandon()
            if self._keys is not None:
                wipe(*self._keys)
            close_with_reset(self._sock)

    def _forget(self) -> None:
        self._over = True
        self._reactor.unwatch(self._sock)

    def _fail(self, ending: Ending) -> None:
        self.cancel()
        self._on_failed(ending)

    def _on_events(self, events: int) -> None:
        try:
            if events == HANGUP:
                self._check()
            elif events & READ and self._handshake.wanted:
                self._receive()
            if not self._over and events != HANGUP:
                self._progress()
        except BlockingIOError:
            return
        except HandshakeError as error:
            self._fail(Ending(Cause.HANDSHAKE, str(error)))
        except OSError as error:
            self._fail(Ending(Cause.HANDSHAKE, describe(error)))

    def _check(self) -> None:
        """The peer hung up while nothing was expected of it."""
        self._reactor.unwatch(self._sock)
        status = take_error(self._sock)
        if status != 0:
            raise OSError(status, os.strerror(status))

    def _receive(self) -> None:
        data = self._sock.recv(self._handshake.wanted)
        if not data:
            self._fail(Ending(Cause.HANDSHAKE, "the peer closed the connection"))
            return
        known = self._handshake.peer_is_authentic
        self._handshake.receive(data)
        if self._handshake.peer_is_authentic and not known:
            self._on_authentic()

    def _compute(self) -> None:
        if not self._over:
            self._computing = False
            self._handshake.compute()
            self._on_events(WRITE)

    def _progress(self) -> None:
        """Send what there is to send, then see what the handshake needs next."""
        self._unsent += self._handshake.data_to_send()
        try:
            while self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        if self._handshake.computing and not self._computing:
            self._computing = True
            self._reactor.compute(self._compute)
        events = READ if self._handshake.wanted else NOTHING
        if self._unsent:
            events |= WRITE
        self._reactor.watch(self._sock, events, self._on_events)
        if self._handshake.step is Step.DONE and not self._unsent and self._keys is None:
            self._keys = self._handshake.take_keys()
            self._on_ready()
