"""The handshake, client and server joined without sockets, by every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, product, repeat
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiped.crypto import Backend
from spiped.crypto.group14 import EXPONENT_BASE, P
from spiped.crypto.sizes import GROUP_BYTES, NONCE_BYTES
from spiped.errors import Fault, HandshakeError
from spiped.proto.derivation import handshake_keys, session_keys
from spiped.proto.handshake import (
    HELLO_BYTES,
    ONE,
    ORDER,
    P_BYTES,
    Handshake,
    Role,
    Secrets,
    Step,
    draw_secrets,
)
from spiped.proto.terms import Heard
from tests.proto.conftest import Maker
from tests.proto.machines import NativeHandshake

K = bytes(range(32))

AnyMachine = Handshake | NativeHandshake
in_both_roles = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)


def opposite(role: Role) -> Role:
    return Role.S if role is Role.C else Role.C


def secrets(role: Role, weak: bool = True) -> Secrets:
    """Random numbers that differ by role, and are always the same."""
    nonce = hashlib.sha256(b"nonce" + role.value.encode()).digest()
    x = hashlib.sha256(b"x" + role.value.encode()).digest()
    return Secrets(nonce, None if weak else bytearray(x))


def make(
    maker: Maker, role: Role, weak: bool = True, key: bytes = K, require_pfs: bool = False
) -> AnyMachine:
    return maker.make(maker.crypto, role, key, secrets(role, weak), require_pfs=require_pfs)


def pass_on(
    sender: AnyMachine, receiver: AnyMachine, wire: bytearray, sizes: Iterator[int]
) -> bool:
    """Move what can be moved from one machine to the other; returns whether that was anything."""
    out = sender.data_to_send()
    wire += out
    moved = bool(out)
    while wire and receiver.wanted:
        size = min(next(sizes), receiver.wanted, len(wire))
        receiver.receive(wire[:size])
        del wire[:size]
        moved = True
    return moved


def join(C: AnyMachine, S: AnyMachine, sizes: Callable[[], Iterator[int]] | None = None) -> None:
    """Let two machines talk, in pieces of the given sizes, until neither has anything to say."""
    to_C, to_S = (sizes() if sizes else repeat(HELLO_BYTES) for _ in range(2))
    wires = bytearray(), bytearray()
    moved = True
    while moved:
        moved = pass_on(C, S, wires[0], to_S) | pass_on(S, C, wires[1], to_C)
        for machine in (C, S):
            if machine.computing:
                machine.compute()
                moved = True
    assert wires == (b"", b"")


def expected_keys(crypto: Backend, weak_C: bool, weak_S: bool) -> list[bytes]:
    """The session's keys, by Python's own numbers."""
    C, S = secrets(Role.C, weak_C), secrets(Role.S, weak_S)
    y_SC = ONE
    if C.x is not None and S.x is not None:
        e_C, e_S = (EXPONENT_BASE + int.from_bytes(x, "big") for x in (C.x, S.x))
        y_SC = pow(2, e_C * e_S, P).to_bytes(GROUP_BYTES, "big")
    return list(session_keys(crypto, K, C.nonce, S.nonce, y_SC))


def hello(maker: Maker, role: Role, y: bytes, key: bytes = K) -> bytes:
    """What somebody in this role says who has `key` and chose y."""
    nonces = secrets(Role.C).nonce, secrets(Role.S).nonce
    dhmac_C, dhmac_S = handshake_keys(maker.crypto, key, *nonces)
    return y + maker.crypto.hmac_sha256(dhmac_C if role is Role.C else dhmac_S, y)


def listening(maker: Maker, role: Role, **options: bool) -> AnyMachine:
    """A machine that waits for its peer's y and h."""
    machine = make(maker, role, **options)
    machine.receive(secrets(opposite(role)).nonce)
    if role is Role.C:
        machine.compute()
    assert machine.wanted == HELLO_BYTES
    return machine


@contextmanager
def refused(fault: Fault) -> Iterator[None]:
    """The peer is refused, for this fault."""
    with pytest.raises(HandshakeError) as refusal:
        yield
    assert refusal.value.fault is fault


# It succeeds


@pytest.mark.parametrize(("weak_C", "weak_S"), list(product([False, True], repeat=2)))
def test_both_sides_get_the_same_keys(maker: Maker, weak_C: bool, weak_S: bool) -> None:
    C, S = make(maker, Role.C, weak_C), make(maker, Role.S, weak_S)
    join(C, S)
    expected = expected_keys(maker.crypto, weak_C, weak_S)
    assert list(C.take_keys()) == list(S.take_keys()) == expected
    assert len({bytes(key) for key in expected}) == 4


def test_messages_may_be_cut_anywhere(maker: Maker) -> None:
    for cut in range(1, HELLO_BYTES):
        C, S = make(maker, Role.C), make(maker, Role.S)
        join(C, S, lambda cut=cut: cycle((cut, HELLO_BYTES)))
        assert list(C.take_keys()) == list(S.take_keys())


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pieces=st.lists(st.integers(1, HELLO_BYTES), min_size=1, max_size=20))
def test_messages_may_come_in_any_pieces(maker: Maker, pieces: list[int]) -> None:
    C, S = make(maker, Role.C), make(maker, Role.S)
    join(C, S, lambda: cycle(pieces))
    assert list(C.take_keys()) == list(S.take_keys())


def test_machines_of_different_make_understand_each_other(maker: Maker) -> None:
    reference = Maker(Handshake, maker.crypto)
    for first, second in ((maker, reference), (reference, maker)):
        C, S = make(first, Role.C, weak=False), make(second, Role.S, weak=False)
        join(C, S)
        assert list(C.take_keys()) == list(S.take_keys())


@in_both_roles
def test_the_steps_of_a_role_come_in_its_order(maker: Maker, role: Role) -> None:
    """C commits first; S only to a peer that holds the key."""
    machine = make(maker, role)
    seen = []
    to_come = [secrets(opposite(role)).nonce, hello(maker, opposite(role), ONE)]
    said = len(machine.data_to_send())
    assert said == NONCE_BYTES, "the nonce is sent without waiting"
    for _ in range(4):
        authentic = machine.peer_is_authentic
        if machine.computing:
            assert machine.wanted == 0
            machine.compute()
            length = len(machine.data_to_send())
            seen.append("COMMIT" if length else "AGREE")
            said += length
        else:
            seen.append("NONCE" if machine.wanted == NONCE_BYTES else "PEER")
            machine.receive(to_come.pop(0))
            assert machine.data_to_send() == b""
        assert machine.peer_is_authentic == (authentic or seen[-1] == "PEER")
    assert seen == [step.name for step in ORDER[role][:-1]]
    assert (machine.wanted, machine.computing) == (0, False)
    assert said == NONCE_BYTES + HELLO_BYTES
    machine.take_keys()


def test_every_random_number_matters(maker: Maker) -> None:
    taken = set()
    for changed in ("nothing", "nonce_C", "nonce_S", "x_C", "x_S", "K"):
        key = hashlib.sha256(K).digest() if changed == "K" else K
        sides = []
        for role in (Role.C, Role.S):
            nonce, x = secrets(role, weak=False)
            assert x is not None
            if changed == f"nonce_{role.value}":
                nonce = hashlib.sha256(nonce).digest()
            if changed == f"x_{role.value}":
                x[31] ^= 1
            made = maker.make(maker.crypto, role, key, Secrets(nonce, x), require_pfs=False)
            sides.append(made)
        join(*sides)
        taken |= {bytes(key) for key in sides[0].take_keys()}
    assert len(taken) == 6 * 4


@in_both_roles
def test_any_y_below_p_is_taken(maker: Maker, role: Role) -> None:
    """Zero and p-1 as well, also where forward secrecy is required: as upstream does."""
    for y, require_pfs in product([0, 2, P - 1], [False, True]):
        machine = listening(maker, role, weak=False, require_pfs=require_pfs)
        machine.receive(hello(maker, opposite(role), y.to_bytes(GROUP_BYTES, "big")))
        while machine.computing:
            machine.compute()
        machine.take_keys()


# It fails


@in_both_roles
def test_a_wrong_key_fails_on_both_sides(maker: Maker, role: Role) -> None:
    ours = listening(maker, role)
    with refused(Fault.NO_KEY):
        ours.receive(hello(maker, opposite(role), ONE, key=bytes(32)))
    assert not ours.peer_is_authentic


@in_both_roles
def test_every_byte_of_the_message_is_protected(maker: Maker, role: Role) -> None:
    good = hello(maker, opposite(role), b"\x11" * GROUP_BYTES)
    for position in range(HELLO_BYTES):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        machine = listening(maker, role)
        with refused(Fault.NO_KEY):
            machine.receive(bad)


@in_both_roles
def test_every_byte_of_the_nonces_is_protected(maker: Maker, role: Role) -> None:
    good = hello(maker, opposite(role), ONE)
    for position in range(NONCE_BYTES):
        nonce = bytearray(secrets(opposite(role)).nonce)
        nonce[position] ^= 1 << position % 8
        machine = make(maker, role)
        machine.receive(nonce)
        if role is Role.C:
            machine.compute()
        with refused(Fault.NO_KEY):
            machine.receive(good)


@in_both_roles
def test_what_we_said_ourselves_is_refused(maker: Maker, role: Role) -> None:
    """The two directions have keys of their own: nobody can send our words back to us.

    Who says what C says holds the key, it seems, and takes itself for C.
    """
    machine = make(maker, role)
    nonce = machine.data_to_send()
    machine.receive(nonce)
    if role is Role.C:
        machine.compute()
        ours = machine.data_to_send()
    else:  # S has not said it yet, but would
        ours = ONE + maker.crypto.hmac_sha256(handshake_keys(maker.crypto, K, nonce, nonce)[1], ONE)
    with refused(Fault.SAME_ROLE if role is Role.C else Fault.NO_KEY):
        machine.receive(ours)
    assert not machine.peer_is_authentic


def two_clients(maker: Maker, *keys: bytes) -> list[AnyMachine]:
    """Machines that take themselves for C, and have had each other's nonce and committed."""
    drawn = [secrets(role) for role in Role]  # two different ones
    clients = [
        maker.make(maker.crypto, Role.C, key, secret, require_pfs=False)
        for key, secret in zip(keys, drawn, strict=True)
    ]
    nonces = [client.data_to_send() for client in clients]
    for client, nonce in zip(clients, reversed(nonces), strict=True):
        client.receive(nonce)
        client.compute()
    return clients


@pytest.mark.parametrize(
    ("keys", "fault"),
    [((K, K), Fault.SAME_ROLE), ((K, bytes(32)), Fault.NO_KEY)],
    ids=["the same key", "different keys"],
)
def test_two_clients_find_out_that_they_are_two(
    maker: Maker, keys: tuple[bytes, bytes], fault: Fault
) -> None:
    """If they hold the same key; else each is a stranger to the other."""
    clients = two_clients(maker, *keys)
    hellos = [client.data_to_send() for client in clients]
    for client, theirs in zip(clients, reversed(hellos), strict=True):
        with refused(fault):
            client.receive(theirs)
        assert not client.peer_is_authentic


def test_clients_of_different_make_find_out_that_they_are_two(maker: Maker) -> None:
    reference = Maker(Handshake, maker.crypto)
    ours, theirs = two_clients(maker, K, K)[0], two_clients(reference, K, K)[1]
    hello_of_ours, hello_of_theirs = ours.data_to_send(), theirs.data_to_send()
    for machine, heard in ((ours, hello_of_theirs), (theirs, hello_of_ours)):
        with refused(Fault.SAME_ROLE):
            machine.receive(heard)


def test_every_byte_of_another_client_is_protected(maker: Maker) -> None:
    """Its words prove that it holds the key only as it has said them."""
    good = two_clients(maker, K, K)[1].data_to_send()
    for position in range(HELLO_BYTES):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        with refused(Fault.NO_KEY):
            two_clients(maker, K, K)[0].receive(bad)


def test_a_server_takes_no_peer_for_another_server(maker: Maker) -> None:
    """It has said nothing that could be turned against it, and answers only who is C."""
    machine = listening(maker, Role.S)
    nonces = secrets(Role.S).nonce, secrets(Role.C).nonce  # as another S would have them
    dhmac_S = handshake_keys(maker.crypto, K, *nonces).dhmac_S
    with refused(Fault.NO_KEY):
        machine.receive(ONE + maker.crypto.hmac_sha256(dhmac_S, ONE))


@in_both_roles
def test_a_machine_knows_how_far_its_peer_has_come(maker: Maker, role: Role) -> None:
    machine = make(maker, role)
    nonce, proof = secrets(opposite(role)).nonce, hello(maker, opposite(role), ONE)
    assert machine.heard is Heard.NOTHING
    for piece, heard in (
        (nonce[:1], Heard.SOMETHING),
        (nonce[1:-1], Heard.SOMETHING),
        (nonce[-1:], Heard.NONCE),
        (proof[:-1], Heard.NONCE),
        (proof[-1:], Heard.PROOF),
    ):
        while machine.computing:
            machine.compute()
        machine.receive(piece)
        assert machine.heard is heard
    while machine.computing:
        machine.compute()
        assert machine.heard is Heard.PROOF


@in_both_roles
def test_a_stranger_has_come_no_further_than_its_nonce(maker: Maker, role: Role) -> None:
    machine = listening(maker, role)
    with refused(Fault.NO_KEY):
        machine.receive(bytes(HELLO_BYTES))
    assert machine.heard is Heard.NONCE


@in_both_roles
@pytest.mark.parametrize("y", [P, P + 1, 2**2048 - 1], ids=["p", "p+1", "2^2048-1"])
def test_y_must_be_below_p(maker: Maker, role: Role, y: int) -> None:
    machine = listening(maker, role)
    message = hello(maker, opposite(role), y.to_bytes(GROUP_BYTES, "big"))
    with refused(Fault.OUT_OF_RANGE):
        machine.receive(message)
    assert not machine.peer_is_authentic


def test_a_stranger_learns_nothing_about_y(maker: Maker) -> None:
    """Who does not hold the key is told so, whatever y is."""
    machine = listening(maker, Role.S, require_pfs=True)
    with refused(Fault.NO_KEY):
        machine.receive(P_BYTES + bytes(32))
    machine = listening(maker, Role.S, require_pfs=True)
    with refused(Fault.NO_KEY):
        machine.receive(ONE + bytes(32))


@in_both_roles
def test_a_weak_peer_is_refused_where_forward_secrecy_is_required(maker: Maker, role: Role) -> None:
    machine = listening(maker, role, weak=False, require_pfs=True)
    with refused(Fault.NO_PFS):
        machine.receive(hello(maker, opposite(role), ONE))
    assert not machine.peer_is_authentic


def test_two_sides_that_require_forward_secrecy_agree(maker: Maker) -> None:
    C = make(maker, Role.C, weak=False, require_pfs=True)
    S = make(maker, Role.S, weak=False, require_pfs=True)
    join(C, S)
    assert list(C.take_keys()) == list(S.take_keys())


# It is used in the wrong way


def test_more_than_is_wanted_is_not_taken(maker: Maker) -> None:
    machine = make(maker, Role.S)
    with pytest.raises(AssertionError):
        machine.receive(bytes(NONCE_BYTES + 1))
    with pytest.raises(AssertionError):
        machine.receive(b"")
    machine.receive(bytes(NONCE_BYTES))


def test_nothing_is_taken_once_it_is_done(maker: Maker) -> None:
    C, S = make(maker, Role.C), make(maker, Role.S)
    join(C, S)
    for machine in (C, S):
        assert machine.wanted == 0
        assert not machine.computing
        with pytest.raises(AssertionError):
            machine.receive(b"x")


def test_the_keys_are_there_when_it_is_done_and_only_once(crypto: Backend) -> None:
    maker = Maker(Handshake, crypto)
    C, S = make(maker, Role.C), make(maker, Role.S)
    with pytest.raises(AssertionError):
        C.take_keys()
    with pytest.raises(AssertionError):
        C.compute()
    join(C, S)
    C.take_keys()
    with pytest.raises(AssertionError):
        C.take_keys()


# Secrets


def held(machine: Handshake) -> bytes:
    """The secrets that a machine in Python still holds, in the order of their coming."""
    x = machine._x or b""
    return bytes(x) + bytes(machine._dhmac_own) + bytes(machine._dhmac_peer)


def test_secrets_are_erased_when_it_is_done(crypto: Backend) -> None:
    maker = Maker(Handshake, crypto)
    C, S = make(maker, Role.C, weak=False), make(maker, Role.S, weak=False)
    x_C, x_S = C._x, S._x
    join(C, S)
    for machine, x in ((C, x_C), (S, x_S)):
        assert held(machine) == bytes(3 * 32)
        assert x == bytes(32)


@pytest.mark.parametrize("when", ["at once", "after the nonce", "when done", "when refused"])
def test_secrets_are_erased_when_it_is_abandoned(crypto: Backend, when: str) -> None:
    maker = Maker(Handshake, crypto)
    machine = make(maker, Role.S, weak=False)
    keys = None
    if when != "at once":
        machine.receive(secrets(Role.C).nonce)
        assert held(machine).count(0) < 10
    if when == "when done":
        machine.receive(hello(maker, Role.C, ONE))
        machine.compute()
        machine.compute()
        keys = machine._keys
    if when == "when refused":
        with pytest.raises(HandshakeError):
            machine.receive(bytes(HELLO_BYTES))
    else:
        machine.abandon()
    assert held(machine).strip(b"\0") == b""
    assert machine.step is Step.FAILED
    assert (machine.wanted, machine.computing, machine.peer_is_authentic) == (0, False, False)
    if keys is not None:
        assert b"".join(map(bytes, keys)) == bytes(4 * 32)


def test_the_machine_in_c_keeps_no_secret_either(maker: Maker) -> None:
    if maker.make is not NativeHandshake:
        return  # see above
    C, S = make(maker, Role.C, weak=False), make(maker, Role.S, weak=False)
    dhmac = handshake_keys(maker.crypto, K, secrets(Role.C).nonce, secrets(Role.S).nonce)
    x_C = bytes(secrets(Role.C, weak=False).x or b"")
    assert x_C in C.memory()
    join(C, S)
    for secret in (x_C, *map(bytes, dhmac)):
        assert secret not in C.memory()
    C.take_keys()
    assert C.memory().strip(b"\0") == b""


def test_a_weak_side_needs_no_exponentiation(crypto: Backend) -> None:
    """Nor does the one that refuses its peer; the others need two each."""
    calls: list[str] = []

    def counting(name: str) -> Callable[..., bytearray]:
        def call(*arguments: bytes) -> bytearray:
            calls.append(name)
            return getattr(crypto, name)(*arguments)

        return call

    counted = SimpleNamespace(**{name: getattr(crypto, name) for name in dir(crypto)})
    counted.power, counted.power_of_generator = counting("power"), counting("power_of_generator")
    maker = Maker(Handshake, counted)  # type: ignore[arg-type]
    join(make(maker, Role.C), make(maker, Role.S))
    assert calls == []
    stranger = listening(maker, Role.S, weak=False)
    with pytest.raises(HandshakeError):
        stranger.receive(bytes(HELLO_BYTES))
    assert calls == []
    join(make(maker, Role.C, weak=False), make(maker, Role.S))
    assert sorted(calls) == ["power", "power_of_generator"]


def test_drawn_secrets_are_of_the_right_size_and_never_the_same(crypto: Backend) -> None:
    drawn = [draw_secrets(crypto, weak=False) for _ in range(20)]
    assert {len(secret.nonce) for secret in drawn} == {32}
    assert len({secret.nonce for secret in drawn}) == 20
    assert len({bytes(secret.x or b"") for secret in drawn}) == 20
    assert all(secret.x is not None and len(secret.x) == 32 for secret in drawn)
    assert draw_secrets(crypto, weak=True).x is None
