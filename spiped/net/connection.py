"""A connection, from the accepted socket to its end.

- ``-e`` (C): the accepted socket is the plain one.  Connect to the target, handshake with it,
  relay.
- ``-d`` (S): the accepted socket is the encrypted one.  Handshake until the peer has proved to hold
  the key; connect to the target while the handshake goes on; relay.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from spiped.light import NamedTuple
from spiped.net.connect import Connector
from spiped.net.ending import Cause, Ending
from spiped.net.pipe import Pipe
from spiped.net.plane import Channel, Plane
from spiped.net.reactor import NOTHING, Reactor, Timer
from spiped.net.sockets import close_with_reset, take_error
from spiped.proto.role import Role


class Machinery(NamedTuple):
    """What a process runs its connections with."""

    reactor: Reactor
    plane: Plane


class Connection:
    """Owns the plain socket until the data plane takes it, and a channel for the other one."""

    __slots__ = (
        "_channel",
        "_connector",
        "_machinery",
        "_on_end",
        "_on_established",
        "_pipe",
        "_plain",
        "_ready",
        "_timer",
        "peer",
    )

    def __init__(
        self,
        machinery: Machinery,
        pipe: Pipe,
        peer: str,
        on_established: Callable[[Connection], None],
        on_end: Callable[[Connection, Ending], None],
    ) -> None:
        """``peer``: who connected, for messages."""
        self.peer = peer
        self._machinery = machinery
        self._pipe = pipe
        self._plain: socket.socket | None = None
        self._channel: Channel | None = None
        self._ready = False  # the channel may be relayed
        self._connector: Connector | None = None
        self._timer: Timer | None = None
        self._on_established = on_established
        self._on_end = on_end

    def start(self, accepted: socket.socket) -> None:
        """Begin.  The callbacks are never called from within."""
        if self._pipe.role is Role.C:
            self._plain = accepted
            self._connect()
            self._establish_or_wait()
        else:
            self._negotiate(accepted)

    def abort(self) -> None:
        """End it while it is not established yet."""
        self._end(Ending(Cause.SHUTDOWN))

    def _connect(self) -> None:
        self._connector = Connector(
            self._machinery.reactor, self._pipe, self._on_connected, self._end
        )
        self._connector.start()

    def _on_connected(self, target: socket.socket) -> None:
        self._connector = None
        if self._pipe.role is Role.C:
            self._negotiate(target)
        else:
            self._plain = target
            self._establish_or_wait()

    def _negotiate(self, crypt: socket.socket) -> None:
        reactor, plane = self._machinery
        self._timer = reactor.call_later(self._pipe.timeout, self._on_timeout)
        self._channel = plane.negotiate(
            crypt, self._pipe, self._on_authentic, self._on_ready, self._end
        )

    def _on_authentic(self) -> None:
        if self._pipe.role is Role.S:
            self._connect()

    def _on_ready(self) -> None:
        assert self._timer is not None
        self._timer.cancel()
        self._ready = True
        if self._plain is not None:
            self._establish_or_wait()

    def _establish_or_wait(self) -> None:
        """The plain socket is there: establish the connection, if the channel is ready as well."""
        assert self._plain is not None
        if not self._ready:
            self._machinery.reactor.watch(self._plain, NOTHING, self._on_hangup)
            return
        assert self._channel is not None
        plain, channel = self._plain, self._channel
        self._plain = self._channel = self._timer = None
        self._machinery.reactor.unwatch(plain)
        self._on_established(self)
        channel.relay(plain)

    def _on_timeout(self) -> None:
        self._end(Ending(Cause.HANDSHAKE_TIMEOUT))

    def _on_hangup(self, events: int) -> None:
        assert self._plain is not None
        self._machinery.reactor.unwatch(self._plain)
        status = take_error(self._plain)
        if status != 0:
            who = "client" if self._pipe.role is Role.C else "target"
            self._end(Ending(Cause.RESET, f"{who}: {os.strerror(status)}"))

    def _end(self, ending: Ending) -> None:
        """Give up what there still is; of a connection that is relayed, the plane has it all."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connector is not None:
            self._connector.cancel()
        if self._channel is not None:
            self._channel.cancel()
        if self._plain is not None:
            self._machinery.reactor.unwatch(self._plain)
            close_with_reset(self._plain)
        self._timer = self._connector = self._channel = self._plain = None
        self._on_end(self, ending)
