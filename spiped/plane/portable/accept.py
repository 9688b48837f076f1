"""Accepting: who may come, when, and how many of them."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable

from spiped.errors import describe
from spiped.lean_typing import Any, NamedTuple
from spiped.net.address import SocketAddress
from spiped.net.reactor import READ, Reactor, Timer
from spiped.net.sockets import CONNECTION_ERRORS, accept, peer_name
from spiped.observe.slot import Field, Slot
from spiped.plane.ending import Reason
from spiped.plane.interface import Service
from spiped.plane.pipe_settings import PipeSettings
from spiped.plane.portable.connection import Connection

ACCEPTS_PER_TURN = 16  # so that a burst of connections does not hold up what is going on
ACCEPT_PAUSE = 0.1  # seconds without accepting when the system has run out of something
SHARE_PAUSE = 0.002  # seconds that the other workers have to take what is beyond our share
LIMIT_RECHECK = 0.1  # seconds; a connection of another worker may have ended

MAPPED = bytes(10) + b"\xff\xff"  # what an IPv4 address begins with in the guise of an IPv6 one


class Unauthenticated(NamedTuple):
    """Whose peer has not proved that it holds the key, and where it came from, if known."""

    connection: Connection
    source: bytes | None


def source_of(address: Any) -> bytes | None:
    """What counts as one source: an address, or of IPv6 a network of 64 bits, a subscriber's."""
    if not isinstance(address, tuple):
        return None
    if ":" not in address[0]:
        return socket.inet_pton(socket.AF_INET, address[0])
    packed = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
    return packed if packed.startswith(MAPPED) else packed[:8]


class Acceptor:
    """Accepts for a `Service` until it is stopped, and counts whom it accepts."""

    def __init__(
        self,
        reactor: Reactor,
        slot: Slot,
        service: Service,
        begin: Callable[[socket.socket, PipeSettings, str], Connection],
    ) -> None:
        """``begin`` carries a connection, whose peer has this name, that has been counted."""
        self._reactor = reactor
        self._slot = slot
        self._service = service
        self._pipe = service.pipe
        self._begin = begin
        self._pause: Timer | None = None
        self._at_limit = False
        self._stopped = False
        self._unauthenticated: list[Unauthenticated] = []  # the oldest first; not all may still be
        self._watch()

    def retarget(self, targets: list[SocketAddress]) -> None:
        """From now on, those who are accepted are connected to these."""
        self._pipe = self._pipe._replace(targets=targets)

    def stop(self) -> None:
        self._stopped = True
        if self._pause is None:
            self._reactor.unwatch(self._service.listener)
        else:
            self._pause.cancel()

    def _watch(self) -> None:
        self._reactor.watch(self._service.listener, READ, self._on_acceptable)

    def _on_acceptable(self, events: int) -> None:
        """Accept a bounded number; with more than our share, leave the next to the others."""
        for _ in range(ACCEPTS_PER_TURN):
            if self._has_too_many():
                self._pause_for(SHARE_PAUSE, self._take_leftover)
                return
            if not self._accept():
                return

    def _has_too_many(self) -> bool:
        """We have a quarter more connections than the workers have on average, and one."""
        total = self._service.counters.total(Field.ACTIVE)
        return (self._slot[Field.ACTIVE] - 1) * self._service.workers * 4 > total * 5

    def _accept(self) -> bool:
        """Accept one connection; False if there is none, or none is wanted, for the time being."""
        service = self._service
        active = service.counters.reserve(self._slot, service.limits.connections)
        if active == 0:
            self._at_limit = True
            self._pause_for(LIMIT_RECHECK, self._resume)
            return False
        try:
            accepted, address = accept(service.listener, self._pipe.keepalive)
        except OSError as error:
            service.counters.release(self._slot)
            if isinstance(error, BlockingIOError):
                return False  # another worker was faster
            if error.errno not in CONNECTION_ERRORS:
                self._pause_for(ACCEPT_PAUSE, self._resume)
                service.on_shortage(describe(error))
                return False
            return True
        self._slot.add(Field.ACCEPTED, 1)
        connection = self._begin(accepted, self._pipe, peer_name(address))
        self._unauthenticated = [
            u for u in self._unauthenticated if u.connection.is_unauthenticated
        ]
        self._unauthenticated.append(Unauthenticated(connection, source_of(address)))
        if active == service.limits.connections:
            service.on_limit()
        self._limit_unauthenticated()
        return True

    def _limit_unauthenticated(self) -> None:
        """The oldest makes room, but not for more from one address than may be."""
        limits, counters = self._service.limits, self._service.counters
        newest = self._unauthenticated[-1]
        from_there = sum(u.source == newest.source is not None for u in self._unauthenticated)
        per_source = math.ceil(limits.unauthenticated_per_source / self._service.workers)
        if 0 < per_source < from_there:  # every worker counts for itself
            newest.connection.refuse(Reason.TOO_MANY)
        elif 0 < limits.unauthenticated < counters.total(Field.UNAUTHENTICATED):
            self._unauthenticated[0].connection.refuse(Reason.SHED)

    def _take_leftover(self) -> None:
        """Take one that the others have not taken in their time: they may be busy, or stopped."""
        self._resume()
        self._accept()

    def _pause_for(self, delay: float, then: Callable[[], None]) -> None:
        self._reactor.unwatch(self._service.listener)
        self._pause = self._reactor.call_later(delay, then)

    def _resume(self) -> None:
        assert self._pause is not None
        self._pause.cancel()
        self._pause = None
        self._at_limit = False
        self._watch()

    def made_room(self) -> None:
        """A connection has ended."""
        if self._at_limit and not self._stopped:
            self._resume()
