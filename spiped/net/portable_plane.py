"""The data plane on the reactor, for systems without epoll or the extension."""

from __future__ import annotations

import socket
from collections.abc import Callable

from spiped.crypto import Backend
from spiped.net.accepting import Acceptor
from spiped.net.address import SocketAddress
from spiped.net.connection import Connection
from spiped.net.ending import Ending
from spiped.net.pipe import Pipe
from spiped.net.plane import Service
from spiped.net.reactor import Reactor
from spiped.observe.slot import Field, Slot


class PortablePlane:
    """A `Plane` on the reactor."""

    def __init__(self, reactor: Reactor, crypto: Backend, slot: Slot) -> None:
        self._reactor = reactor
        self._crypto = crypto
        self._slot = slot
        self._connections: dict[Connection, Callable[[Ending], None]] = {}
        self._acceptor: Acceptor | None = None

    def serve(self, service: Service) -> None:
        self._acceptor = Acceptor(self._reactor, self._slot, service, self._begin)

    def retarget(self, targets: list[SocketAddress]) -> None:
        if self._acceptor is not None:
            self._acceptor.retarget(targets)

    def stop_serving(self) -> None:
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None

    def carry(self, accepted: socket.socket, pipe: Pipe, on_end: Callable[[Ending], None]) -> None:
        self._slot.add(Field.ACTIVE, 1)
        self._begin(accepted, pipe, on_end)

    def abort_all(self) -> None:
        while self._connections:
            next(iter(self._connections)).abort()

    def close(self) -> None:
        assert not self._connections

    def _begin(
        self, accepted: socket.socket, pipe: Pipe, on_end: Callable[[Ending], None]
    ) -> Connection:
        """Carry a connection, which has been counted as active."""
        connection = Connection(self._reactor, self._crypto, self._slot, pipe, self._on_end)
        self._connections[connection] = on_end
        connection.start(accepted)
        return connection

    def _on_end(self, connection: Connection, ending: Ending) -> None:
        on_end = self._connections.pop(connection)
        self._slot.add(Field.ACTIVE, -1)
        on_end(ending)
