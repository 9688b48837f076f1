"""One connection, from the accepted socket to its end.

The order of its stages is the role's (`interface.Plane`).  The connection owns the session and the
sockets; each stage moves bytes between them while it lasts, and says how it came out.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from spiped.crypto import Backend
from spiped.lean_typing import suppress
from spiped.net.address import encode_sockaddr
from spiped.net.reactor import NOTHING, Reactor, Timer
from spiped.net.sockets import close_with_reset, take_error
from spiped.observe.entry import Shown, State
from spiped.observe.slot import Field, Slot
from spiped.plane.ending import GONE, Ending, Reason
from spiped.plane.pipe_settings import PipeSettings
from spiped.plane.portable.computing import Computing
from spiped.plane.portable.connect import Connector
from spiped.plane.portable.negotiate import Negotiation
from spiped.plane.portable.relay import Relaying
from spiped.proto.handshake import draw_secrets
from spiped.proto.session import Session
from spiped.proto.terms import CRYPT, PLAIN, Heard, Role


class Connection:
    """One connection; calls ``on_authentic`` once, and ``on_end`` later."""

    __slots__ = (
        "_begun",
        "_computing",
        "_connect_begun",
        "_connector",
        "_crypt",
        "_crypto",
        "_handshake_begun",
        "_negotiation",
        "_on_end",
        "_on_peer_authentic",
        "_peer",
        "_pipe",
        "_plain",
        "_reactor",
        "_relaying",
        "_session",
        "_slot",
        "_timer",
        "is_unauthenticated",
        "number",
        "shown",
    )

    def __init__(
        self,
        reactor: Reactor,
        crypto: Backend,
        slot: Slot,
        computing: Computing,
        shown: Shown,
        pipe: PipeSettings,
        number: int,
        peer: str,
        on_authentic: Callable[[], None],
        on_end: Callable[[Connection, Ending], None],
    ) -> None:
        self._reactor = reactor
        self._crypto = crypto
        self._slot = slot
        self._computing = computing
        self.shown = shown
        self._pipe = pipe
        self.number = number
        self._peer = peer
        self._on_peer_authentic = on_authentic
        self._on_end = on_end
        self._begun = time.monotonic()
        self._plain: socket.socket | None = None
        self._crypt: socket.socket | None = None
        self._session: Session | None = None
        self._connector: Connector | None = None
        self._negotiation: Negotiation | None = None
        self._relaying: Relaying | None = None
        self._timer: Timer | None = None  # of the handshake
        self.is_unauthenticated = True  # the peer has not proved that it holds the key

    def start(self, accepted: socket.socket) -> None:
        """Begin.  ``on_end`` is never called from within."""
        if self._pipe.role is Role.C:
            self._plain = accepted
            self._connect()
            self._relay_or_wait()
        else:
            self._crypt = accepted
            self._negotiate()

    @property
    def age(self) -> float:
        """Seconds since it was accepted."""
        return time.monotonic() - self._begun

    def abort(self, reason: Reason = Reason.ABORTED) -> None:
        """End it now, however far it has come."""
        if self._relaying is not None:
            self._relaying.abort(reason)
        else:
            self._give_up(Ending(reason, self._pipe.role))

    def refuse(self, reason: Reason) -> None:
        """End it before it is relayed, although nothing is wrong with it."""
        self._give_up(Ending(reason, self._pipe.role))

    # Stages

    def _connect(self) -> None:
        self._connect_begun = time.monotonic()
        self._connector = Connector(self._reactor, self._pipe, self._on_connected, self._give_up)
        self._connector.start()

    def _on_connected(self, target: socket.socket) -> None:
        self._slot.time(Field.CONNECT_TIME, time.monotonic() - self._connect_begun)
        with suppress(OSError):  # it may have left already
            self.shown.addresses(target=encode_sockaddr(target.getpeername()))
        self._connector = None
        if self._pipe.role is Role.C:
            self._crypt = target
            self._negotiate()
        else:
            self._plain = target
            self._relay_or_wait()

    def _negotiate(self) -> None:
        assert self._crypt is not None
        self._handshake_begun = time.monotonic()
        self.shown.state(State.HANDSHAKE)
        self._timer = self._reactor.call_later(self._pipe.timeout, self._on_timeout)
        pipe = self._pipe
        try:
            secrets = draw_secrets(self._crypto, pipe.weak)
        except OSError as error:  # there are no random numbers
            ending = Ending(Reason.LOST, pipe.role, error.errno or 0, CRYPT)
            self._timer.cancel()
            self._timer = self._reactor.call_later(0, lambda: self._give_up(ending))
            return
        self._session = Session(
            self._crypto, pipe.role, pipe.K, secrets, require_pfs=pipe.require_pfs
        )
        self._negotiation = Negotiation(
            self._reactor,
            self._computing,
            self._session,
            self._crypt,
            self._on_authentic,
            self._on_established,
            lambda reason, error: self._lose(reason, error, CRYPT),
        )

    def _on_authentic(self) -> None:
        self._count_authenticated()
        if self._pipe.role is Role.S:
            self._connect()

    def _on_established(self) -> None:
        assert self._timer is not None
        self._timer.cancel()
        self._slot.time(Field.HANDSHAKE_TIME, time.monotonic() - self._handshake_begun)
        self._negotiation = None
        if self._plain is not None:
            self._relay_or_wait()
        else:
            assert self._crypt is not None
            self._reactor.watch(self._crypt, NOTHING, self._on_crypt_hangup)

    def _relay_or_wait(self) -> None:
        """The plain socket is there: relay, if the encrypted one is ready as well."""
        plain, session = self._plain, self._session
        assert plain is not None
        if session is None or not session.established:
            self._reactor.watch(plain, NOTHING, self._on_plain_hangup)
            return
        assert self._crypt is not None
        self._reactor.unwatch(plain)
        self._reactor.unwatch(self._crypt)
        self._slot.add(Field.ESTABLISHED, 1)
        self.shown.state(State.RELAYING)
        self._relaying = Relaying(
            self._reactor,
            session,
            plain,
            self._crypt,
            self._pipe,
            self._slot,
            self.shown,
            self._end,
        )

    # Ends

    def _on_timeout(self) -> None:
        self._give_up(Ending(Reason.TOO_SLOW, self._pipe.role, 0, CRYPT))

    def _on_plain_hangup(self, events: int) -> None:
        assert self._plain is not None
        self._reactor.unwatch(self._plain)
        status = take_error(self._plain)
        if status != 0:
            self._lose(Reason.PLAIN_LOST, status, PLAIN)

    def _on_crypt_hangup(self, events: int) -> None:
        assert self._crypt is not None
        self._reactor.unwatch(self._crypt)
        status = take_error(self._crypt)
        if status != 0:
            self._lose(Reason.LOST, status, CRYPT)

    def _lose(self, reason: Reason, error: int, side: int) -> None:
        """A socket has failed before it is relayed.

        Whoever connects and leaves without a byte has only looked whether somebody listens; so may
        have whoever resets what we have not begun to read.
        """
        accepted = PLAIN if self._pipe.role is Role.C else CRYPT
        left = reason is Reason.CLOSED or error in GONE
        if left and side == accepted and (side == PLAIN or self._heard is Heard.NOTHING):
            reason = Reason.LEFT
        self._give_up(Ending(reason, self._pipe.role, error, side))

    @property
    def _heard(self) -> Heard:
        return Heard.NOTHING if self._session is None else self._session.heard

    def _give_up(self, ending: Ending) -> None:
        """End it before it is relayed."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connector is not None:
            self._connector.cancel()
        if self._negotiation is not None:
            self._negotiation.stop()
        for sock in (self._plain, self._crypt):
            if sock is not None:
                self._reactor.unwatch(sock)
                close_with_reset(sock)
        self._end(ending)

    def _end(self, ending: Ending) -> None:
        self._count_authenticated()
        if self._relaying is not None:
            self._slot.time(Field.CONNECTION_TIME, self.age)
        ending = ending._replace(
            heard=self._heard,
            number=self.number,
            peer=self._peer,
            seconds=self.age,
        )
        if self._session is not None:
            self._session.wipe()
        self._timer = self._connector = self._negotiation = self._relaying = None
        self._plain = self._crypt = self._session = None
        self._on_end(self, ending)

    def _count_authenticated(self) -> None:
        if self.is_unauthenticated:
            self.is_unauthenticated = False
            self._slot.add(Field.UNAUTHENTICATED, -1)
            self._on_peer_authentic()
