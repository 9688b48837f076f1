"""The plane: which connections there are, and whom their ends are told to."""

from __future__ import annotations

import socket
from collections.abc import Callable

from spiped.crypto import Backend
from spiped.net.address import SocketAddress
from spiped.net.reactor import Reactor
from spiped.observe.slot import Field, Slot
from spiped.plane.ending import Ending, Reason
from spiped.plane.interface import Service, Wanted
from spiped.plane.pipe_settings import PipeSettings
from spiped.plane.portable.accept import Acceptor
from spiped.plane.portable.connection import Connection


class PortablePlane:
    """An `interface.Plane` on the reactor."""

    def __init__(self, reactor: Reactor, crypto: Backend, slot: Slot) -> None:
        self._reactor = reactor
        self._crypto = crypto
        self._slot = slot
        self._connections: dict[Connection, Callable[[Ending], None]] = {}
        self._acceptor: Acceptor | None = None
        self._accepted = 0
        self._wanted = Wanted()

    def serve(self, service: Service) -> None:
        def begin(accepted: socket.socket, pipe: PipeSettings, peer: str) -> Connection:
            self._accepted += 1
            if self._wanted.begun:
                service.on_begin(self._accepted, peer)
            return self._begin(accepted, pipe, self._accepted, peer, on_end)

        def on_end(ending: Ending) -> None:
            left = ending.reason is Reason.LEFT
            if not left or self._wanted.left or self._acceptor is None:
                service.on_end(ending)

        self._wanted = Wanted(service.tell_clean, service.tell_left, service.tell_begun)
        self._acceptor = Acceptor(self._reactor, self._slot, service, begin)

    def report(self, wanted: Wanted) -> None:
        self._wanted = wanted

    def retarget(self, targets: list[SocketAddress]) -> None:
        if self._acceptor is not None:
            self._acceptor.retarget(targets)

    def stop_serving(self) -> None:
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None

    def carry(
        self, accepted: socket.socket, pipe: PipeSettings, on_end: Callable[[Ending], None]
    ) -> None:
        self._slot.add(Field.ACTIVE, 1)
        self._begin(accepted, pipe, 0, "", on_end)

    def abort_all(self) -> None:
        while self._connections:
            next(iter(self._connections)).abort()

    def close(self) -> None:
        assert not self._connections

    def _begin(
        self,
        accepted: socket.socket,
        pipe: PipeSettings,
        number: int,
        peer: str,
        on_end: Callable[[Ending], None],
    ) -> Connection:
        """Carry a connection, which has been counted as active."""
        connection = Connection(
            self._reactor, self._crypto, self._slot, pipe, number, peer, self._on_end
        )
        self._connections[connection] = on_end
        connection.start(accepted)
        return connection

    def _on_end(self, connection: Connection, ending: Ending) -> None:
        on_end = self._connections.pop(connection)
        self._slot.add(Field.ACTIVE, -1)
        self._slot.add(ending.reason.counter, 1)
        if self._acceptor is not None:
            self._acceptor.made_room()
        on_end(ending)
