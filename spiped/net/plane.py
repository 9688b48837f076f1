"""The data plane: what carries connections, from the accepted socket to the end."""

from __future__ import annotations

import socket
from collections.abc import Callable

from spiped.config import Limits
from spiped.crypto import Backend
from spiped.light import TYPE_CHECKING, NamedTuple, Protocol
from spiped.net.address import SocketAddress
from spiped.net.ending import Ending
from spiped.net.pipe import Pipe
from spiped.net.reactor import Reactor
from spiped.observe.slot import Slot

if TYPE_CHECKING:
    from spiped.observe.counters import Counters

# Why a stranger was not heard out.
SHED = "it had to make room for another one"
TOO_MANY = "too many unauthenticated connections from this address"


class Service(NamedTuple):
    """What is done with those who connect to a listening socket, which other workers share."""

    listener: socket.socket
    nudge: int  # an eventfd by which workers leave who has come to each other; -1: none
    pipe: Pipe
    counters: Counters  # of all workers; the plane's own slot is one of them
    workers: int  # how many there are
    limits: Limits
    tell_clean: bool  # of connections that end well, too; else they may only be counted
    # A connection has ended: whose it was, which is for str(), and how.
    on_end: Callable[[object, Ending], None]
    # Accepting has come up against something.
    on_trouble: Callable[[str], None]


class Plane(Protocol):
    """Carries connections (DESIGN.md, "A connection"), and counts them in its slot.

    - ``-e`` (C): the accepted socket is the plain one.  Connect to the target, shake hands with it,
      relay.
    - ``-d`` (S): the accepted socket is the encrypted one.  Shake hands until the peer has proved
      to hold the key; connect to the target while the handshake goes on; relay.
    """

    def serve(self, service: Service) -> None:
        """Accept and carry connections, from now on.

        Of all that share the listening socket, one is woken for a connection, in turn; one that
        has more than its share leaves the next to the others for a moment.  When there are too many
        strangers, the oldest of this plane has to go; of one address, the newest.
        """

    def retarget(self, targets: list[SocketAddress]) -> None:
        """From now on, those who are accepted are connected to these."""

    def stop_serving(self) -> None:
        """Accept no more; the listening socket has not been closed yet."""

    def carry(self, accepted: socket.socket, pipe: Pipe, on_end: Callable[[Ending], None]) -> None:
        """Carry one connection, whose accepted socket is taken over.

        That is non-blocking and resets when it is closed (`sockets.tune`).  ``on_end`` is called
        once, and not from within.
        """

    def abort_all(self) -> None:
        """Reset every connection; all have ended with `Cause.SHUTDOWN` when this returns.

        Nobody is accepted any more.
        """

    def close(self) -> None:
        """Give up what the plane holds, once it carries no connection any more."""


# Makes a plane on a reactor, which counts in a slot what it carries.
PlaneMaker = Callable[[Reactor, Slot], Plane]


def choose_plane(crypto: Backend) -> PlaneMaker:
    """The best data plane that this system has.

    Imports it, so it is to be called before privileges are dropped.
    """
    if crypto.name == "native":
        from spiped.net import native_plane

        if native_plane.AVAILABLE:
            return native_plane.NativePlane
    from spiped.net.portable_plane import PortablePlane

    return lambda reactor, slot: PortablePlane(reactor, crypto, slot)
