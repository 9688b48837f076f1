"""Handshakes on real sockets, on every data plane: cut anywhere, refused, abandoned, lost."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from functools import partial

import pytest

from spiped.constants import PACKET_BYTES
from spiped.crypto import Backend
from spiped.net import negotiation
from spiped.net.ending import Cause
from spiped.proto.handshake import ONE, P_BYTES, Handshake, Role, Secrets, draw_secrets
from spiped.proto.packets import Sealer
from tests.net.rig import END, PAIRS, RESET, K, Peer, Rig, tcp_pair, unix_pair, unreceived
from tests.net.voice import HANDSHAKE_BYTES, NONCE, Talk, begin

in_both_roles = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)
over_both = pytest.mark.parametrize("transport", list(PAIRS))


def opposite(role: Role) -> Role:
    return Role.S if role is Role.C else Role.C


def send_all_of(rig: Rig, talk: Talk, data: bytes) -> None:
    """Send on a UNIX socket, and wait until it has been received."""
    talk.peer.sock.sendall(data)
    rig.until(lambda: unreceived(talk.peer.sock) == 0, rig.turn)


def finish(rig: Rig, talk: Talk) -> Peer:
    """Relay what is ready; returns the plain side's peer."""
    rig.until(lambda: talk.outcome.ready)
    near, far = unix_pair()
    rig.relay(talk.channel, near)
    return rig.peer(far)


# It succeeds


@in_both_roles
def test_a_handshake_may_be_cut_anywhere(rig: Rig, role: Role) -> None:
    """And what comes behind it, in the same piece, is left for the relay."""
    for cut in range(1, HANDSHAKE_BYTES + 1):
        talk = begin(rig, role)
        stream = talk.hello() + talk.seal(b"first")
        send_all_of(rig, talk, stream[:cut])
        assert cut == HANDSHAKE_BYTES or not talk.outcome.authentic
        talk.peer.sock.sendall(stream[cut:])
        plain = finish(rig, talk)
        rig.until(lambda plain=plain: plain.received == b"first")
        plain.close()
        talk.peer.close()
        rig.until(lambda talk=talk: talk.outcome.ending)


@in_both_roles
def test_a_handshake_may_come_byte_by_byte(rig: Rig, role: Role) -> None:
    talk = begin(rig, role)
    for byte in talk.hello():
        assert not talk.outcome.authentic
        send_all_of(rig, talk, bytes([byte]))
    rig.until(lambda: talk.outcome.ready)


@in_both_roles
@over_both
@pytest.mark.parametrize("weak", [False, True], ids=["pfs", "weak"])
def test_the_plane_completes_a_handshake_with_the_reference(
    rig: Rig, role: Role, transport: str, weak: bool
) -> None:
    talk = begin(rig, role, transport, weak=weak)
    secrets = draw_secrets(rig.crypto, weak=False)
    machine = Handshake(rig.crypto, opposite(role), K, secrets, require_pfs=not weak)
    taken = 0

    def step() -> None:
        nonlocal taken
        talk.peer.write(machine.data_to_send())
        rig.pump()
        if machine.computing:
            machine.compute()
        elif len(talk.peer.received) - taken >= machine.wanted > 0:
            upto = taken + machine.wanted
            machine.receive(talk.peer.received[taken:upto])
            taken = upto

    rig.until(lambda: talk.outcome.ready and not machine.computing and not machine.wanted, step)
    keys = machine.take_keys()
    plain = finish(rig, talk)
    talk.peer.write(Sealer(rig.crypto, *(keys[2:] if role is Role.C else keys[:2])).seal(b"hello"))
    rig.until(lambda: plain.received == b"hello")
    assert len(talk.peer.received) == HANDSHAKE_BYTES


@in_both_roles
def test_the_plane_says_nothing_but_its_nonce_to_a_stranger(rig: Rig, role: Role) -> None:
    """C commits to its value for any 32 bytes; S answers only who holds the key."""
    talk = begin(rig, role)
    send_all_of(rig, talk, NONCE)
    rig.rest()
    assert len(talk.peer.received) == (HANDSHAKE_BYTES if role is Role.C else 32)
    assert not talk.outcome.authentic


@in_both_roles
def test_a_handshake_waits_for_a_full_socket(rig: Rig, role: Role) -> None:
    near, far = unix_pair(buffers=4096)
    near.setblocking(False)
    junk = 0
    with suppress(BlockingIOError):
        while True:
            junk += near.send(bytes(100))
    channel, outcome = rig.negotiate(role, near, weak=True)
    talk = Talk(rig, role, rig.peer(far), channel, outcome)
    talk.peer.reading = False
    rig.rest()
    talk.peer.reading = True
    rig.until(lambda: len(talk.peer.received) == junk + 32)
    del talk.peer.received[:junk]
    talk.peer.write(talk.hello())
    rig.until(lambda: talk.outcome.ready)
    assert talk.outcome.ending is None


def test_handshakes_with_exponentiations_all_come_to_their_turn(rig: Rig) -> None:
    talks = [begin(rig, Role.S, weak=False) for _ in range(20)]
    for talk in talks:
        talk.peer.write(talk.hello())
    rig.until(lambda: all(talk.outcome.ready for talk in talks))


# It fails


@in_both_roles
@over_both
@pytest.mark.parametrize(
    ("y", "key", "require_pfs", "detail"),
    [
        (ONE, b"\xff" * 32, False, "the peer does not hold the key"),
        (P_BYTES, K, False, "the peer's Diffie-Hellman value is out of range"),
        (b"\xff" * 256, K, False, "the peer's Diffie-Hellman value is out of range"),
        (ONE, K, True, "the peer refuses perfect forward secrecy"),
    ],
    ids=["wrong key", "y is p", "y is 2^2048-1", "weak"],
)
def test_a_peer_is_refused(
    rig: Rig, role: Role, transport: str, y: bytes, key: bytes, require_pfs: bool, detail: str
) -> None:
    other = rig.half()
    talk = begin(rig, role, transport, weak=False, require_pfs=require_pfs)
    talk.peer.write(talk.hello(y, key))
    rig.until(lambda: talk.peer.ending and talk.outcome.ending)
    assert talk.outcome.ending == (Cause.HANDSHAKE, detail, 0, 0)
    assert not talk.outcome.authentic
    assert talk.peer.ending == (RESET if transport == "tcp" else END)
    other.write(b"others go on")
    rig.until(lambda: other.plain.received == b"others go on")


@in_both_roles
@over_both
@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 319])
def test_an_end_during_the_handshake_is_a_failure(
    rig: Rig, role: Role, transport: str, length: int
) -> None:
    talk = begin(rig, role, transport)
    talk.peer.write(talk.hello()[:length])
    talk.peer.finish()
    rig.until(lambda: talk.outcome.ending and talk.peer.ending)
    assert talk.outcome.ending == (Cause.HANDSHAKE, "the peer closed the connection", 0, 0)


@in_both_roles
@pytest.mark.parametrize("length", [0, 1, 32, 319])
def test_a_reset_during_the_handshake_is_noticed_at_once(rig: Rig, role: Role, length: int) -> None:
    talk = begin(rig, role, "tcp")
    talk.peer.write(talk.hello()[:length])
    rig.until(lambda: talk.peer.idle)
    rig.rest()
    talk.peer.reset()
    rig.until(lambda: talk.outcome.ending)
    assert talk.outcome.ending == (Cause.HANDSHAKE, os.strerror(errno.ECONNRESET), 0, 0)


@in_both_roles
def test_a_reset_while_nothing_is_expected_is_noticed_at_once(rig: Rig, role: Role) -> None:
    """The handshake is complete, and the plain side is not there yet."""
    talk = begin(rig, role, "tcp")
    talk.peer.write(talk.hello())
    rig.until(lambda: talk.outcome.ready)
    rig.rest()
    assert talk.outcome.ending is None
    talk.peer.reset()
    rig.until(lambda: talk.outcome.ending)
    assert talk.outcome.ending == (Cause.HANDSHAKE, os.strerror(errno.ECONNRESET), 0, 0)


def test_a_reset_while_an_exponentiation_is_due_is_noticed(rig: Rig) -> None:
    talks = [begin(rig, Role.S, "tcp", weak=False) for _ in range(5)]
    for talk in talks:
        talk.peer.sock.sendall(talk.hello())
        talk.peer.reset()
    rig.until(lambda: all(talk.outcome.ending for talk in talks))
    assert {talk.outcome.cause for talk in talks} == {Cause.HANDSHAKE}


@in_both_roles
def test_a_unix_peer_may_close_once_it_has_said_all(rig: Rig, role: Role) -> None:
    """What it sent is delivered, although it is gone when the plain side gets there."""
    talk = begin(rig, role)
    if role is Role.S:
        talk.peer.reading = False
    talk.peer.write(talk.hello())
    rig.until(lambda: talk.outcome.ready and len(talk.peer.received) >= 32)
    talk.peer.reading = True
    rig.until(lambda: len(talk.peer.received) == HANDSHAKE_BYTES)
    talk.peer.write(talk.seal(b"last words"))
    rig.until(lambda: talk.peer.idle)
    talk.peer.close()
    rig.rest()
    assert talk.outcome.ending is None
    plain = finish(rig, talk)
    rig.until(lambda: plain.ending and talk.outcome.ending)
    assert plain.received == b"last words"
    assert talk.outcome.cause is Cause.CLEAN


# It is abandoned


@in_both_roles
@pytest.mark.parametrize("length", [0, 32, 40, HANDSHAKE_BYTES])
def test_a_cancelled_handshake_is_reset_and_calls_nobody_back(
    rig: Rig, role: Role, length: int
) -> None:
    talk = begin(rig, role, "tcp", weak=length < HANDSHAKE_BYTES)
    talk.peer.write(talk.hello()[:length])
    rig.until(lambda: talk.peer.idle)
    talk.channel.cancel()
    talk.channel.cancel()
    before = talk.outcome.ready
    rig.until(lambda: talk.peer.ending)
    rig.rest()
    assert talk.peer.ending == RESET
    assert talk.outcome.ready == before
    assert talk.outcome.ending is None


def test_cancelling_from_a_callback_of_another_is_safe(rig: Rig) -> None:
    """All are ready in the same turn, more than can be told at once; the first ends the others."""
    talks = [begin(rig, Role.S, "tcp") for _ in range(150)]

    def cancel_others() -> None:
        for other in talks:
            if not other.outcome.ready:
                other.channel.cancel()

    for talk in talks:
        talk.outcome.when_ready = cancel_others
        talk.peer.sock.sendall(talk.hello())
    rig.until(lambda: any(talk.outcome.ready for talk in talks))
    rig.until(lambda: sum(talk.peer.ending == RESET for talk in talks) >= 149)
    assert sum(talk.outcome.ready for talk in talks) == 1


def test_abort_all_ends_handshakes_too(rig: Rig) -> None:
    talks = [begin(rig, Role.S, "tcp", weak=False) for _ in range(70)]
    for talk in talks[:50]:
        talk.peer.sock.sendall(talk.hello())
    rig.turn()
    rig.plane.abort_all()
    assert {talk.outcome.cause for talk in talks} == {Cause.SHUTDOWN}
    rig.until(lambda: all(talk.peer.ending for talk in talks))
    assert {talk.peer.ending for talk in talks} == {RESET}


@pytest.mark.parametrize("how", ["cancelled", "refused", "reset", "complete"])
def test_secrets_are_erased_however_it_ends(
    rig: Rig, plane: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if plane == "native":
        return  # the machine in C erases all that it has (tests/proto)
    drawn: list[Secrets] = []

    def draw(crypto: Backend, weak: bool) -> Secrets:
        drawn.append(draw_secrets(crypto, weak))
        return drawn[-1]

    monkeypatch.setattr(negotiation, "draw_secrets", draw)
    talk = begin(rig, Role.S, "tcp", weak=False)
    (secrets,) = drawn
    assert secrets.x is not None
    assert secrets.x != bytes(32)
    if how == "cancelled":
        talk.channel.cancel()
    elif how == "reset":
        talk.peer.reset()
    else:
        talk.peer.write(talk.hello(key=K if how == "complete" else bytes(32)))
    rig.until(lambda: talk.outcome.ending or talk.outcome.ready or how == "cancelled")
    assert secrets.x == bytes(32)


# There is more news than can be told at once


def relay_to_new(rig: Rig, talk: Talk) -> Peer:
    near, far = tcp_pair()
    rig.relay(talk.channel, near)
    return rig.peer(far)


def test_many_that_become_ready_and_fail_before_that_is_told(rig: Rig) -> None:
    """Whoever relays those that are said to be ready is not surprised."""
    talks = [begin(rig, Role.S, "tcp") for _ in range(150)]

    def reset_the_others() -> None:
        for other in talks:
            other.outcome.when_ready = partial(relay_to_new, rig, other)
            if not other.outcome.ready:
                other.peer.reset()

    for talk in talks:
        talk.outcome.when_ready = reset_the_others
        talk.peer.sock.sendall(talk.hello())
    rig.until(lambda: sum(talk.outcome.ending is not None for talk in talks) == 149)
    causes = {talk.outcome.cause for talk in talks if talk.outcome.ending}
    assert causes <= {Cause.HANDSHAKE, Cause.RESET}


def test_relaying_what_has_failed_before_that_is_told(rig: Rig) -> None:
    talks = [begin(rig, Role.S, "tcp") for _ in range(150)]
    for talk in talks:
        talk.peer.sock.sendall(talk.hello())
    rig.until(lambda: all(talk.outcome.ready for talk in talks))
    plains: list[Peer] = []

    def relay_the_others() -> None:
        for other in talks:
            other.outcome.when_ended = None
            if not other.outcome.ending:
                plains.append(relay_to_new(rig, other))

    for talk in talks:
        talk.outcome.when_ended = relay_the_others
        talk.peer.reset()
    rig.until(lambda: all(talk.outcome.ending for talk in talks))
    rig.until(lambda: all(plain.ending for plain in plains))
    assert {plain.ending for plain in plains} == {RESET}
    assert {talk.outcome.cause for talk in talks} <= {Cause.HANDSHAKE, Cause.RESET}


def test_a_plain_side_that_is_gone_when_it_gets_there(rig: Rig) -> None:
    talk = begin(rig, Role.S, "tcp")
    talk.peer.write(talk.hello())
    rig.until(lambda: talk.outcome.ready)
    near, far = tcp_pair()
    near.setblocking(False)
    rig.peer(far).reset()
    rig.relay(talk.channel, near)
    rig.until(lambda: talk.outcome.ending and talk.peer.ending)
    assert talk.outcome.cause is Cause.RESET
    assert talk.peer.ending == RESET


def test_early_packets_wait_for_the_plain_side(rig: Rig) -> None:
    """As many as the sockets hold; nobody reads them before there is somebody to read them for."""
    talk = begin(rig, Role.S, "tcp")
    message = bytes(range(256)) * 2000
    talk.peer.write(talk.hello() + talk.seal(message))
    rig.until(lambda: talk.outcome.ready)
    rig.rest()
    plain = finish(rig, talk)
    rig.until(lambda: len(plain.received) == len(message))
    assert plain.received == message
    assert len(message) // 1024 * PACKET_BYTES < talk.peer.written


def test_the_socket_is_the_planes_once_it_has_been_handed_over(rig: Rig) -> None:
    near, far = tcp_pair()
    _, outcome = rig.negotiate(Role.S, near, weak=True)
    peer = rig.peer(far)
    if near.fileno() < 0:  # detached
        near.close()
    rig.until(lambda: len(peer.received) == 32)
    far.shutdown(socket.SHUT_WR)
    rig.until(lambda: outcome.ending)
