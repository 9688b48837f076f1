"""The data plane: what carries established connections."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from spiped.crypto import Backend
from spiped.net.ending import Ending
from spiped.net.reactor import Reactor
from spiped.observe.counters import Slot
from spiped.proto.handshake import Role
from spiped.proto.keys import SessionKeys


class Plane(Protocol):
    """Carries connections from the end of their handshake to their own (DESIGN.md, "Relay")."""

    def adopt(
        self,
        role: Role,
        plain: socket.socket,
        crypt: socket.socket,
        keys: SessionKeys,
        on_end: Callable[[Ending], None],
    ) -> None:
        """Take over both sockets and relay between them; calls ``on_end`` when that is over.

        ``keys`` are copied: the caller erases its own.  ``on_end`` is never called from within.
        """

    def watch_listener(self, listener: socket.socket, callback: Callable[[], None]) -> None:
        """Call back when there is a connection to be accepted.

        Other processes may watch the same socket: as far as the system can do that, one of them is
        called for a connection, in turn.
        """

    def unwatch_listener(self, listener: socket.socket) -> None:
        """Stop that; the socket has not been closed yet."""

    def abort_all(self) -> None:
        """Reset every connection; their ``on_end`` is called with `Cause.SHUTDOWN`."""

    def close(self) -> None:
        """Give up what the plane holds, once it carries no connection any more."""


def make_plane(reactor: Reactor, crypto: Backend, slot: Slot, drain_timeout: float) -> Plane:
    """The best data plane that this system has; ``slot`` counts what it carries.

    ``drain_timeout``: how long, in seconds, the rest of a connection that failed may take to reach
    the side that did not.
    """
    if crypto.name == "native":
        from spiped.net import native_relay

        if native_relay.AVAILABLE:
            return native_relay.NativePlane(reactor, slot, drain_timeout)
    from spiped.net.relay import PortablePlane

    return PortablePlane(reactor, crypto, slot, drain_timeout)
