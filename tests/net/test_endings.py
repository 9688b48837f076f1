"""How connections end: the reason, counted once, and the words for it, on every data plane."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from itertools import product

import pytest

from spiped.crypto.sizes import PACKET_BYTES
from spiped.net.sockets import close_with_reset
from spiped.observe.slot import Field
from spiped.plane import ending as ending_module
from spiped.plane.diagnosis import LEFT_TEXTS, NOT_SERVED, PLAIN_TEXTS, SLOW_TEXTS, describe, tell
from spiped.plane.ending import Cause, Ending, Reason
from spiped.plane.limits import Limits
from spiped.proto.handshake import P_BYTES, Role
from spiped.proto.terms import CRYPT, PLAIN, Heard
from tests.net.rig import Half, Outcome, Peer, Rig, tcp_pair, unix_pair
from tests.net.test_accepting import Server, greeted
from tests.net.voice import HANDSHAKE_BYTES, NONCE, Talk, Voice, begin, held_up

in_both_roles = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)

# How much of its part of the handshake a peer says, for us to have heard that of it
SAID = {
    Heard.NOTHING: 0,
    Heard.SOMETHING: len(NONCE) - 1,
    Heard.NONCE: HANDSHAKE_BYTES - 1,
    Heard.PROOF: HANDSHAKE_BYTES,
}

# Ways to leave
WAYS: dict[str, Callable[[Peer], None]] = {
    "end": Peer.finish,
    "close": Peer.close,
    "reset": Peer.reset,
}


def by_key(key: object) -> str:
    return key.name if isinstance(key, Role | Heard) else str(key)


def counts(rig: Rig) -> dict[Reason, int]:
    return {reason: rig.slot[reason.counter] for reason in Reason}


def said(rig: Rig, talk: Talk, length: int) -> Talk:
    """The peer has said so much, and the plane has heard it."""
    talk.peer.write(talk.hello()[:length])
    rig.until(lambda: talk.peer.idle)
    rig.rest()
    return talk


def reason_of(rig: Rig, outcome: Outcome) -> Reason | None:
    rig.until(lambda: outcome.ending)
    return outcome.reason


# Every reason


def carried(rig: Rig, *targets: object, **options: object) -> Reason | None:
    client, accepted = unix_pair()
    rig.peer(client)
    return reason_of(rig, rig.carry(Role.C, accepted, *targets, **options))  # type: ignore[arg-type]


def clean(rig: Rig) -> Reason | None:
    half = rig.half()
    half.plain.finish()
    half.crypt.finish()
    return reason_of(rig, half.outcome)


def plain_lost(rig: Rig) -> Reason | None:
    talk = begin(rig, Role.S, plain="tcp")
    with held_up(talk):
        talk.peer.write(talk.hello())
        plain = talk.plain()
        rig.rest()
        plain.reset()
        return reason_of(rig, talk.outcome)


def refused(**hello: bytes) -> Callable[[Rig], Reason | None]:
    def provoke(rig: Rig) -> Reason | None:
        talk = begin(rig, Role.S, require_pfs=True)
        talk.peer.write(talk.hello(**hello))
        return reason_of(rig, talk.outcome)

    return provoke


def gone(how: str, length: int) -> Callable[[Rig], Reason | None]:
    def provoke(rig: Rig) -> Reason | None:
        talk = said(rig, begin(rig, Role.S, "tcp"), length)
        WAYS[how](talk.peer)
        return reason_of(rig, talk.outcome)

    return provoke


def too_slow(rig: Rig) -> Reason | None:
    return reason_of(rig, begin(rig, Role.S, timeout=0.2).outcome)


def excess(**limits: int) -> Callable[[Rig], Reason | None]:
    def provoke(rig: Rig) -> Reason | None:
        server = Server(rig, limits=Limits(connections=0, **limits))
        first = server.client()
        rig.until(lambda: greeted(first))
        server.client()
        rig.until(lambda: server.told)
        return server.reasons[0]

    return provoke


def bad(packet: Callable[[Rig, Half], bytes]) -> Callable[[Rig], Reason | None]:
    def provoke(rig: Rig) -> Reason | None:
        half = rig.half()
        half.crypt.write(packet(rig, half))
        half.crypt.finish()
        return reason_of(rig, half.outcome)

    return provoke


def lost_later(rig: Rig) -> Reason | None:
    half = rig.half()
    half.plain.reset()
    return reason_of(rig, half.outcome)


def aborted(rig: Rig) -> Reason | None:
    talk = begin(rig, Role.S)
    rig.plane.abort_all()
    return reason_of(rig, talk.outcome)


def same_role(rig: Rig) -> Reason | None:
    talk = begin(rig, Role.C)
    talk.peer.write(talk.hello_of_another_client())
    return reason_of(rig, talk.outcome)


PROVOKE: dict[Reason, Callable[[Rig], Reason | None]] = {
    Reason.CLEAN: clean,
    Reason.UNREACHED: lambda rig: carried(rig, rig.network.refusing()),
    Reason.UNANSWERED: lambda rig: carried(rig, rig.network.silent(), timeout=0.2),
    Reason.PLAIN_LOST: plain_lost,
    Reason.NO_KEY: refused(key=bytes(32)),
    Reason.OUT_OF_RANGE: refused(y=P_BYTES),
    Reason.NO_PFS: refused(),
    Reason.CLOSED: gone("end", 1),
    Reason.LOST: gone("reset", 1),
    Reason.TOO_SLOW: too_slow,
    Reason.SHED: excess(unauthenticated=1),
    Reason.TOO_MANY: excess(unauthenticated_per_source=1),
    Reason.BAD_TAG: bad(lambda rig, half: bytes(PACKET_BYTES)),
    Reason.BAD_LENGTH: bad(lambda rig, half: half.forge_length(rig.crypto, 0)),
    Reason.TRUNCATED: bad(lambda rig, half: half.sealer.seal(b"cut")[:-1]),
    Reason.SOCKET_ERROR: lost_later,
    Reason.IDLE: lambda rig: reason_of(rig, rig.half(idle_timeout=0.2).outcome),
    Reason.ABORTED: aborted,
    Reason.LEFT: gone("reset", 0),
    Reason.SAME_ROLE: same_role,
}


# Reason.OVERLOAD is told of no connection: see test_accepting.py; KILLED: test_table.py; SHORTAGE:
# test_connect.py
@pytest.mark.parametrize("reason", PROVOKE, ids=lambda reason: reason.name)
def test_every_end_is_counted_once_by_its_reason(rig: Rig, reason: Reason) -> None:
    assert PROVOKE[reason](rig) is reason
    rig.rest()
    assert counts(rig) == {each: int(each is reason) for each in Reason}


def test_every_reason_has_a_way_to_it() -> None:
    assert set(PROVOKE) == set(Reason) - {Reason.OVERLOAD, Reason.KILLED, Reason.SHORTAGE}


def test_ends_of_many_kinds_are_counted_each_by_its_reason(rig: Rig) -> None:
    """One after the other, on the same plane."""
    many = [Reason.LEFT, Reason.CLEAN, Reason.NO_KEY, Reason.LEFT, Reason.BAD_TAG, Reason.LEFT]
    for reason in many:
        assert PROVOKE[reason](rig) is reason
    assert counts(rig) == {each: many.count(each) for each in Reason}


# Whoever connects and leaves without a byte has only looked whether somebody listens


@pytest.mark.parametrize(
    ("transport", "how", "reads"),
    [
        ("tcp", "end", True),
        ("tcp", "close", True),
        ("tcp", "close", False),  # with our nonce unread, which resets
        ("tcp", "reset", True),
        ("unix", "end", True),
        ("unix", "close", True),
        ("unix", "close", False),
    ],
)
def test_who_leaves_a_decrypting_end_without_a_byte_has_not_failed(
    rig: Rig, transport: str, how: str, reads: bool
) -> None:
    near, accepted = rig.network.pair(transport)
    target = rig.network.target()
    outcome = rig.carry(Role.S, accepted, target.address)
    peer = rig.peer(near)
    peer.reading = reads
    rig.rest()
    assert outcome.ending is None
    WAYS[how](peer)
    assert reason_of(rig, outcome) is Reason.LEFT
    assert outcome.ending == (Cause.LEFT, "", 0, 0)
    assert counts(rig)[Reason.LEFT] == 1
    assert not target.contacted


@pytest.mark.parametrize("said_before", [0, 1], ids=["no byte", "a byte"])
@pytest.mark.parametrize("stage", ["connecting", "shaking hands"])
def test_who_resets_an_encrypting_end_before_it_is_served_has_not_failed(
    rig: Rig, stage: str, said_before: int
) -> None:
    """What it has said nobody has begun to read."""
    client, accepted = tcp_pair()
    target = rig.network.target()
    address = rig.network.silent() if stage == "connecting" else target.address
    outcome = rig.carry(Role.C, accepted, address)
    if stage == "shaking hands":
        far = rig.accept(target)
        rig.until(lambda: len(far.received) == len(NONCE))
    client.sendall(b"?" * said_before)
    peer = rig.peer(client)
    rig.rest()
    assert outcome.ending is None
    peer.reset()
    assert reason_of(rig, outcome) is Reason.LEFT
    assert outcome.ending == (Cause.LEFT, "", 0, 0)
    assert counts(rig)[Reason.LEFT] == 1


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_who_ends_an_encrypting_end_without_a_byte_is_served(rig: Rig, transport: str) -> None:
    """It may want to hear something: that is no way to leave."""
    near, accepted = rig.network.pair(transport)
    target = rig.network.target()
    outcome = rig.carry(Role.C, accepted, target.address)
    rig.peer(near).finish()
    talk = Talk(rig, Role.C, rig.accept(target), outcome, None, target)
    talk.wait_for_nonce()
    talk.peer.write(talk.hello())
    talk.peer.finish()
    assert reason_of(rig, outcome) is Reason.CLEAN


@pytest.mark.parametrize("length", [1, len(NONCE), HANDSHAKE_BYTES - 1])
@pytest.mark.parametrize("how", WAYS)
def test_after_a_byte_leaving_a_decrypting_end_is_a_failure(
    rig: Rig, how: str, length: int
) -> None:
    talk = said(rig, begin(rig, Role.S, "tcp"), length)
    WAYS[how](talk.peer)
    reason = reason_of(rig, talk.outcome)
    assert reason is (Reason.LOST if how == "reset" else Reason.CLOSED)
    assert talk.outcome.cause is Cause.HANDSHAKE
    assert counts(rig)[Reason.LEFT] == 0


@pytest.mark.parametrize("tells", [True, False], ids=["told", "not told"])
@pytest.mark.parametrize(
    ("role", "how"), [(Role.S, "close"), (Role.S, "reset"), (Role.C, "reset")], ids=by_key
)
def test_who_leaves_without_a_byte_is_counted_and_told_if_that_is_wanted(
    rig: Rig, role: Role, how: str, tells: bool
) -> None:
    server = Server(rig, rig.network.silent(), role=role, tell_left=tells)
    clients = server.clients(3)
    rig.until(lambda: server.accepted == 3)
    rig.rest()
    for client in clients:
        WAYS[how](client)
    rig.until(lambda: rig.slot[Field.ENDED_LEFT] == 3)
    rig.rest()
    assert [ending for _, ending in server.told] == [(Cause.LEFT, "", 0, 0)] * 3 * tells
    assert rig.slot[Field.ACTIVE] == rig.slot[Field.UNAUTHENTICATED] == 0


def test_who_leaves_makes_room_although_it_is_not_told(rig: Rig) -> None:
    server = Server(rig, limits=Limits(connections=1), tell_left=False)
    first, second = server.clients(2)
    rig.until(lambda: greeted(first))
    rig.rest()
    assert not second.received
    first.reset()
    rig.until(lambda: greeted(second))
    assert server.told == []


def test_a_failure_is_told_although_leaving_is_not(rig: Rig) -> None:
    server = Server(rig, tell_left=False)
    client = server.client()
    rig.until(lambda: greeted(client))
    client.write(b"?")
    rig.rest()
    client.reset()
    rig.until(lambda: server.told)
    assert server.reasons == [Reason.LOST]


def test_the_last_of_all_may_leave_without_being_told(rig: Rig) -> None:
    server = Server(rig, tell_left=False)
    client = server.client()
    rig.until(lambda: greeted(client))
    rig.stop_serving()
    client.reset()
    rig.until(lambda: server.drained)
    assert server.reasons == []


# Words


@pytest.mark.parametrize(("role", "heard"), SLOW_TEXTS, ids=by_key)
def test_a_slow_peer_is_told_by_what_was_heard_of_it(rig: Rig, role: Role, heard: Heard) -> None:
    talk = begin(rig, role, timeout=0.5)
    if heard is Heard.PROOF:
        with held_up(talk):  # it does not take what we have to say
            talk.peer.write(talk.hello())
            rig.until(lambda: talk.outcome.ending)
    else:
        talk.peer.write(talk.hello()[: SAID[heard]])
        rig.until(lambda: talk.outcome.ending)
    assert talk.outcome.reason is Reason.TOO_SLOW
    assert talk.outcome.ending == (Cause.HANDSHAKE_TIMEOUT, SLOW_TEXTS[role, heard], 0, 0)


# S says nothing of a peer that it has not heard: it has left
REACHABLE = [key for key in LEFT_TEXTS if key != (Role.S, Heard.NOTHING)]
LEAVING = [
    (*key, how)
    for key, how in product(REACHABLE, ("end", "reset"))
    # the next that is read is for the relay
    if (key[1], how) != (Heard.PROOF, "end")
]


@pytest.mark.parametrize(("role", "heard", "how"), LEAVING, ids=by_key)
def test_a_peer_that_leaves_is_told_by_what_was_heard_of_it(
    rig: Rig, role: Role, heard: Heard, how: str
) -> None:
    target = rig.network.full() if role is Role.S else None
    talk = said(rig, begin(rig, role, "tcp", target=target), SAID[heard])
    assert talk.outcome.ending is None
    WAYS[how](talk.peer)
    rig.until(lambda: talk.outcome.ending)
    assert talk.outcome.ending == (Cause.HANDSHAKE, LEFT_TEXTS[role, heard], 0, 0)


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("heard", [Heard.SOMETHING, Heard.NONCE], ids=by_key)
def test_an_encrypting_end_that_is_dropped_cannot_tell_why(
    rig: Rig, heard: Heard, how: str
) -> None:
    """It has one text for all that it can be."""
    talk = said(rig, begin(rig, Role.C, "tcp"), SAID[heard])
    WAYS[how](talk.peer)
    rig.until(lambda: talk.outcome.ending)
    assert talk.outcome.ending == (Cause.HANDSHAKE, NOT_SERVED, 0, 0)


def lose(rig: Rig, half: Half, how: str) -> None:
    """The peer on the encrypted side fails."""
    if how == "reset":
        half.crypt.reset()
    else:  # it has ended its stream, and answers what comes by a reset
        half.crypt.close()
        rig.until(lambda: half.plain.ending)
        half.plain.write(b"?")
    rig.until(half.ended)


@pytest.mark.parametrize("how", ["reset", "broken pipe"])
def test_an_encrypting_end_that_is_dropped_just_after_the_handshake_cannot_tell_why(
    rig: Rig, how: str
) -> None:
    """The other end found out only then that its target is down."""
    half = rig.half(Role.C)
    lose(rig, half, how)
    assert half.outcome.reason is Reason.SOCKET_ERROR
    assert half.outcome.ending is not None
    assert half.outcome.ending[:2] == (Cause.HANDSHAKE, NOT_SERVED)


@pytest.mark.parametrize(
    ("role", "side", "detail"),
    [
        (Role.C, "plain", "reset by the client"),
        (Role.S, "plain", "reset by the target"),
        (Role.S, "crypt", "reset by the client"),
    ],
    ids=by_key,
)
def test_whoever_else_resets_just_after_the_handshake_is_named(
    rig: Rig, role: Role, side: str, detail: str
) -> None:
    half = rig.half(role)
    (half.plain if side == "plain" else half.crypt).reset()
    rig.until(half.ended)
    assert half.outcome.ending == (Cause.RESET, detail, 0, 0)


@in_both_roles
@pytest.mark.parametrize("seen", [True, False], ids=["seen", "not seen"])
def test_a_target_that_resets_at_once_has_been_reached(rig: Rig, role: Role, seen: bool) -> None:
    """Whether or not we had the time to see that: it is told in the same way."""
    target = rig.network.target()
    near, accepted = unix_pair()
    outcome = rig.carry(role, accepted, target.address)
    peer = rig.peer(near)
    if role is Role.S:
        voice = Voice(rig, role, peer)
        voice.wait_for_nonce()
        near.sendall(voice.hello())
        rig.until(lambda: target.contacted, rig.turn)
    if seen:
        rig.rest()
    sock = target.take()
    assert sock is not None
    close_with_reset(sock)
    rig.until(lambda: outcome.ending)
    without_a_word = Cause.HANDSHAKE, LEFT_TEXTS[Role.C, Heard.NOTHING], 0, 0
    lost = Cause.RESET, "reset by the target", 0, 0
    assert outcome.ending == (without_a_word if role is Role.C else lost)


@pytest.mark.parametrize("served", [True, False], ids=["served", "late"])
def test_later_the_other_end_is_lost(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    """Once it has said something, or after some time, it has no reason to drop us any more."""
    if not served:
        monkeypatch.setattr(ending_module, "EARLY", 0.0)
    half = rig.half(Role.C)
    if served:
        half.write(b"!")
        rig.until(lambda: half.plain.received == b"!")
    half.crypt.reset()
    rig.until(half.ended)
    assert half.outcome.ending == (Cause.RESET, "reset by the target", 0, int(served))


def test_two_encrypting_ends_are_both_told(rig: Rig) -> None:
    """Each hears what the other says, and neither has to know whom it has connected to."""
    outcomes, peers = [], []
    for _ in range(2):
        client, accepted = unix_pair()
        rig.peer(client)
        target = rig.network.target()
        outcomes.append(rig.carry(Role.C, accepted, target.address, weak=False))
        peers.append(rig.accept(target))

    def step() -> None:
        for one, other in (peers, peers[::-1]):
            other.write(bytes(one.received))
            one.received.clear()
        rig.pump()

    rig.until(lambda: all(outcome.ending for outcome in outcomes), step)
    text = PLAIN_TEXTS[Reason.SAME_ROLE]
    assert text.startswith("the target encrypts (-e) as we do, or sends back what it is sent")
    assert [outcome.ending for outcome in outcomes] == 2 * [(Cause.HANDSHAKE, text, 0, 0)]


def test_there_are_words_for_every_fact() -> None:
    """Whatever is put together: none of the facts is left out of a template."""
    errors = (0, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT)
    for reason, role, error, side, heard in product(
        Reason, Role, errors, (None, PLAIN, CRYPT), Heard
    ):
        ending = Ending(reason, role, error, side, heard, target="there")
        detail = describe(ending)
        assert "{" not in detail
        assert tell(ending) == f"{ending.cause.value}: {detail}" if detail else ending.cause.value


@pytest.mark.parametrize(
    ("role", "side", "who"),
    [
        (Role.C, PLAIN, "client"),
        (Role.C, CRYPT, "target"),
        (Role.S, PLAIN, "target"),
        (Role.S, CRYPT, "client"),
    ],
)
def test_an_error_that_is_no_reset_is_told_as_it_is(role: Role, side: int, who: str) -> None:
    """For example of a peer that has vanished, long after the handshake."""
    ending = Ending(Reason.SOCKET_ERROR, role, errno.ETIMEDOUT, side, Heard.PROOF, seconds=60.0)
    assert ending.failed_side == who
    assert tell(ending) == f"connection lost: {who}: {os.strerror(errno.ETIMEDOUT)}"
