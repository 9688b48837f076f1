"""Whole sessions, handshake and packets, over wires that do to bytes whatever can be done to them.

Two sides are joined by two wires.  What a wire has delivered is compared with what its sender has
said: as far as both are equal, everything has to be understood at once; and of what follows,
nothing.  The sides are treated alike: no promise depends on the role.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import product

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from spiped.crypto import Backend
from spiped.crypto.sizes import MESSAGE_MAX, NONCE_BYTES, PACKET_BYTES
from spiped.errors import HandshakeError
from spiped.proto.derivation import SessionKeys, handshake_keys, session_keys
from spiped.proto.handshake import HELLO_BYTES, Role, Secrets
from spiped.proto.packets import Opener, Sealer
from tests.net.rig import data_of
from tests.proto.conftest import Maker

HANDSHAKE = NONCE_BYTES + HELLO_BYTES
STREAM = data_of(1 << 16)  # what each side writes is a beginning of this

bounded = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def number(name: str) -> bytes:
    """A random number that is always the same."""
    return hashlib.sha256(name.encode()).digest()


class Wire:
    """One direction: what has been said, what is under way, and what has come out of it."""

    def __init__(self) -> None:
        self.said = bytearray()
        self.under_way = bytearray()
        self.delivered = bytearray()

    def put(self, data: bytes) -> None:
        self.said += data
        self.under_way += data

    def take(self, length: int) -> bytes:
        data = bytes(self.under_way[:length])
        del self.under_way[:length]
        self.delivered += data
        return data

    @property
    def good(self) -> int:
        """How many bytes have come out as they were said."""
        length = min(len(self.said), len(self.delivered))
        pairs = zip(self.said[:length], self.delivered, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), length)


class Side:
    """A handshake machine, followed by a sealer and an opener."""

    def __init__(self, maker: Maker, role: Role, name: str, key: bytes, weak: bool) -> None:
        self._crypto = maker.crypto
        self._role = role
        x = None if weak else bytearray(number(f"x {name}"))
        nonce = number(f"nonce {name}")
        self.machine = maker.make(maker.crypto, role, key, Secrets(nonce, x), require_pfs=False)
        self.refused = False
        self.sealer: Sealer | None = None
        self.opener: Opener | None = None
        self.written = 0
        self.ends: list[int] = []  # of what was written, by packet
        self.received = b""
        self.out = Wire()

    @property
    def over(self) -> bool:
        """It takes nothing any more."""
        return self.refused or (self.opener is not None and self.opener.fault is not None)

    def go_on(self) -> None:
        """Compute what is due, and say what there is to be said."""
        while self.sealer is None and not self.refused:
            self.out.put(self.machine.data_to_send())
            if self.machine.computing:
                self.machine.compute()
            elif self.machine.wanted:
                return
            else:
                self._begin(self.machine.take_keys())

    def _begin(self, keys: SessionKeys) -> None:
        ours, peers = keys[:2], keys[2:]
        if self._role is Role.S:
            ours, peers = peers, ours
        self.sealer, self.opener = Sealer(self._crypto, *ours), Opener(self._crypto, *peers)

    def write(self, length: int) -> None:
        if self.sealer is None or self.written + length > len(STREAM):
            return
        self.out.put(self.sealer.seal(STREAM[self.written : self.written + length]))
        while length > 0:
            self.written += min(length, MESSAGE_MAX)
            length -= MESSAGE_MAX
            self.ends.append(self.written)

    def hear(self, wire: Wire, length: int) -> None:
        """Take what comes out of a wire, in one piece as far as the machine wants."""
        while length > 0 and wire.under_way and not self.over:
            if self.opener is not None:
                self.received += self.opener.open(wire.take(length))
                return
            size = min(length, self.machine.wanted)
            length -= size
            try:
                self.machine.receive(wire.take(size))
            except HandshakeError:
                self.refused = True
            self.go_on()


def other_session(maker: Maker, key: bytes) -> bytes:
    """What the client of another session under the same key says."""
    sides = [Side(maker, role, f"other {role.name}", key, weak=True) for role in Role]
    for side in sides:
        side.go_on()
    for _ in range(3):
        for side, peer in (sides, sides[::-1]):
            side.hear(peer.out, HANDSHAKE)
    sides[0].write(3 * MESSAGE_MAX)
    return bytes(sides[0].out.said)


def flip(wire: bytearray, place: int, length: int, foreign: bytes) -> None:
    if place < len(wire):
        wire[place] ^= 1 << length % 8


def delete(wire: bytearray, place: int, length: int, foreign: bytes) -> None:
    del wire[place : place + length]


def truncate(wire: bytearray, place: int, length: int, foreign: bytes) -> None:
    del wire[place:]


def repeat(wire: bytearray, place: int, length: int, foreign: bytes) -> None:
    wire[place:place] = wire[place : place + length]


def exchange(wire: bytearray, place: int, length: int, foreign: bytes) -> None:
    """A piece with the one behind it."""
    middle, end = place + length, place + 2 * length
    wire[place:end] = wire[middle:end] + wire[place:middle]


def insert(wire: bytearray, place: int, length: int, foreign: bytes) -> None:
    wire[place:place] = foreign[:length]


def replace(wire: bytearray, place: int, length: int, foreign: bytes) -> None:
    wire[place : place + length] = foreign[:length]


CHANGES = [flip, delete, truncate, repeat, exchange, insert, replace]

Change = Callable[[bytearray, int, int, bytes], None]

which = st.integers(0, 1)
pieces = [1, NONCE_BYTES, HELLO_BYTES, MESSAGE_MAX, PACKET_BYTES, 2 * PACKET_BYTES]
sizes = st.one_of(st.sampled_from(pieces), st.integers(1, 3 * PACKET_BYTES))
bounds = [
    0,
    NONCE_BYTES,
    HANDSHAKE,
    *(HANDSHAKE * i + PACKET_BYTES * n for i in (0, 1) for n in (1, 2)),
]
places = st.one_of(st.sampled_from(bounds), st.integers(0, 4 * PACKET_BYTES))


class Session(RuleBasedStateMachine):
    """See above; `maker` is given by the test."""

    maker: Maker
    others: bytes

    @initialize(
        same_key=st.sampled_from([True] * 9 + [False]),
        weak=st.tuples(st.booleans(), st.booleans()),
        at_once=st.booleans(),
        meddling=st.booleans(),
    )
    def begin(self, same_key: bool, weak: tuple[bool, bool], at_once: bool, meddling: bool) -> None:
        keys = number("K"), number("K" if same_key else "another K")
        strong_is_slow = self.maker.crypto.__name__.endswith("pure")
        self.same_key = same_key
        self.meddling = meddling
        self.sides = [
            Side(self.maker, role, role.name, key, strong_is_slow or is_weak)
            for role, key, is_weak in zip(Role, keys, weak, strict=True)
        ]
        for side in self.sides:
            side.go_on()
        if at_once:
            self.move_all()

    def wire(self, i: int) -> Wire:
        """From side i to the other."""
        return self.sides[i].out

    @rule(i=which, lengths=st.lists(sizes, min_size=1, max_size=4))
    def write(self, i: int, lengths: list[int]) -> None:
        for length in lengths:
            self.sides[i].write(length)

    @rule(i=which, length=sizes)
    def move(self, i: int, length: int) -> None:
        self.sides[not i].hear(self.wire(i), length)

    @rule()
    def move_all(self) -> None:
        moved = True
        while moved:
            moved = False
            for i in (0, 1):
                before = len(self.wire(i).delivered)
                self.move(i, 1 << 20)
                moved |= len(self.wire(i).delivered) > before

    @precondition(lambda self: self.meddling)
    @rule(
        i=which,
        change=st.sampled_from(CHANGES),
        place=places,
        length=sizes,
        whose=st.sampled_from(["junk", "another session's", "the listener's", "the speaker's"]),
        start=places,
    )
    def meddle(
        self, i: int, change: Change, place: int, length: int, whose: str, start: int
    ) -> None:
        foreign = {
            "junk": STREAM,
            "another session's": self.others,
            "the listener's": self.wire(1 - i).said,
            "the speaker's": self.wire(i).said,
        }[whose]
        change(self.wire(i).under_way, place, length, bytes(foreign[start:]))

    def may_believe(self, i: int) -> bool:
        """Side i has good reason to take the other for one that holds the key."""
        return (
            self.same_key
            and self.wire(1 - i).good >= HANDSHAKE
            and self.wire(i).delivered[:NONCE_BYTES] == self.wire(i).said[:NONCE_BYTES]
        )

    @invariant()
    def what_is_good_and_nothing_else_is_understood(self) -> None:
        for i, side in enumerate(self.sides):
            wire, peer = self.wire(1 - i), self.sides[not i]
            heard = len(wire.delivered)
            believes = self.may_believe(i)
            assert (side.opener is not None) == believes
            assert side.refused == (heard >= HANDSHAKE and not believes)
            intact = max(wire.good - HANDSHAKE, 0) // PACKET_BYTES if believes else 0
            assert side.received == STREAM[: peer.ends[intact - 1] if intact else 0]
            if side.opener is not None:
                whole = (heard - HANDSHAKE) // PACKET_BYTES
                assert (side.opener.fault is not None) == (whole > intact)
                assert side.opener.number == intact
                assert side.opener.inside_packet == ((heard - HANDSHAKE) % PACKET_BYTES > 0)

    def teardown(self) -> None:
        """In the end everything arrives, unless somebody has meddled with it."""
        self.move_all()
        self.what_is_good_and_nothing_else_is_understood()
        if self.same_key and all(side.out.said == side.out.delivered for side in self.sides):
            for side, peer in (self.sides, self.sides[::-1]):
                assert side.received == STREAM[: peer.written]


def test_what_arrives_as_it_was_said_is_understood_and_nothing_else(maker: Maker) -> None:
    class SessionOfMaker(Session):
        pass

    SessionOfMaker.maker = maker
    SessionOfMaker.others = other_session(maker, number("K"))
    run_state_machine_as_test(SessionOfMaker, settings=bounded)


# One change to an otherwise undisturbed session


@settings(bounded, max_examples=400)
@given(
    change=st.sampled_from(CHANGES),
    victim=which,
    place=st.one_of(st.sampled_from(bounds), st.integers(0, HANDSHAKE), places),
    length=sizes,
    reflected=st.booleans(),
    cuts=st.lists(sizes, min_size=1, max_size=5),
)
@example(flip, 0, HANDSHAKE - 5, 1, False, [PACKET_BYTES])
@example(replace, 1, NONCE_BYTES, HELLO_BYTES, True, [PACKET_BYTES])
@example(exchange, 1, HANDSHAKE, PACKET_BYTES, False, [PACKET_BYTES])
def test_any_one_change_delivers_exactly_what_came_before_it(
    maker: Maker,
    change: Change,
    victim: int,
    place: int,
    length: int,
    reflected: bool,
    cuts: list[int],
) -> None:
    """In either role: the change befalls what side `victim` says."""
    sides = [Side(maker, role, role.name, number("K"), weak=True) for role in Role]
    for side in sides:
        side.go_on()
    changed = False
    moved = True
    while moved:
        before = [len(side.out.delivered) for side in sides]
        for i, side in enumerate(sides):
            wire = side.out
            start = place - len(wire.delivered)
            if i == victim and not changed and 0 <= start < len(wire.under_way):
                foreign = bytes(sides[not i].out.said[place:]) if reflected else STREAM
                change(wire.under_way, start, length, foreign)
                changed = True
            for size in cuts:  # not beyond what is to be changed
                limit = place - len(wire.delivered) if i == victim and not changed else size
                sides[not i].hear(wire, min(size, limit))
            if side.sealer is not None and len(side.ends) < 4:
                side.write(MESSAGE_MAX - len(side.ends))
        moved = before != [len(side.out.delivered) for side in sides]
    speaker, listener = sides[victim], sides[not victim]
    good = speaker.out.good
    intact = max(good - HANDSHAKE, 0) // PACKET_BYTES
    assert listener.received == STREAM[: speaker.ends[intact - 1] if intact else 0]
    if good < min(len(speaker.out.said), len(speaker.out.delivered)) and listener.opener:
        assert (listener.opener.fault is not None) == (
            len(speaker.out.delivered) >= HANDSHAKE + (intact + 1) * PACKET_BYTES
        )
    if good >= HANDSHAKE:  # the other direction does not suffer
        assert speaker.received == STREAM[: listener.written]


# Keys


def test_keys_agree_if_and_only_if_everything_that_they_are_made_of_does(crypto: Backend) -> None:
    values = [number("a"), number("b")]
    ys = [bytes(255) + b"\1", bytes(255) + b"\2"]
    seen: dict[bytes, tuple[bytes, ...]] = {}
    for made_of in product(values, values, values, ys):
        K, nonce_C, nonce_S, y = made_of
        again = session_keys(crypto, K, nonce_C, nonce_S, y)
        assert list(session_keys(crypto, K, nonce_C, nonce_S, y)) == list(again)
        for key in again:
            assert seen.setdefault(bytes(key), made_of) == made_of
        for key in handshake_keys(crypto, K, nonce_C, nonce_S):
            assert seen.setdefault(bytes(key), made_of)[:3] == made_of[:3]
    assert len(seen) == 16 * 4 + 8 * 2
