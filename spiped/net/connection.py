"""A connection, from the accepted socket to its end.

-e (C)  accepted = plain   1. connect to the target   2. handshake with it        3. relay
-d (S)  accepted = crypt   1. handshake, until the peer has proved to hold the key
                           2. connect to the target while the handshake goes on   3. relay
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import NamedTuple

from spiped.crypto import Backend, wipe
from spiped.net.address import SocketAddress
from spiped.net.connect import Connector
from spiped.net.ending import Cause, Ending
from spiped.net.negotiation import Negotiation
from spiped.net.plane import Plane
from spiped.net.reactor import NOTHING, Reactor, Timer
from spiped.net.sockets import close_with_reset, take_error, tune
from spiped.proto.handshake import Handshake, Role, draw_secrets
from spiped.proto.keys import SessionKeys


class Pipe(NamedTuple):
    """What all connections of a pipe have in common."""

    role: Role
    K: bytes | bytearray
    targets: list[SocketAddress]
    bind: SocketAddress | None = None
    weak: bool = False
    require_pfs: bool = False
    keepalive: bool = True
    timeout: float = 5.0


class Machinery(NamedTuple):
    """What a process runs its connections with."""

    reactor: Reactor
    plane: Plane
    crypto: Backend


class Connection:
    """Owns the accepted socket, and then the target's, until the data plane takes both."""

    __slots__ = (
        "_accepted",
        "_connector",
        "_keys",
        "_machinery",
        "_negotiation",
        "_on_end",
        "_on_established",
        "_pipe",
        "_target",
        "_timer",
        "peer",
    )

    def __init__(
        self,
        machinery: Machinery,
        pipe: Pipe,
        accepted: socket.socket,
        peer: str,
        on_established: Callable[[Connection], None],
        on_end: Callable[[Connection, Ending], None],
    ) -> None:
        self.peer = peer
        self._machinery = machinery
        self._pipe = pipe
        self._accepted: socket.socket | None = accepted
        self._target: socket.socket | None = None
        self._connector: Connector | None = None
        self._negotiation: Negotiation | None = None
        self._timer: Timer | None = None
        self._keys: SessionKeys | None = None
        self._on_established = on_established
        self._on_end = on_end

    def start(self) -> None:
        """Begin.  The connection may have ended when this returns."""
        assert self._accepted is not None
        if self._pipe.role is Role.C:
            self._machinery.reactor.watch(self._accepted, NOTHING, self._on_accepted_hangup)
            self._connect()
        else:
            self._negotiate(self._accepted)

    def abort(self) -> None:
        """End it while it is not established yet."""
        self._fail(Ending(Cause.SHUTDOWN))

    def _connect(self) -> None:
        self._connector = Connector(
            self._machinery.reactor,
            self._pipe.targets,
            self._pipe.bind,
            self._pipe.timeout,
            self._on_connected,
            self._fail,
        )

    def _on_connected(self, target: socket.socket) -> None:
        self._connector = None
        self._target = target
        if self._pipe.role is Role.C:
            self._negotiate(target)
        else:
            self._machinery.reactor.watch(target, NOTHING, self._on_target_hangup)
            self._establish_if_ready()

    def _negotiate(self, sock: socket.socket) -> None:
        reactor, _, crypto = self._machinery
        self._timer = reactor.call_later(self._pipe.timeout, self._on_timeout)
        handshake = Handshake(
            crypto,
            self._pipe.role,
            self._pipe.K,
            draw_secrets(crypto, self._pipe.weak),
            require_pfs=self._pipe.require_pfs,
        )
        self._negotiation = Negotiation(
            reactor, sock, handshake, self._on_authentic, self._on_keys, self._fail
        )

    def _on_authentic(self) -> None:
        if self._pipe.role is Role.S:
            self._connect()

    def _on_keys(self, keys: SessionKeys) -> None:
        assert self._timer is not None
        self._timer.cancel()
        self._negotiation = None
        self._keys = keys
        if self._target is None:
            assert self._accepted is not None
            self._machinery.reactor.watch(self._accepted, NOTHING, self._on_accepted_hangup)
        self._establish_if_ready()

    def _establish_if_ready(self) -> None:
        if self._keys is None or self._target is None:
            return
        assert self._accepted is not None
        keys, accepted, target = self._keys, self._accepted, self._target
        self._keys = self._accepted = self._target = self._timer = None
        for sock in (accepted, target):
            self._machinery.reactor.unwatch(sock)
            tune(sock, self._pipe.keepalive)
        plain, crypt = (accepted, target) if self._pipe.role is Role.C else (target, accepted)
        self._on_established(self)
        self._machinery.plane.adopt(self._pipe.role, plain, crypt, keys, self._on_relay_end)
        wipe(*keys)

    def _on_relay_end(self, ending: Ending) -> None:
        self._on_end(self, ending)

    def _on_timeout(self) -> None:
        self._fail(Ending(Cause.HANDSHAKE_TIMEOUT))

    def _on_accepted_hangup(self, events: int) -> None:
        assert self._accepted is not None
        self._check(self._accepted, "client")

    def _on_target_hangup(self, events: int) -> None:
        assert self._target is not None
        self._check(self._target, "target")

    def _check(self, sock: socket.socket, who: str) -> None:
        self._machinery.reactor.unwatch(sock)
        status = take_error(sock)
        if status != 0:
            self._fail(Ending(Cause.RESET, f"{who}: {os.strerror(status)}"))

    def _fail(self, ending: Ending) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._connector is not None:
            self._connector.cancel()
        if self._negotiation is not None:
            self._negotiation.cancel()
        if self._keys is not None:
            wipe(*self._keys)
        for sock in (self._accepted, self._target):
            if sock is not None:
                self._machinery.reactor.unwatch(sock)
                close_with_reset(sock)
        self._connector = self._negotiation = self._keys = self._accepted = self._target = None
        self._on_end(self, ending)
