"""The portable data plane's connection, from the accepted socket to its end.

The order of its stages is the role's (`Plane`): each is an object that owns its sockets while it
lasts, and is given up when another one fails.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from spiped.crypto import Backend, wipe
from spiped.errors import describe
from spiped.net.connect import Connector
from spiped.net.ending import Cause, Ending
from spiped.net.negotiation import Negotiation
from spiped.net.pipe import Pipe
from spiped.net.reactor import NOTHING, Reactor, Timer
from spiped.net.relay import Relay, RelayedConnection
from spiped.net.sockets import close_with_reset, take_error
from spiped.observe.slot import Field, Slot
from spiped.proto.packets import Opener, Sealer
from spiped.proto.role import Role


class Connection:
    """Owns the plain socket until it is relayed, and the stages of the other one."""

    __slots__ = (
        "_connector",
        "_crypto",
        "_negotiation",
        "_on_end",
        "_pipe",
        "_plain",
        "_reactor",
        "_relayed",
        "_slot",
        "_timer",
    )

    def __init__(
        self,
        reactor: Reactor,
        crypto: Backend,
        slot: Slot,
        pipe: Pipe,
        on_end: Callable[[Connection, Ending], None],
    ) -> None:
        self._reactor = reactor
        self._crypto = crypto
        self._slot = slot
        self._pipe = pipe
        self._on_end = on_end
        self._plain: socket.socket | None = None
        self._connector: Connector | None = None
        self._negotiation: Negotiation | None = None
        self._relayed: RelayedConnection | None = None
        self._timer: Timer | None = None  # of the handshake

    def start(self, accepted: socket.socket) -> None:
        """Begin.  ``on_end`` is never called from within."""
        if self._pipe.role is Role.C:
            self._plain = accepted
            self._connect()
            self._relay_or_wait()
        else:
            self._negotiate(accepted)

    def abort(self) -> None:
        """End it now, however far it has come."""
        if self._relayed is not None:
            self._relayed.abort()
        else:
            self._give_up(Ending(Cause.SHUTDOWN))

    def _connect(self) -> None:
        self._connector = Connector(self._reactor, self._pipe, self._on_connected, self._give_up)
        self._connector.start()

    def _on_connected(self, target: socket.socket) -> None:
        self._connector = None
        if self._pipe.role is Role.C:
            self._negotiate(target)
        else:
            self._plain = target
            self._relay_or_wait()

    def _negotiate(self, crypt: socket.socket) -> None:
        self._timer = self._reactor.call_later(self._pipe.timeout, self._on_timeout)
        try:
            self._negotiation = Negotiation(
                self._reactor,
                self._crypto,
                crypt,
                self._pipe,
                self._on_authentic,
                self._on_ready,
                self._give_up,
            )
        except OSError as error:  # there are no random numbers
            ending = Ending(Cause.HANDSHAKE, describe(error))
            close_with_reset(crypt)
            self._timer.cancel()
            self._timer = self._reactor.call_later(0, lambda: self._give_up(ending))

    def _on_authentic(self) -> None:
        if self._pipe.role is Role.S:
            self._connect()

    def _on_ready(self) -> None:
        assert self._timer is not None
        self._timer.cancel()
        if self._plain is not None:
            self._relay_or_wait()

    def _relay_or_wait(self) -> None:
        """The plain socket is there: relay, if the encrypted one is ready as well."""
        plain, negotiation = self._plain, self._negotiation
        assert plain is not None
        if negotiation is None or not negotiation.ready:
            self._reactor.watch(plain, NOTHING, self._on_hangup)
            return
        self._reactor.unwatch(plain)
        self._plain = self._negotiation = None
        crypt, (E_C, H_C, E_S, H_S) = negotiation.take()
        ours, peers = (E_C, H_C), (E_S, H_S)
        if self._pipe.role is Role.S:
            ours, peers = peers, ours
        self._relayed = RelayedConnection(
            self._reactor,
            Relay(plain, crypt, Sealer(self._crypto, *ours), self._slot),
            Relay(crypt, plain, Opener(self._crypto, *peers), self._slot),
            self._pipe.timeout,
            self._end,
        )
        wipe(E_C, H_C, E_S, H_S)  # they have been copied
        self._slot.add(Field.ESTABLISHED, 1)

    def _on_timeout(self) -> None:
        self._give_up(Ending(Cause.HANDSHAKE_TIMEOUT))

    def _on_hangup(self, events: int) -> None:
        assert self._plain is not None
        self._reactor.unwatch(self._plain)
        status = take_error(self._plain)
        if status != 0:
            who = "client" if self._pipe.role is Role.C else "target"
            self._give_up(Ending(Cause.RESET, f"{who}: {os.strerror(status)}"))

    def _give_up(self, ending: Ending) -> None:
        """End it before it is relayed."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connector is not None:
            self._connector.cancel()
        if self._negotiation is not None:
            self._negotiation.cancel()
        if self._plain is not None:
            self._reactor.unwatch(self._plain)
            close_with_reset(self._plain)
        self._end(ending)

    def _end(self, ending: Ending) -> None:
        self._timer = self._connector = self._negotiation = self._plain = self._relayed = None
        self._on_end(self, ending)
