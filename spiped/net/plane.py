"""The data plane: what carries connections from the beginning of their handshake to their end."""

from __future__ import annotations

import socket
from collections.abc import Callable

from spiped.crypto import Backend
from spiped.light import Protocol
from spiped.net.ending import Ending
from spiped.net.pipe import Pipe
from spiped.net.reactor import Reactor
from spiped.observe.slot import Slot


class Channel(Protocol):
    """The encrypted side of a connection: first a handshake, then one end of a relay."""

    def relay(self, plain: socket.socket) -> None:
        """Relay between this channel, which is ready, and a socket, which is taken over."""

    def cancel(self) -> None:
        """Reset it, before it is relayed, and call nobody back."""


class Plane(Protocol):
    """Carries connections (DESIGN.md, "The data plane").

    Sockets that are handed over are non-blocking, and reset when they are closed (`sockets.tune`).
    """

    def negotiate(
        self,
        crypt: socket.socket,
        pipe: Pipe,
        on_authentic: Callable[[], None],
        on_ready: Callable[[], None],
        on_end: Callable[[Ending], None],
    ) -> Channel:
        """Begin a handshake on a socket, which is taken over.

        Calls ``on_authentic`` when the peer has proved to hold the key, ``on_ready`` when the
        handshake is complete and the channel may be relayed, and ``on_end``, once, when it is over,
        however far it has come.  None of them is called from within.
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


# Makes a plane on a reactor, which counts in a slot what it carries.  The last argument is how
# long, in seconds, the rest of a failed connection may take to reach the side that did not fail.
PlaneMaker = Callable[[Reactor, Slot, float], Plane]


def choose_plane(crypto: Backend) -> PlaneMaker:
    """The best data plane that this system has.

    Imports it, so it is to be called before privileges are dropped.
    """
    if crypto.name == "native":
        from spiped.net import native_plane

        if native_plane.AVAILABLE:
            return native_plane.NativePlane
    from spiped.net.portable_plane import PortablePlane

    return lambda reactor, slot, timeout: PortablePlane(reactor, crypto, slot, timeout)
