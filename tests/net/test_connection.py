"""From an accepted socket to an established connection, or to the reason why there is none."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from spiped.crypto.sizes import PACKET_BYTES
from spiped.net.address import SocketAddress
from spiped.observe.slot import Field
from spiped.plane.diagnosis import LEFT_TEXTS, SLOW_TEXTS
from spiped.plane.ending import Cause
from spiped.proto.handshake import Role
from spiped.proto.terms import Heard
from tests.net.network import inheritable, opposite_end
from tests.net.rig import END, FOREVER, PAIRS, RESET, Outcome, Peer, Rig
from tests.net.test_sockets import is_tuned
from tests.net.voice import HANDSHAKE_BYTES, Voice, begin, converse, held_up

in_both_roles = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)


class Attempt:
    """A connection that is being made, and who wanted it."""

    def __init__(
        self,
        rig: Rig,
        role: Role,
        target: SocketAddress,
        timeout: float = FOREVER,
        transport: str = "tcp",
        keepalive: bool = True,
    ) -> None:
        theirs, accepted = PAIRS[transport]()
        self.outcome: Outcome = rig.carry(
            role, accepted, target, timeout=timeout, keepalive=keepalive
        )
        self.peer: Peer = rig.peer(theirs)


def voice_of(rig: Rig, role: Role, peer: Peer) -> Voice:
    """Speak for the peer of a connection in this role."""
    voice = Voice(rig, role, peer)
    voice.wait_for_nonce()
    return voice


# It succeeds


def test_an_encrypting_end_connects_and_relays(rig: Rig) -> None:
    target = rig.network.target()
    made = Attempt(rig, Role.C, target.address)
    voice = voice_of(rig, Role.C, rig.accept(target))
    voice.peer.write(voice.hello())
    converse(rig, made.peer, voice)
    assert rig.established == 1


def test_a_decrypting_end_connects_and_relays(rig: Rig) -> None:
    target = rig.network.target()
    made = Attempt(rig, Role.S, target.address)
    voice = voice_of(rig, Role.S, made.peer)
    made.peer.write(voice.hello())
    converse(rig, rig.accept(target), voice)
    assert rig.established == 1


def test_two_connections_make_a_pipe(rig: Rig) -> None:
    """In its whole length, with forward secrecy: client, C, S, target."""
    middle, end = rig.network.target(), rig.network.target()
    client, accepted = PAIRS["tcp"]()
    C = rig.carry(Role.C, accepted, middle.address, weak=False)
    S = rig.carry(Role.S, rig.take(middle), end.address, weak=False)
    peer, target = rig.peer(client), rig.accept(end)
    rig.until(lambda: rig.established == 2)
    peer.write(b"to the target")
    target.write(b"to the client")
    peer.finish()
    target.finish()
    rig.until(lambda: C.ending and S.ending and peer.ending and target.ending)
    assert target.received == b"to the target"
    assert peer.received == b"to the client"
    assert C.ending == (Cause.CLEAN, "", 13, 13)
    assert S.ending == (Cause.CLEAN, "", 13, 13)


def test_what_a_client_says_and_ends_early_is_kept_for_later(rig: Rig) -> None:
    """It is delivered when the connection is established, its end included."""
    target = rig.network.target()
    made = Attempt(rig, Role.C, target.address)
    made.peer.write(b"impatient")
    made.peer.finish()
    voice = voice_of(rig, Role.C, rig.accept(target))
    rig.rest()
    assert made.outcome.ending is None
    voice.peer.write(voice.hello())
    rig.until(lambda: voice.peer.ending)
    assert voice.opened() == b"impatient"
    assert voice.peer.ending == END


def test_a_unix_client_that_has_gone_is_still_served(rig: Rig) -> None:
    """It has said all that it wanted to say."""
    target = rig.network.target()
    made = Attempt(rig, Role.C, target.address, transport="unix")
    made.peer.sock.sendall(b"goodbye")
    made.peer.close()
    voice = voice_of(rig, Role.C, rig.accept(target))
    rig.rest()
    voice.peer.write(voice.hello())
    rig.until(lambda: voice.peer.ending and made.outcome.ending)
    assert voice.opened() == b"goodbye"
    assert made.outcome.ending == (Cause.CLEAN, "", 7, 0)


def test_the_time_limit_is_over_once_data_flows(rig: Rig) -> None:
    target = rig.network.target()
    made = Attempt(rig, Role.C, target.address, timeout=0.5)
    voice = voice_of(rig, Role.C, rig.accept(target))
    voice.peer.write(voice.hello())
    converse(rig, made.peer, voice)
    rig.turn(0.6)
    made.peer.write(b"!")
    rig.until(lambda: len(voice.peer.received) == HANDSHAKE_BYTES + 2 * PACKET_BYTES)
    assert made.outcome.ending is None


@in_both_roles
def test_a_connection_that_carries_nothing_for_too_long_is_reset(rig: Rig, role: Role) -> None:
    half = rig.half(role, idle_timeout=0.5)
    other = rig.half(role)
    for _ in range(8):  # something is carried, now and then, for longer than that
        rig.turn(0.1)
        count = len(half.plain.received)
        half.write(b"!")
        rig.until(lambda count=count: len(half.plain.received) > count)
    assert half.outcome.ending is None
    rig.until(lambda: half.ended() and half.plain.ending and half.crypt.ending)
    assert half.outcome.ending == (Cause.IDLE, "", 0, 8)
    assert (half.plain.ending, half.crypt.ending) == (RESET, RESET)
    other.write(b"others go on")
    rig.until(lambda: other.plain.received == b"others go on")


def test_the_rest_of_a_failure_is_delivered_in_its_own_time(rig: Rig) -> None:
    """Which may be longer than silence may be; and the failure is told, not the silence."""
    half = rig.half(Role.S, buffers=1 << 16, idle_timeout=0.2, timeout=1.5)
    half.plain.reading = False
    half.write(bytes(150_000))  # more than the target takes, less than what there is room for
    half.crypt.write(bytes(PACKET_BYTES))
    rig.until(lambda: half.crypt.idle or half.ended())
    rig.until(half.ended)
    assert half.outcome.cause is Cause.PACKET


@in_both_roles
@pytest.mark.parametrize("transport", list(PAIRS))
@pytest.mark.parametrize("keepalive", [True, False])
def test_what_is_connected_is_ready_for_use(
    rig: Rig, role: Role, transport: str, keepalive: bool
) -> None:
    """Non-blocking, not inherited by programs, tuned."""
    before = inheritable()
    target = rig.network.target(transport)
    made = Attempt(rig, role, target.address, keepalive=keepalive)
    if role is Role.S:
        made.peer.write(voice_of(rig, role, made.peer).hello())
    far = rig.accept(target)
    assert inheritable() == before
    with opposite_end(far.sock) as planes:
        assert not os.get_blocking(planes.fileno())
        assert is_tuned(planes, keepalive)


@in_both_roles
def test_a_connection_is_counted_from_beginning_to_end(rig: Rig, role: Role) -> None:
    talk = begin(rig, role)
    assert rig.slot[Field.ACTIVE] == 1
    assert rig.slot[Field.ESTABLISHED] == 0
    talk.peer.write(talk.hello())
    converse(rig, talk.plain(), talk)
    assert rig.slot[Field.ACTIVE] == 1
    assert rig.slot[Field.ESTABLISHED] == 1
    active: list[int] = []
    talk.outcome.when_ended = lambda: active.append(rig.slot[Field.ACTIVE])
    talk.peer.finish()
    talk.plain().finish()
    rig.until(lambda: talk.outcome.ending)
    assert active == [0], "whoever is told that the last has ended may leave"
    assert rig.slot[Field.ESTABLISHED] == 1
    assert rig.slot[Field.ACCEPTED] == 0, "somebody else has accepted it"
    assert (rig.slot[Field.SEALED], rig.slot[Field.OPENED]) == (9, 9)


@in_both_roles
def test_a_connection_that_fails_early_is_not_counted_any_more(rig: Rig, role: Role) -> None:
    talk = begin(rig, role)
    active: list[int] = []
    talk.outcome.when_ended = lambda: active.append(rig.slot[Field.ACTIVE])
    talk.peer.close()
    rig.until(lambda: talk.outcome.ending)
    assert active == [0]
    assert rig.slot[Field.ESTABLISHED] == 0


# Strangers


def test_the_target_is_not_contacted_before_the_peer_is_authentic(rig: Rig) -> None:
    target = rig.network.target()
    made = Attempt(rig, Role.S, target.address)
    hello = voice_of(rig, Role.S, made.peer).hello()
    made.peer.write(hello[:-1])
    rig.rest()
    assert not target.contacted
    made.peer.write(hello[-1:])
    rig.accept(target)


@pytest.mark.parametrize("garbage", [False, True], ids=["wrong key", "garbage"])
def test_the_target_is_never_contacted_for_a_stranger(rig: Rig, garbage: bool) -> None:
    target = rig.network.target()
    made = Attempt(rig, Role.S, target.address)
    voice = voice_of(rig, Role.S, made.peer)
    made.peer.write(os.urandom(HANDSHAKE_BYTES) if garbage else voice.hello(key=bytes(32)))
    rig.until(lambda: made.outcome.ending and made.peer.ending)
    assert made.outcome.ending == (Cause.HANDSHAKE, "the client does not hold the key", 0, 0)
    assert made.peer.ending == RESET
    rig.rest()
    assert not target.contacted


# Failures before it is established


@pytest.mark.parametrize("stage", ["connecting", "shaking hands"])
def test_a_client_that_is_reset_early_is_noticed_at_once(rig: Rig, stage: str) -> None:
    target = rig.network.target()
    address = rig.network.silent() if stage == "connecting" else target.address
    made = Attempt(rig, Role.C, address)
    far = None if stage == "connecting" else rig.accept(target)
    rig.rest()
    assert made.outcome.ending is None
    made.peer.reset()
    rig.until(lambda: made.outcome.ending and (far is None or far.ending))
    assert made.outcome.ending == (Cause.LEFT, "", 0, 0)
    assert far is None or far.ending == RESET


def test_a_client_that_is_reset_while_the_target_has_no_room_is_noticed_at_once(rig: Rig) -> None:
    target = rig.network.full()
    made = Attempt(rig, Role.C, target.address)
    rig.rest()
    made.peer.reset()
    rig.until(lambda: made.outcome.ending)
    assert made.outcome.ending == (Cause.LEFT, "", 0, 0)
    target.make_room()
    rig.rest()
    assert not target.contacted


def test_a_peer_that_is_reset_while_its_target_is_reached_is_noticed_at_once(rig: Rig) -> None:
    made = Attempt(rig, Role.S, rig.network.silent())
    voice = voice_of(rig, Role.S, made.peer)
    made.peer.write(voice.hello())
    rig.until(lambda: len(made.peer.received) == HANDSHAKE_BYTES)
    rig.rest()
    assert made.outcome.ending is None
    made.peer.reset()
    rig.until(lambda: made.outcome.ending)
    left = LEFT_TEXTS[Role.S, Heard.PROOF]
    assert made.outcome.ending == (Cause.HANDSHAKE, left, 0, 0)


def test_a_target_that_is_reset_while_the_handshake_goes_on_is_noticed_at_once(rig: Rig) -> None:
    talk = begin(rig, Role.S, plain="tcp")
    with held_up(talk):
        talk.peer.write(talk.hello())
        plain = talk.plain()
        rig.rest()
        assert talk.outcome.ending is None
        plain.reset()
        rig.until(lambda: talk.outcome.ending)
    assert talk.outcome.ending == (Cause.RESET, "reset by the target", 0, 0)
    rig.until(lambda: talk.peer.ending)


def test_what_a_target_says_and_ends_early_is_kept_for_later(rig: Rig) -> None:
    """Also if it is a UNIX socket, and gone when the handshake is complete."""
    for transport in PAIRS:
        talk = begin(rig, Role.S, plain=transport)
        with held_up(talk) as junk:
            talk.peer.write(talk.hello())
            plain = talk.plain()
            plain.sock.sendall(b"welcome")
            plain.sock.shutdown(socket.SHUT_WR)
            if transport == "unix":
                plain.close()
            rig.rest()
            assert talk.outcome.ending is None
        rig.until(lambda talk=talk: talk.peer.ending)
        del talk.peer.received[32 : 32 + junk]
        assert talk.opened() == b"welcome"
        assert talk.peer.ending == END


@in_both_roles
def test_a_target_that_refuses_resets_who_wanted_it(rig: Rig, role: Role) -> None:
    address = rig.network.refusing()
    made = Attempt(rig, role, address)
    if role is Role.S:
        made.peer.write(voice_of(rig, role, made.peer).hello())
    rig.until(lambda: made.outcome.ending and made.peer.ending)
    reason = os.strerror(errno.ECONNREFUSED)
    assert made.outcome.ending == (Cause.CONNECT, f"{address}: {reason}", 0, 0)
    assert made.peer.ending == RESET


@in_both_roles
@pytest.mark.parametrize(
    ("length", "heard"),
    [(0, Heard.NOTHING), (31, Heard.SOMETHING), (32, Heard.NONCE), (319, Heard.NONCE)],
)
def test_a_peer_that_says_too_little_is_given_up(
    rig: Rig, role: Role, length: int, heard: Heard
) -> None:
    talk = begin(rig, role, "tcp", plain="tcp", timeout=0.5)
    talk.peer.write(talk.hello()[:length])
    rig.until(lambda: talk.outcome.ending and talk.peer.ending)
    assert talk.outcome.ending == (Cause.HANDSHAKE_TIMEOUT, SLOW_TEXTS[role, heard], 0, 0)
    assert talk.peer.ending == RESET
    assert not talk.trusted
    if role is Role.C:
        client = talk.plain()
        rig.until(lambda: client.ending == RESET)


@in_both_roles
def test_a_target_that_does_not_answer_is_given_up(rig: Rig, role: Role) -> None:
    address = rig.network.silent()
    made = Attempt(rig, role, address, timeout=0.5)
    if role is Role.S:
        made.peer.write(voice_of(rig, role, made.peer).hello())
    rig.until(lambda: made.outcome.ending and made.peer.ending)
    assert made.outcome.ending == (Cause.CONNECT_TIMEOUT, str(address), 0, 0)
    assert made.peer.ending == RESET


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 10])
def test_abort_all_ends_connections_in_every_state(rig: Rig, turns: int) -> None:
    refusing, silent, full = rig.network.refusing(), rig.network.silent(), rig.network.full()
    made = [Attempt(rig, Role.C, address) for address in (silent, full.address)]
    talks = [
        begin(rig, role, "tcp", plain="tcp", weak=weak, address=address)
        for role, weak, address in (
            (Role.C, True, None),
            (Role.C, False, None),
            (Role.S, True, None),
            (Role.S, False, None),
            (Role.S, True, silent),
            (Role.S, True, full.address),
        )
    ]
    for talk in talks:
        talk.peer.sock.sendall(talk.hello())
    for _ in range(turns):
        rig.turn()
    made += [Attempt(rig, role, refusing) for role in Role]
    rig.plane.abort_all()
    outcomes = [each.outcome for each in (*made, *talks)]
    assert {outcome.ending for outcome in outcomes} == {(Cause.SHUTDOWN, "", 0, 0)}
    assert rig.slot[Field.ACTIVE] == 0
    rig.until(lambda: all(peer.ending == RESET for peer in rig.peers))
    full.make_room()
    rig.rest()  # an Outcome that is called again fails
    assert not full.contacted
