"""The data plane on the reactor, for systems without epoll or the extension."""

from __future__ import annotations

import socket
from collections.abc import Callable

from spiped.crypto import Backend
from spiped.errors import describe
from spiped.net.ending import Cause, Ending
from spiped.net.negotiation import Negotiation
from spiped.net.pipe import Pipe
from spiped.net.plane import Channel
from spiped.net.reactor import READ, Reactor, Timer
from spiped.net.relay import Relay, RelayedConnection
from spiped.net.sockets import close_with_reset
from spiped.observe.slot import Slot
from spiped.proto.keys import SessionKeys
from spiped.proto.packets import Opener, Sealer
from spiped.proto.role import Role


class Stillborn:
    """A `Channel` that could not begin, which is about to be told."""

    def __init__(self, telling: Timer) -> None:
        self._telling = telling

    def relay(self, plain: socket.socket) -> None:
        raise AssertionError("it was never ready")

    def cancel(self) -> None:
        self._telling.cancel()


class PortablePlane:
    """A `Plane` on the reactor."""

    def __init__(self, reactor: Reactor, crypto: Backend, slot: Slot, drain_timeout: float) -> None:
        self.reactor = reactor
        self.crypto = crypto
        self.drain_timeout = drain_timeout
        self.negotiations: set[Negotiation] = set()
        self._slot = slot
        self._connections: set[RelayedConnection] = set()

    def negotiate(
        self,
        crypt: socket.socket,
        pipe: Pipe,
        on_authentic: Callable[[], None],
        on_ready: Callable[[], None],
        on_end: Callable[[Ending], None],
    ) -> Channel:
        try:
            return Negotiation(self, crypt, pipe, on_authentic, on_ready, on_end)
        except OSError as error:  # there are no random numbers
            ending = Ending(Cause.HANDSHAKE, describe(error))
            close_with_reset(crypt)
            return Stillborn(self.reactor.call_later(0, lambda: on_end(ending)))

    def adopt(
        self,
        role: Role,
        plain: socket.socket,
        crypt: socket.socket,
        keys: SessionKeys,
        on_end: Callable[[Ending], None],
    ) -> None:
        """Relay between two sockets, with keys that are copied."""
        E_C, H_C, E_S, H_S = keys
        ours, peers = ((E_C, H_C), (E_S, H_S)) if role is Role.C else ((E_S, H_S), (E_C, H_C))
        seal = Relay(plain, crypt, Sealer(self.crypto, *ours), self._slot)
        open_ = Relay(crypt, plain, Opener(self.crypto, *peers), self._slot)
        self._connections.add(RelayedConnection(self, seal, open_, on_end))

    def watch_listener(self, listener: socket.socket, callback: Callable[[], None]) -> None:
        self.reactor.watch(listener, READ, lambda events: callback())

    def unwatch_listener(self, listener: socket.socket) -> None:
        self.reactor.unwatch(listener)

    def forget(self, connection: RelayedConnection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    def abort_all(self) -> None:
        while self.negotiations:
            next(iter(self.negotiations)).abort()
        while self._connections:
            next(iter(self._connections)).abort()

    def close(self) -> None:
        assert not self._connections
