"""Accepting: who may come, when, and how many of them."""

from __future__ import annotations

import enum
import errno
import math
import socket
from collections.abc import Callable

from spiped.lean_typing import Any, NamedTuple
from spiped.net.address import SocketAddress
from spiped.net.reactor import READ, Reactor, Timer
from spiped.net.sockets import CONNECTION_ERRORS, accept, close_with_reset
from spiped.observe.slot import Field, Slot
from spiped.plane.ending import Reason
from spiped.plane.interface import Service
from spiped.plane.pipe_settings import PipeSettings
from spiped.plane.portable.computing import Computing
from spiped.plane.portable.connection import Connection

ACCEPTS_PER_TURN = 16  # so that a burst of connections does not hold up what is going on
ACCEPT_PAUSE = 0.1  # seconds without accepting when the system has run out of something
OTHERS_PAUSE = 0.002  # seconds that the other workers have to take what we leave to them
RECHECK = 0.1  # seconds; a connection of another worker may have ended
REFUSALS = 64  # at once, of connections whose keys could not be computed
GRACE = 0.2  # seconds that a peer has at least to prove that it holds the key

ACCEPT_ERRORS = {
    errno.EMFILE: Field.ACCEPT_PROCESS_FILES,
    errno.ENFILE: Field.ACCEPT_SYSTEM_FILES,
    errno.ENOMEM: Field.ACCEPT_MEMORY,
    errno.ENOBUFS: Field.ACCEPT_MEMORY,
}

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


class Pause(enum.Enum):
    """Why nothing is accepted for a while."""

    NONE = enum.auto()
    TROUBLE = enum.auto()  # the system has run out of something
    OTHERS = enum.auto()  # the other workers should accept: they have fewer, or more time
    LIMIT = enum.auto()  # there are as many connections as there may be
    UNPROVEN = enum.auto()  # as many unauthenticated ones, and none has had its time


class Acceptor:
    """Accepts for a `Service` until it is stopped, and counts whom it accepts."""

    def __init__(
        self,
        reactor: Reactor,
        slot: Slot,
        service: Service,
        computing: Computing,
        begin: Callable[[socket.socket, PipeSettings, Any], Connection],
    ) -> None:
        """``begin`` carries a connection from this address, which has been counted."""
        self._reactor = reactor
        self._slot = slot
        self._service = service
        self._computing = computing
        self._pipe = service.pipe
        self._begin = begin
        self._pause = Pause.NONE
        self._pause_timer: Timer | None = None
        self._stopped = False
        self._unauthenticated: list[Unauthenticated] = []  # the oldest first; not all may still be
        self._slot.add(Field.SERVING, 1)
        self._watch()

    def retarget(self, targets: list[SocketAddress]) -> None:
        """From now on, those who are accepted are connected to these."""
        self._pipe = self._pipe._replace(targets=targets)

    def stop(self) -> None:
        self._stopped = True
        self._slot.add(Field.SERVING, -1)
        if self._pause_timer is None:
            self._reactor.unwatch(self._service.listener)
        else:
            self._pause_timer.cancel()

    def _watch(self) -> None:
        self._reactor.watch(self._service.listener, READ, self._on_acceptable)

    def _on_acceptable(self, events: int) -> None:
        """Accept a bounded number."""
        for _ in range(ACCEPTS_PER_TURN):
            if not self._accept():
                return

    def _has_too_many(self) -> bool:
        """We have a quarter more connections than the workers have on average, and one."""
        serving, total = self._service.counters.of_serving(Field.ACTIVE)
        return serving > 1 and (self._slot[Field.ACTIVE] - 1) * serving * 4 > total * 5

    def _accept(self, anyhow: bool = False) -> bool:
        """Accept one connection; False if there is none, or none may come for the time being.

        ``anyhow``: although the others should.
        """
        # Counting first and reading the others' counters then needs no lock: two workers at once
        # may both find that there is no room, but never both take the last place.
        self._count(1)
        taken = self._may_come(anyhow) and self._take()
        if not taken:
            self._count(-1)
        return taken

    def _count(self, change: int) -> None:
        self._slot.add(Field.ACTIVE, change)
        self._slot.add(Field.UNAUTHENTICATED, change)

    def _may_come(self, anyhow: bool) -> bool:
        """May the connection come that has just been counted?  If not, pause."""
        limits, counters = self._service.limits, self._service.counters
        if 0 < limits.connections < counters.total(Field.ACTIVE):
            self._pause_for(RECHECK, Pause.LIMIT)
        elif not anyhow and self._has_too_many():
            self._pause_for(OTHERS_PAUSE, Pause.OTHERS)
        elif not self._computing.is_full:
            return self._make_room()
        elif anyhow:
            self._refuse_some()
        else:
            self._pause_for(OTHERS_PAUSE, Pause.OTHERS)
        return False

    def _make_room(self) -> bool:
        """May the oldest unauthenticated connection go, if there are too many?  If not, pause."""
        limit = self._service.limits.unauthenticated
        if not 0 < limit < self._service.counters.total(Field.UNAUTHENTICATED):
            return True
        self._forget_authenticated()
        if not self._unauthenticated:
            self._pause_for(RECHECK, Pause.UNPROVEN)
            return False
        left = GRACE - self._unauthenticated[0].connection.age
        if left > 0:
            self._pause_for(min(left, RECHECK), Pause.UNPROVEN)
        return left <= 0

    def _forget_authenticated(self) -> None:
        self._unauthenticated = [
            u for u in self._unauthenticated if u.connection.is_unauthenticated
        ]

    def _socket(self) -> tuple[socket.socket, Any] | None:
        """One from the listening socket."""
        try:
            accepted = accept(self._service.listener, self._pipe.keepalive)
        except OSError as error:
            if not isinstance(error, BlockingIOError) and error.errno not in CONNECTION_ERRORS:
                self._slot.add(ACCEPT_ERRORS.get(error.errno or 0, Field.ACCEPT_OTHER), 1)
                self._pause_for(ACCEPT_PAUSE, Pause.TROUBLE)
                self._service.on_shortage(error.errno or errno.EIO)
            return None
        self._slot.add(Field.ACCEPTED, 1)
        return accepted

    def _take(self) -> bool:
        """Take one from the listening socket; False if it came to nothing."""
        accepted = self._socket()
        if accepted is None:
            return False
        limits, counters = self._service.limits, self._service.counters
        sock, address = accepted
        if 0 < limits.unauthenticated < counters.total(Field.UNAUTHENTICATED):
            self._unauthenticated.pop(0).connection.refuse(Reason.SHED)
        connection = self._begin(sock, self._pipe, address)
        self._forget_authenticated()
        self._unauthenticated.append(Unauthenticated(connection, source_of(address)))
        if counters.total(Field.ACTIVE) == limits.connections:
            self._service.on_limit()
        self._limit_source()
        return True

    def _refuse_some(self) -> None:
        """No worker can compute their keys in time; would they wait on, nobody's."""
        for _ in range(REFUSALS):
            accepted = self._socket()
            if accepted is None:
                return
            close_with_reset(accepted[0])
            self._slot.add(Field.ENDED_OVERLOAD, 1)
            self._service.on_overload()

    def _limit_source(self) -> None:
        """No more unauthenticated connections from one address than may be."""
        newest = self._unauthenticated[-1]
        from_there = sum(u.source == newest.source is not None for u in self._unauthenticated)
        limit = self._service.limits.unauthenticated_per_source
        if (
            0 < math.ceil(limit / self._service.workers) < from_there
        ):  # every worker counts for itself
            newest.connection.refuse(Reason.TOO_MANY)

    def _pause_for(self, delay: float, why: Pause) -> None:
        self._reactor.unwatch(self._service.listener)
        self._pause = why
        self._pause_timer = self._reactor.call_later(delay, self._resume)

    def _resume(self) -> None:
        assert self._pause_timer is not None
        self._pause_timer.cancel()
        self._pause_timer = None
        why, self._pause = self._pause, Pause.NONE
        self._watch()
        if why is Pause.OTHERS:  # which may be busy, or stopped
            self._accept(anyhow=True)

    def made_room(self) -> None:
        """A connection has ended, or its peer has proved that it holds the key."""
        if self._pause in (Pause.LIMIT, Pause.UNPROVEN) and not self._stopped:
            self._resume()
