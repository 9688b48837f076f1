"""Handshakes on real sockets, on every data plane: cut anywhere, refused, abandoned, lost."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from spiped.crypto import Backend
from spiped.crypto.sizes import PACKET_BYTES
from spiped.observe.slot import Field
from spiped.plane.diagnosis import LEFT_TEXTS, NOT_SERVED, TEXTS
from spiped.plane.ending import Cause, Reason
from spiped.plane.portable import connection as portable_connection
from spiped.proto.derivation import SessionKeys
from spiped.proto.handshake import ONE, P_BYTES, Handshake, Role, Secrets, draw_secrets
from spiped.proto.packets import Sealer
from spiped.proto.terms import Heard
from tests.net.rig import END, PAIRS, RESET, K, Rig, data_of, tcp_pair, unix_pair, unreceived
from tests.net.voice import HANDSHAKE_BYTES, NONCE, Talk, begin, converse, held_up, stuff

REFUSED = os.strerror(errno.ECONNREFUSED)

PEER = {Role.C: "target", Role.S: "client"}  # what we call whom we shake hands with

in_both_roles = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)
over_both = pytest.mark.parametrize("transport", list(PAIRS))


def opposite(role: Role) -> Role:
    return Role.S if role is Role.C else Role.C


def send_all_of(rig: Rig, talk: Talk, data: bytes) -> None:
    """Send on a UNIX socket, and wait until it has been received."""
    talk.peer.sock.sendall(data)
    rig.until(lambda: unreceived(talk.peer.sock) == 0, rig.turn)


# It succeeds


@in_both_roles
def test_a_handshake_may_be_cut_anywhere(rig: Rig, role: Role) -> None:
    """And what comes behind it, in the same piece, is left for the relay."""
    for cut in range(1, HANDSHAKE_BYTES + 1):
        talk = begin(rig, role)
        stream = talk.hello() + talk.seal(b"first")
        send_all_of(rig, talk, stream[:cut])
        assert cut == HANDSHAKE_BYTES or not talk.trusted
        talk.peer.sock.sendall(stream[cut:])
        plain = talk.plain()
        rig.until(lambda plain=plain: plain.received == b"first")
        plain.close()
        talk.peer.close()
        rig.until(lambda talk=talk: talk.outcome.ending)


@in_both_roles
def test_a_handshake_may_come_byte_by_byte(rig: Rig, role: Role) -> None:
    talk = begin(rig, role)
    for byte in talk.hello():
        assert not talk.trusted
        send_all_of(rig, talk, bytes([byte]))
    rig.until(lambda: talk.trusted)
    rig.until(lambda: rig.established == 1)


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

    rig.until(lambda: rig.established and not machine.computing and not machine.wanted, step)
    keys = machine.take_keys()
    plain = talk.plain()
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
    assert not talk.trusted


@in_both_roles
def test_a_handshake_waits_for_a_full_socket(rig: Rig, role: Role) -> None:
    talk = begin(rig, role)
    with held_up(talk) as junk:
        talk.peer.write(talk.hello())
        rig.rest()
        assert rig.established == 0
        assert talk.outcome.ending is None
    rig.until(lambda: len(talk.peer.received) == HANDSHAKE_BYTES + junk)
    del talk.peer.received[len(NONCE) : len(NONCE) + junk]
    converse(rig, talk.plain(), talk)


def test_a_handshake_waits_for_a_socket_that_is_full_from_the_beginning(rig: Rig) -> None:
    near, far = unix_pair(buffers=4096)
    junk = stuff(near)
    target = rig.network.target("unix")
    outcome = rig.carry(Role.S, near, target.address)
    talk = Talk(rig, Role.S, rig.peer(far), outcome, None, target)
    talk.peer.reading = False
    rig.rest()
    talk.peer.reading = True
    rig.until(lambda: len(talk.peer.received) == junk + 32)
    del talk.peer.received[:junk]
    talk.peer.write(talk.hello())
    converse(rig, talk.plain(), talk)


def test_handshakes_with_exponentiations_all_come_to_their_turn(rig: Rig) -> None:
    talks = [begin(rig, Role.S, weak=False) for _ in range(20)]
    for talk in talks:
        talk.peer.write(talk.hello())
    rig.until(lambda: rig.established == len(talks))


# It fails


@in_both_roles
@over_both
@pytest.mark.parametrize(
    ("y", "key", "require_pfs", "reason"),
    [
        (ONE, b"\xff" * 32, False, Reason.NO_KEY),
        (P_BYTES, K, False, Reason.OUT_OF_RANGE),
        (b"\xff" * 256, K, False, Reason.OUT_OF_RANGE),
        (ONE, K, True, Reason.NO_PFS),
    ],
    ids=["wrong key", "y is p", "y is 2^2048-1", "weak"],
)
def test_a_peer_is_refused(
    rig: Rig, role: Role, transport: str, y: bytes, key: bytes, require_pfs: bool, reason: Reason
) -> None:
    other = rig.half()
    talk = begin(rig, role, transport, plain="tcp", weak=False, require_pfs=require_pfs)
    talk.peer.write(talk.hello(y, key))
    rig.until(lambda: talk.peer.ending and talk.outcome.ending)
    assert talk.outcome.reason is reason
    detail = TEXTS[reason].format(PEER[role])
    assert talk.outcome.ending == (Cause.HANDSHAKE, detail, 0, 0)
    assert talk.peer.ending == (RESET if transport == "tcp" else END)
    rig.rest()
    assert not talk.trusted
    if role is Role.C:
        assert talk.plain().ending == RESET
    other.write(b"others go on")
    rig.until(lambda: other.plain.received == b"others go on")


def after(length: int, role: Role) -> str:
    """What is said of a peer that leaves an end in this role after so much of the handshake."""
    if role is Role.C:
        return NOT_SERVED if length > 0 else LEFT_TEXTS[Role.C, Heard.NOTHING]
    return LEFT_TEXTS[Role.S, Heard.SOMETHING if length < len(NONCE) else Heard.NONCE]


def beginnings(*lengths: int) -> list[tuple[Role, int]]:
    """How much a peer may say, in which role; without a word, leaving S is no failure."""
    return [(role, length) for role in Role for length in lengths if (role, length) != (Role.S, 0)]


@over_both
@pytest.mark.parametrize(("role", "length"), beginnings(0, 1, 31, 32, 33, 319))
def test_an_end_during_the_handshake_is_a_failure(
    rig: Rig, role: Role, transport: str, length: int
) -> None:
    talk = begin(rig, role, transport)
    talk.peer.write(talk.hello()[:length])
    talk.peer.finish()
    rig.until(lambda: talk.outcome.ending and talk.peer.ending)
    assert talk.outcome.reason is Reason.CLOSED
    assert talk.outcome.ending == (Cause.HANDSHAKE, after(length, role), 0, 0)


@pytest.mark.parametrize(("role", "length"), beginnings(0, 1, 32, 319))
def test_a_reset_during_the_handshake_is_noticed_at_once(rig: Rig, role: Role, length: int) -> None:
    talk = begin(rig, role, "tcp")
    talk.peer.write(talk.hello()[:length])
    rig.until(lambda: talk.peer.idle)
    rig.rest()
    talk.peer.reset()
    rig.until(lambda: talk.outcome.ending)
    assert talk.outcome.reason is Reason.LOST
    assert talk.outcome.ending == (Cause.HANDSHAKE, after(length, role), 0, 0)


def test_a_reset_while_nothing_is_expected_is_noticed_at_once(rig: Rig) -> None:
    """The handshake is complete, and the target is not there yet."""
    talk = begin(rig, Role.S, "tcp", target=rig.network.full())
    talk.peer.write(talk.hello())
    rig.until(lambda: len(talk.peer.received) == HANDSHAKE_BYTES)
    rig.rest()
    assert talk.outcome.ending is None
    talk.peer.reset()
    rig.until(lambda: talk.outcome.ending)
    left = LEFT_TEXTS[Role.S, Heard.PROOF]
    assert talk.outcome.ending == (Cause.HANDSHAKE, left, 0, 0)


def test_a_reset_while_an_exponentiation_is_due_is_noticed(rig: Rig) -> None:
    talks = [begin(rig, Role.S, "tcp", weak=False) for _ in range(5)]
    for talk in talks:
        talk.peer.sock.sendall(talk.hello())
    rig.until(lambda: all(talk.trusted for talk in talks), rig.turn)
    assert rig.established < len(talks)
    for talk in talks:
        talk.peer.reset()
    rig.until(lambda: all(talk.outcome.ending for talk in talks))
    left = (Cause.HANDSHAKE, LEFT_TEXTS[Role.S, Heard.PROOF], 0, 0)
    assert [talk.outcome.ending for talk in talks].count(left) == len(talks)


@in_both_roles
def test_a_unix_peer_may_close_once_it_has_said_all(rig: Rig, role: Role) -> None:
    """What it sent is delivered, although it is gone when the plain side gets there."""
    talk = begin(rig, role, target=rig.network.full() if role is Role.S else None)
    talk.peer.write(talk.hello())
    rig.until(lambda: len(talk.peer.received) == HANDSHAKE_BYTES)
    talk.peer.sock.sendall(talk.seal(b"last words"))
    talk.peer.close()
    if role is Role.S:
        rig.rest()
        assert talk.outcome.ending is None
        talk.target.make_room()
    plain = talk.plain()
    rig.until(lambda: plain.ending and talk.outcome.ending)
    assert plain.received == b"last words"
    assert talk.outcome.cause is Cause.CLEAN


def test_a_target_that_refuses_ends_a_handshake_that_goes_on(rig: Rig) -> None:
    address = rig.network.refusing()
    talk = begin(rig, Role.S, address=address)
    with held_up(talk):
        talk.peer.write(talk.hello())
        rig.until(lambda: talk.outcome.ending)
    assert talk.outcome.ending == (Cause.CONNECT, f"{address}: {REFUSED}", 0, 0)
    rig.until(lambda: talk.peer.ending)


def test_targets_that_refuse_while_exponentiations_are_due(rig: Rig) -> None:
    address = rig.network.refusing()
    talks = [begin(rig, Role.S, "tcp", address=address, weak=False) for _ in range(20)]
    other = begin(rig, Role.S, "tcp", weak=False)
    for talk in (*talks, other):
        talk.peer.sock.sendall(talk.hello())
    rig.until(lambda: all(talk.outcome.ending for talk in talks))
    assert {talk.outcome.cause for talk in talks} == {Cause.CONNECT}
    rig.until(lambda: all(talk.peer.ending == RESET for talk in talks))
    rig.until(lambda: rig.established == 1)
    assert other.outcome.ending is None


# It is abandoned


@in_both_roles
@pytest.mark.parametrize("length", [0, 32, 40, HANDSHAKE_BYTES])
def test_an_aborted_handshake_is_reset_and_reported_once(rig: Rig, role: Role, length: int) -> None:
    talk = begin(rig, role, "tcp", plain="tcp", weak=length < HANDSHAKE_BYTES)
    talk.peer.write(talk.hello()[:length])
    rig.until(lambda: talk.peer.idle)
    rig.plane.abort_all()
    assert talk.outcome.ending == (Cause.SHUTDOWN, "", 0, 0)
    rig.until(lambda: talk.peer.ending)
    rig.rest()
    assert talk.peer.ending == RESET
    if role is Role.C or talk.target.contacted:
        plain = talk.plain()
        rig.until(lambda: plain.ending == RESET)


def test_abort_all_from_the_report_of_one_of_many_is_safe(rig: Rig) -> None:
    """All are ready or fail in the same turn, more than can be told at once."""
    talks = [begin(rig, Role.S, "tcp") for _ in range(150)]
    for talk in talks:
        talk.outcome.when_ended = rig.plane.abort_all
        talk.peer.sock.sendall(talk.hello())
    for talk in talks[::2]:
        talk.peer.reset()
    rig.until(lambda: all(talk.outcome.ending for talk in talks))
    assert {talk.outcome.cause for talk in talks[1::2]} == {Cause.SHUTDOWN}
    rig.until(lambda: all(talk.peer.ending == RESET for talk in talks[1::2]))


def test_abort_all_ends_handshakes_too(rig: Rig) -> None:
    talks = [begin(rig, Role.S, "tcp", weak=False) for _ in range(70)]
    for talk in talks[:50]:
        talk.peer.sock.sendall(talk.hello())
    rig.turn()
    rig.plane.abort_all()
    assert {talk.outcome.cause for talk in talks} == {Cause.SHUTDOWN}
    rig.until(lambda: all(talk.peer.ending for talk in talks))
    assert {talk.peer.ending for talk in talks} == {RESET}


@pytest.mark.parametrize("how", ["aborted", "refused", "reset", "complete"])
def test_secrets_are_erased_however_it_ends(
    rig: Rig, plane: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if plane == "native":
        return  # the machine in C erases all that it has (tests/proto)
    drawn: list[Secrets] = []

    def draw(crypto: Backend, weak: bool) -> Secrets:
        drawn.append(draw_secrets(crypto, weak))
        return drawn[-1]

    monkeypatch.setattr(portable_connection, "draw_secrets", draw)
    talk = begin(rig, Role.S, "tcp", weak=False)
    (secrets,) = drawn
    assert secrets.x is not None
    assert secrets.x != bytes(32)
    if how == "aborted":
        rig.plane.abort_all()
    elif how == "reset":
        talk.peer.reset()
    else:
        talk.peer.write(talk.hello(key=K if how == "complete" else bytes(32)))
    rig.until(lambda: talk.outcome.ending or rig.established)
    assert secrets.x == bytes(32)


@pytest.mark.parametrize("how", ["aborted", "relayed"])
def test_session_keys_are_erased_once_they_are_not_needed(
    rig: Rig, plane: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What packets are sealed and opened with are copies, with their own owner."""
    if plane == "native":
        return  # the machine in C erases all that it has (tests/proto)
    taken: list[bytearray] = []
    had: list[bytes] = []
    take_keys = Handshake.take_keys

    def take(handshake: Handshake) -> SessionKeys:
        keys = take_keys(handshake)
        taken.extend(keys)
        had.extend(map(bytes, keys))
        return keys

    monkeypatch.setattr(Handshake, "take_keys", take)
    talk = begin(rig, Role.S, target=rig.network.full())
    talk.peer.write(talk.hello())
    rig.until(lambda: taken)
    assert all(key != bytes(32) for key in had)
    if how == "aborted":
        rig.plane.abort_all()
    else:
        talk.target.make_room()
        rig.until(lambda: rig.established)
    assert taken == 4 * [bytes(32)]


# There is more news than can be told at once


def test_many_that_fail_while_others_become_ready(rig: Rig) -> None:
    talks = [begin(rig, Role.S, "tcp") for _ in range(150)]
    failing, others = talks[:100], talks[100:]
    hellos = [talk.hello() for talk in talks]
    for talk, hello in zip(talks, hellos, strict=True):
        talk.peer.sock.sendall(hello[: len(NONCE)])
    rig.rest()
    for talk, hello in zip(talks, hellos, strict=True):
        talk.peer.sock.sendall(hello[len(NONCE) :])
    for talk in failing:
        talk.peer.reset()
    rig.until(lambda: all(talk.outcome.ending for talk in failing))
    assert {talk.outcome.cause for talk in failing} <= {Cause.HANDSHAKE, Cause.RESET}
    for talk in others:
        converse(rig, talk.plain(), talk)
    assert rig.slot[Field.ACTIVE] == len(others)


def test_many_that_fail_while_their_targets_are_reached(rig: Rig) -> None:
    talks = [begin(rig, Role.S, "tcp", plain="tcp") for _ in range(150)]
    for talk in talks:
        talk.peer.sock.sendall(talk.hello())
        rig.turn()
    for talk in talks:
        talk.peer.reset()
    rig.until(lambda: all(talk.outcome.ending for talk in talks))
    assert {talk.outcome.cause for talk in talks} <= {Cause.HANDSHAKE, Cause.RESET}
    plains = [talk.plain() for talk in talks if talk.target.contacted]
    assert plains
    rig.until(lambda: all(plain.ending == RESET for plain in plains))


def test_a_plain_side_that_is_gone_when_it_gets_there(rig: Rig) -> None:
    talk = begin(rig, Role.S, "tcp", plain="tcp")
    talk.peer.write(talk.hello())
    talk.plain().reset()
    rig.until(lambda: talk.outcome.ending and talk.peer.ending)
    assert talk.outcome.ending == (Cause.RESET, "reset by the target", 0, 0)
    assert talk.peer.ending == RESET


def test_a_plain_side_that_is_lost_when_the_handshake_is_complete(rig: Rig) -> None:
    """The plane is told of both at once."""
    talk = begin(rig, Role.S, plain="tcp")
    with held_up(talk):
        talk.peer.write(talk.hello())
        plain = talk.plain()
        rig.rest()
    talk.peer.pump()
    plain.reset()
    rig.until(lambda: talk.outcome.ending and talk.peer.ending)
    assert talk.outcome.cause is Cause.RESET


def test_early_packets_wait_for_the_plain_side(rig: Rig) -> None:
    """As many as the sockets hold; nobody reads them before there is somebody to read them for."""
    talk = begin(rig, Role.S, "tcp", target=rig.network.full())
    message = data_of(500_000)
    talk.peer.write(talk.hello() + talk.seal(message))
    rig.until(lambda: len(talk.peer.received) == HANDSHAKE_BYTES)
    rig.rest()
    assert rig.slot[Field.OPENED] == 0
    talk.target.make_room()
    plain = talk.plain()
    rig.until(lambda: len(plain.received) == len(message))
    assert plain.received == message
    assert len(message) // 1024 * PACKET_BYTES < talk.peer.written


def test_the_socket_is_the_planes_once_it_has_been_handed_over(rig: Rig) -> None:
    near, far = tcp_pair()
    outcome = rig.carry(Role.S, near, rig.network.refusing())
    peer = rig.peer(far)
    if near.fileno() < 0:  # detached
        near.close()
    rig.until(lambda: len(peer.received) == 32)
    far.shutdown(socket.SHUT_WR)
    rig.until(lambda: outcome.ending)
