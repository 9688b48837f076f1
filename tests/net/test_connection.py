"""From an accepted socket to an established connection, or to the reason why there is none."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from spiped.net.address import SocketAddress
from spiped.net.connection import Connection, Machinery
from spiped.net.ending import Cause, Ending
from spiped.net.pipe import Pipe
from spiped.proto.handshake import Role
from tests.net.rig import END, PAIRS, RESET, K, Peer, Rig, prepare
from tests.net.test_connect import Network
from tests.net.voice import HANDSHAKE_BYTES, Voice

LONG = 3600.0  # seconds: what is waited for must not be a time limit

in_both_roles = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)


class Attempt:
    """A connection that is being made, and what is told of it."""

    def __init__(
        self,
        rig: Rig,
        role: Role,
        target: SocketAddress,
        timeout: float = LONG,
        transport: str = "tcp",
    ) -> None:
        self.established = False
        self.ending: Ending | None = None
        accepted, theirs = PAIRS[transport]()
        prepare(accepted)
        self.peer = rig.peer(theirs)  # who connected to us
        pipe = Pipe(role, K, [target], weak=True, timeout=timeout)
        self.connection = Connection(
            Machinery(rig.reactor, rig.plane), pipe, "a peer", self._on_established, self._on_end
        )
        self.connection.start(accepted)
        assert not self.over

    def _on_established(self, connection: Connection) -> None:
        assert connection is self.connection
        assert not self.over
        self.established = True

    def _on_end(self, connection: Connection, ending: Ending) -> None:
        assert connection is self.connection
        assert self.ending is None
        self.ending = ending

    @property
    def over(self) -> bool:
        return self.established or self.ending is not None


@pytest.fixture
def network() -> Iterator[Network]:
    with ExitStack() as stack:
        network = Network(stack)
        stack.callback(network.reactor.close)
        yield network


def accept(rig: Rig, listener: socket.socket) -> Peer:
    """Wait for who comes to the target."""
    listener.setblocking(False)
    accepted: list[socket.socket] = []

    def came() -> bool:
        try:
            accepted.append(listener.accept()[0])
        except BlockingIOError:
            return False
        return True

    rig.until(came)
    return rig.peer(accepted[0])


def nobody_came(listener: socket.socket) -> bool:
    listener.setblocking(False)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def voice_of(rig: Rig, role: Role, peer: Peer) -> Voice:
    """Speak for the peer of a connection in this role."""
    voice = Voice(rig, role, peer)
    voice.wait_for_nonce()
    return voice


def converse(rig: Rig, plain: Peer, voice: Voice) -> None:
    """Complete a handshake, and exchange data in both directions."""
    voice.peer.write(voice.hello() + voice.seal(b"from afar"))
    rig.until(lambda: plain.received == b"from afar")
    plain.write(b"from here")
    rig.until(lambda: len(voice.peer.received) > HANDSHAKE_BYTES)
    assert voice.opened() == b"from here"


# It succeeds


def test_an_encrypting_end_connects_and_relays(rig: Rig, network: Network) -> None:
    listener, address = network.listener()
    made = Attempt(rig, Role.C, address)
    converse(rig, made.peer, voice_of(rig, Role.C, accept(rig, listener)))
    assert made.established


def test_a_decrypting_end_connects_and_relays(rig: Rig, network: Network) -> None:
    listener, address = network.listener()
    made = Attempt(rig, Role.S, address)
    voice = voice_of(rig, Role.S, made.peer)
    made.peer.write(voice.hello() + voice.seal(b"from afar"))
    target = accept(rig, listener)
    rig.until(lambda: target.received == b"from afar")
    assert made.established


def test_two_connections_make_a_pipe(rig: Rig, network: Network) -> None:
    """In its whole length: client, C, S, target."""
    listener, address = network.listener()
    middle, middle_address = network.listener()
    C = Attempt(rig, Role.C, middle_address)
    between = accept(rig, middle)
    rig.peers.remove(between)
    prepare(between.sock)
    established: list[Connection] = []
    endings: list[Ending] = []
    S = Connection(
        Machinery(rig.reactor, rig.plane),
        Pipe(Role.S, K, [address]),
        "C",
        established.append,
        lambda connection, ending: endings.append(ending),
    )
    S.start(between.sock)
    target = accept(rig, listener)
    rig.until(lambda: C.established and established == [S])
    C.peer.write(b"to the target")
    target.write(b"to the client")
    C.peer.finish()
    target.finish()
    rig.until(lambda: C.ending and endings and C.peer.ending and target.ending)
    assert target.received == b"to the target"
    assert C.peer.received == b"to the client"
    assert C.ending == (Cause.CLEAN, "", 13, 13)
    assert endings == [(Cause.CLEAN, "", 13, 13)]


def test_what_a_client_says_and_ends_early_is_kept_for_later(rig: Rig, network: Network) -> None:
    """It is delivered when the connection is established, its end included."""
    listener, address = network.listener()
    made = Attempt(rig, Role.C, address)
    made.peer.write(b"impatient")
    made.peer.finish()
    voice = voice_of(rig, Role.C, accept(rig, listener))
    rig.rest()
    assert made.ending is None
    voice.peer.write(voice.hello())
    rig.until(lambda: voice.peer.ending)
    assert voice.opened() == b"impatient"
    assert voice.peer.ending == END


def test_a_unix_client_that_has_gone_is_still_served(rig: Rig, network: Network) -> None:
    """It has said all that it wanted to say."""
    listener, address = network.listener()
    made = Attempt(rig, Role.C, address, transport="unix")
    made.peer.write(b"goodbye")
    rig.until(lambda: made.peer.idle)
    made.peer.close()
    voice = voice_of(rig, Role.C, accept(rig, listener))
    rig.rest()
    voice.peer.write(voice.hello())
    rig.until(lambda: voice.peer.ending and made.ending)
    assert voice.opened() == b"goodbye"
    assert made.ending == (Cause.CLEAN, "", 7, 0)


def test_the_time_limit_is_over_once_data_flows(rig: Rig, network: Network) -> None:
    listener, address = network.listener()
    made = Attempt(rig, Role.C, address, timeout=0.2)
    voice = voice_of(rig, Role.C, accept(rig, listener))
    converse(rig, made.peer, voice)
    rig.turn(0.3)
    made.peer.write(b"!")
    rig.until(lambda: len(voice.peer.received) == HANDSHAKE_BYTES + 2 * 1060)
    assert made.ending is None


# Strangers


def test_the_target_is_not_contacted_before_the_peer_is_authentic(
    rig: Rig, network: Network
) -> None:
    listener, address = network.listener()
    made = Attempt(rig, Role.S, address)
    hello = voice_of(rig, Role.S, made.peer).hello()
    made.peer.write(hello[:-1])
    rig.rest()
    assert nobody_came(listener)
    made.peer.write(hello[-1:])
    accept(rig, listener)


@pytest.mark.parametrize("garbage", [False, True], ids=["wrong key", "garbage"])
def test_the_target_is_never_contacted_for_a_stranger(
    rig: Rig, network: Network, garbage: bool
) -> None:
    listener, address = network.listener()
    made = Attempt(rig, Role.S, address)
    voice = voice_of(rig, Role.S, made.peer)
    made.peer.write(os.urandom(HANDSHAKE_BYTES) if garbage else voice.hello(key=bytes(32)))
    rig.until(lambda: made.ending and made.peer.ending)
    assert made.ending == (Cause.HANDSHAKE, "the peer does not hold the key", 0, 0)
    assert made.peer.ending == RESET
    rig.rest()
    assert nobody_came(listener)


# Failures before it is established


@pytest.mark.parametrize("stage", ["connecting", "shaking hands"])
def test_a_client_that_is_reset_early_is_noticed_at_once(
    rig: Rig, network: Network, stage: str
) -> None:
    listener, address = network.listener()
    made = Attempt(rig, Role.C, network.silent() if stage == "connecting" else address)
    target = None if stage == "connecting" else accept(rig, listener)
    rig.rest()
    assert not made.over
    made.peer.reset()
    rig.until(lambda: made.ending and (target is None or target.ending))
    reason = os.strerror(errno.ECONNRESET)
    assert made.ending == (Cause.RESET, f"client: {reason}", 0, 0)
    assert target is None or target.ending == RESET


def test_a_peer_that_is_reset_while_its_target_is_reached_is_noticed_at_once(
    rig: Rig, network: Network
) -> None:
    made = Attempt(rig, Role.S, network.silent())
    voice = voice_of(rig, Role.S, made.peer)
    made.peer.write(voice.hello())
    rig.until(lambda: len(made.peer.received) == HANDSHAKE_BYTES)
    rig.rest()
    assert not made.over
    made.peer.reset()
    rig.until(lambda: made.ending)
    assert made.ending == (Cause.HANDSHAKE, os.strerror(errno.ECONNRESET), 0, 0)


@in_both_roles
def test_a_target_that_refuses_resets_who_wanted_it(rig: Rig, network: Network, role: Role) -> None:
    address = network.refusing()
    made = Attempt(rig, role, address)
    if role is Role.S:
        made.peer.write(voice_of(rig, role, made.peer).hello())
    rig.until(lambda: made.ending and made.peer.ending)
    reason = os.strerror(errno.ECONNREFUSED)
    assert made.ending == (Cause.CONNECT, f"{address}: {reason}", 0, 0)
    assert made.peer.ending == RESET


@in_both_roles
def test_a_peer_that_says_nothing_is_given_up(rig: Rig, network: Network, role: Role) -> None:
    listener, address = network.listener()
    made = Attempt(rig, role, address, timeout=0.1)
    crypt = made.peer if role is Role.S else accept(rig, listener)
    rig.until(lambda: made.ending and crypt.ending)
    assert made.ending == (Cause.HANDSHAKE_TIMEOUT, "", 0, 0)
    assert crypt.ending == RESET


@in_both_roles
def test_a_target_that_does_not_answer_is_given_up(rig: Rig, network: Network, role: Role) -> None:
    address = network.silent()
    made = Attempt(rig, role, address, timeout=0.1)
    if role is Role.S:
        made.peer.write(voice_of(rig, role, made.peer).hello())
    rig.until(lambda: made.ending and made.peer.ending)
    assert made.ending == (Cause.CONNECT_TIMEOUT, str(address), 0, 0)
    assert made.peer.ending == RESET


@pytest.mark.parametrize("stage", ["connecting", "shaking hands"])
def test_a_connection_can_be_aborted_early(rig: Rig, network: Network, stage: str) -> None:
    listener, address = network.listener()
    made = Attempt(rig, Role.C, network.silent() if stage == "connecting" else address)
    target = None if stage == "connecting" else accept(rig, listener)
    made.connection.abort()
    assert made.ending == (Cause.SHUTDOWN, "", 0, 0)
    rig.until(lambda: made.peer.ending and (target is None or target.ending))
    assert made.peer.ending == RESET
    assert target is None or target.ending == RESET
