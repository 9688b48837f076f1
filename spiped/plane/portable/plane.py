"""The plane: which connections there are, and whom their ends are told to."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from functools import partial

from spiped.crypto import Backend
from spiped.lean_typing import Any
from spiped.net.address import SocketAddress, encode_sockaddr
from spiped.net.reactor import Reactor
from spiped.net.sockets import peer_name
from spiped.observe.entry import Table
from spiped.observe.log.rate_limit import RateLimit
from spiped.observe.slot import Field, Slot
from spiped.plane.ending import Ending, Reason
from spiped.plane.interface import Service, Wanted
from spiped.plane.pipe_settings import PipeSettings
from spiped.plane.portable.accept import Acceptor
from spiped.plane.portable.computing import Computing
from spiped.plane.portable.connection import Connection


class PortablePlane:
    """An `interface.Plane` on the reactor."""

    def __init__(self, reactor: Reactor, crypto: Backend, slot: Slot, entries: memoryview) -> None:
        self._reactor = reactor
        self._crypto = crypto
        self._slot = slot
        self._table = Table(entries)
        self._connections: dict[Connection, Callable[[Ending], None]] = {}
        self._acceptor: Acceptor | None = None
        self._accepted = 0
        self._wanted = Wanted()
        self._computing = Computing(reactor, math.inf)
        self._on_drained: Callable[[], None] | None = None  # once there is nobody, after serving

    def serve(self, service: Service) -> None:
        def begin(accepted: socket.socket, pipe: PipeSettings, address: Any) -> Connection:
            self._accepted += 1
            if self._wanted.begun:
                service.on_begin(self._accepted, peer_name(address))
            return self._begin(accepted, pipe, self._accepted, address, on_end)

        limit = RateLimit(service.tell_burst, service.tell_interval or 1.0)

        def on_end(ending: Ending) -> None:
            if ending.reason is Reason.LEFT:
                told = self._wanted.left
            elif ending.reason in (Reason.CLEAN, Reason.ABORTED):
                told = self._wanted.clean
            else:
                told = service.tell_interval == 0 or limit.admits()
            if told:
                service.on_end(ending)
            self._tell_if_drained()

        self._wanted = Wanted(service.tell_clean, service.tell_left, service.tell_begun)
        self._on_drained = service.on_drained
        self._computing = Computing(self._reactor, service.pipe.timeout)
        self._acceptor = Acceptor(self._reactor, self._slot, service, self._computing, begin)

    def report(self, wanted: Wanted) -> None:
        self._wanted = wanted

    def retarget(self, targets: list[SocketAddress]) -> None:
        if self._acceptor is not None:
            self._acceptor.retarget(targets)

    def stop_serving(self) -> None:
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None
            self._reactor.call_later(0, self._tell_if_drained)

    def _tell_if_drained(self) -> None:
        if self._acceptor is None and not self._connections and self._on_drained is not None:
            on_drained, self._on_drained = self._on_drained, None
            on_drained()

    def carry(
        self, accepted: socket.socket, pipe: PipeSettings, on_end: Callable[[Ending], None]
    ) -> None:
        self._slot.add(Field.ACTIVE, 1)
        self._slot.add(Field.UNAUTHENTICATED, 1)
        self._begin(accepted, pipe, 0, None, on_end)

    def kill(self, number: int) -> bool:
        for connection in self._connections:
            if connection.number == number:
                self._reactor.compute(partial(self._reset, connection))
                return True
        return False

    def _reset(self, connection: Connection) -> None:
        if connection in self._connections:  # it has not ended meanwhile
            connection.abort(Reason.KILLED)

    def abort_all(self) -> None:
        while self._connections:
            next(iter(self._connections)).abort()

    def give_back(self) -> None:
        pass  # every connection has its own, while it needs it

    def close(self) -> None:
        assert not self._connections

    def _begin(
        self,
        accepted: socket.socket,
        pipe: PipeSettings,
        number: int,
        address: Any,
        on_end: Callable[[Ending], None],
    ) -> Connection:
        """Carry a connection, which has been counted as active and unauthenticated."""
        shown = self._table.take(number, pipe.number)
        shown.addresses(peer=encode_sockaddr(address))
        self._slot.view[Field.ENTRIES] = self._table.fresh
        connection = Connection(
            self._reactor,
            self._crypto,
            self._slot,
            self._computing,
            shown,
            pipe,
            number,
            peer_name(address) if number else "",
            self._on_room,
            self._on_end,
        )
        self._connections[connection] = on_end
        connection.start(accepted)
        return connection

    def _on_end(self, connection: Connection, ending: Ending) -> None:
        on_end = self._connections.pop(connection)
        self._slot.add(Field.ACTIVE, -1)
        self._slot.add(ending.reason.counter, 1)
        self._table.give_back(connection.shown)
        self._on_room()
        on_end(ending)

    def _on_room(self) -> None:
        """There may be room for another connection."""
        if self._acceptor is not None:
            self._acceptor.made_room()
