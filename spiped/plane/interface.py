"""What a data plane offers, and what it is told to do."""

from __future__ import annotations

import socket
from collections.abc import Callable

from spiped.lean_typing import TYPE_CHECKING, NamedTuple, Protocol
from spiped.net.address import SocketAddress
from spiped.net.reactor import Reactor
from spiped.observe.slot import Slot
from spiped.plane.ending import Ending
from spiped.plane.limits import Limits
from spiped.plane.pipe_settings import PipeSettings

if TYPE_CHECKING:
    from spiped.observe.counters import Counters


class Wanted(NamedTuple):
    """Which connections a plane tells of, beside those that fail."""

    clean: bool = False  # that end well; else they may only be counted
    left: bool = False  # likewise of those who left without being served (`Reason.LEFT`)
    begun: bool = False  # that have been accepted


def _nobody(number: int, peer: object) -> None:
    pass


class Service(NamedTuple):
    """What is done with those who connect to a listening socket, which other workers share."""

    listener: socket.socket
    wake: int  # an eventfd by which workers leave clients to each other; -1: none
    pipe: PipeSettings
    counters: Counters  # of all workers; the plane's own slot is one of them
    workers: int  # how many there are
    limits: Limits
    tell_clean: bool  # of connections that end well, too; else they may only be counted
    tell_left: bool  # likewise of those who left without being served (`Reason.LEFT`)
    tell_burst: int  # so many failures may be told at once, the others are only counted,
    tell_interval: float  # and one more after so many seconds; 0: all are told
    on_end: Callable[[Ending], None]
    on_limit: Callable[[], None]  # there are as many connections as there may be
    on_overload: Callable[[], None]  # connections had to be refused (`Reason.OVERLOAD`)
    on_shortage: Callable[[int], None]  # accepting pauses, for this errno value
    on_drained: Callable[[], None]  # nobody is accepted any more, and the last one has ended
    tell_begun: bool = False  # of connections that have been accepted:
    on_begin: Callable[[int, object], None] = _nobody  # `Ending.number`, `Ending.peer`


class Plane(Protocol):
    """Carries connections (DESIGN.md, "A connection"), and counts them in its slot.

    - ``-e`` (C): the accepted socket is the plain one.  Connect to the target, shake hands with it,
      relay.
    - ``-d`` (S): the accepted socket is the encrypted one.  Shake hands until the peer has proved
      that it holds the key; connect to the target while the handshake goes on; relay.
    """

    def serve(self, service: Service) -> None:
        """Accept and carry connections, from now on.

        Of all that share the listening socket, one is woken for a connection, in turn; one that
        has more than its share, or more to compute than it can in time, leaves the next to the
        others for a moment.  When there are too many unauthenticated connections, the oldest silent
        one of this plane goes for a newcomer, once it has had its time; of one address, the newest.
        """

    def report(self, wanted: Wanted) -> None:
        """From now on, tell of these connections."""

    def retarget(self, targets: list[SocketAddress]) -> None:
        """From now on, those who are accepted are connected to these."""

    def stop_serving(self) -> None:
        """Accept no more; the listening socket has not been closed yet.

        ``on_drained`` is called when the last connection has ended, and not from within.
        """

    def carry(
        self, accepted: socket.socket, pipe: PipeSettings, on_end: Callable[[Ending], None]
    ) -> None:
        """Carry one connection, whose accepted socket is taken over.

        That is non-blocking and resets when it is closed (`sockets.tune`).  ``on_end`` is called
        once, and not from within.
        """

    def kill(self, number: int) -> bool:
        """Reset the connection of this number (`Ending.number`); False if there is none."""

    def abort_all(self) -> None:
        """Reset every connection; all have ended with `Cause.SHUTDOWN` when this returns.

        Nobody is accepted any more.
        """

    def give_back(self) -> None:
        """Keep no memory that is needed only while data moves, until more moves."""

    def close(self) -> None:
        """Give up what the plane holds, once it carries no connection any more."""


# Makes a plane on a reactor, which counts in a slot what it carries, and shows it in entries
# (`observe.entry`), of which there may be none.
PlaneMaker = Callable[[Reactor, Slot, memoryview], Plane]
