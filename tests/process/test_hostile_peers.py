"""Peers that break the protocol: their connection ends, with a reset for whoever is at its other
end; what was authentic before arrives, nothing else does, and all other connections go on.

The test itself is the peer on the encrypted side, with or without the key.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import product
from typing import NamedTuple

import pytest
from Crypto.Cipher import AES

from spiped.crypto import pure
from spiped.crypto.group14 import P
from spiped.crypto.sizes import MESSAGE_MAX, PACKET_BYTES
from spiped.proto.derivation import SessionKeys, handshake_keys
from spiped.proto.handshake import Handshake, Role, draw_secrets
from tests.conftest import backends
from tests.daemons import KEY, Daemon, Listener, Peer, Stage, echoes, is_echoed

K = sha256(KEY).digest()

# The role of ours, and that of its peer
PEER_OF = {"-d": Role.C, "-e": Role.S}


class Victim(NamedTuple):
    """One of our daemons; the listener is its target."""

    role: str
    daemon: Daemon
    listener: Listener

    def connect(self) -> tuple[Peer, Peer | None]:
        """The encrypted side of a new connection, and the plain one unless that comes later."""
        if self.role == "-d":
            return self.daemon.connect(), None
        plain = self.daemon.connect()
        return self.listener.accept(), plain


def start(stage: Stage, role: str, *options: str) -> Victim:
    listener = stage.listener()
    return Victim(role, stage.spiped(role, listener.address, *options), listener)


both_roles = pytest.mark.parametrize("role", ["-d", "-e"])


@pytest.fixture(scope="module", params=list(product(backends(), ["-d", "-e"])), ids="".join)
def victim(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Victim]:
    """One for all tests, which come one after the other: none of them may harm it."""
    backend, role = request.param
    with Stage(tmp_path_factory.mktemp("victim")) as stage:
        stage.env["SPIPED_BACKEND"] = backend
        yield start(stage, role)


def shake_hands(peer: Peer, role: Role) -> SessionKeys:
    """Our side of the handshake, as it should be."""
    handshake = Handshake(pure, role, K, draw_secrets(pure, weak=False), require_pfs=False)
    while handshake.wanted or handshake.computing:
        peer.send(handshake.data_to_send())
        if handshake.computing:
            handshake.compute()
        else:
            handshake.receive(peer.receive(handshake.wanted))
    peer.send(handshake.data_to_send())
    return handshake.take_keys()


class Session:
    """An established connection: we are both its plain side and the peer on the encrypted one."""

    def __init__(self, victim: Victim) -> None:
        self.crypt, plain = victim.connect()
        role = PEER_OF[victim.role]
        C, S = (keys := shake_hands(self.crypt, role))[:2], keys[2:]
        self.plain = plain or victim.listener.accept()
        self._ours, self._theirs = (C, S) if role is Role.C else (S, C)
        self._sent = self._received = 0

    def seal(self, message: bytes, number: int | None = None, length: int | None = None) -> bytes:
        """A packet, the next one unless it has another number; perhaps with a false length."""
        number = self._sent if number is None else number
        self._sent += 1
        length = len(message) if length is None else length
        return _seal(*self._ours, number, message, length)

    def give(self, message: bytes) -> bytes:
        """Send a packet; returns what comes out at the plain side."""
        self.crypt.send(self.seal(message))
        return self.plain.receive(len(message))

    def take(self, message: bytes) -> bytes:
        """Send from the plain side; returns the packet that comes out, if it is the right one."""
        self.plain.send(message)
        packet = self.crypt.receive(PACKET_BYTES)
        assert packet == _seal(*self._theirs, self._received, message, len(message))
        self._received += 1
        return packet

    def is_alive(self) -> bool:
        """Both directions carry data."""
        self.take(b"ping")
        return self.give(b"pong") == b"pong"


def _seal(E: bytes, H: bytes, number: int, message: bytes, length: int) -> bytes:
    """A packet, of which the message may also be longer than the rules allow."""
    nonce = number.to_bytes(8, "big")
    padded = message[:MESSAGE_MAX].ljust(MESSAGE_MAX, b"\0") + length.to_bytes(4, "big")
    ciphertext = AES.new(bytes(E), AES.MODE_CTR, nonce=nonce).encrypt(padded)
    return ciphertext + hmac.digest(bytes(H), ciphertext + nonce, "sha256")


def altered(packet: bytes, position: int) -> bytes:
    """A packet with one bit changed."""
    changed = bytearray(packet)
    changed[position] ^= 1
    return bytes(changed)


# Established connections

BEFORE = [b"first", b"second" * 100]

Attack = Callable[[Session], bytes]

ATTACKS: dict[str, Attack] = {
    "garbage": lambda session: os.urandom(PACKET_BYTES),
    "zeros": lambda session: bytes(PACKET_BYTES),
    "a changed message": lambda session: altered(session.seal(b"evil"), 0),
    "changed padding": lambda session: altered(session.seal(b"evil"), 500),
    "a changed length": lambda session: altered(session.seal(b"evil"), MESSAGE_MAX + 3),
    "a changed tag": lambda session: altered(session.seal(b"evil"), -1),
    "a packet again": lambda session: session.seal(BEFORE[1], number=1),
    "an early packet": lambda session: session.seal(b"evil", number=3),
    "length 0": lambda session: session.seal(b""),
    "length 1025": lambda session: session.seal(b"evil" * 256, length=1025),
    "length 2^32-1": lambda session: session.seal(b"evil", length=2**32 - 1),
    "its own packet": lambda session: session.take(b"mirror"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_bad_packet_ends_the_connection_behind_what_was_good(victim: Victim, attack: str) -> None:
    bystander, session = Session(victim), Session(victim)
    good = b"".join(session.seal(message) for message in BEFORE)
    bad = ATTACKS[attack](session)
    session.crypt.send(good + bad + session.seal(b"afterwards"))
    assert session.plain.read_to_reset() == b"".join(BEFORE)
    assert session.crypt.read_all()[0] == b""
    assert bystander.is_alive()
    assert Session(victim).is_alive()


@pytest.mark.parametrize("missing", [1, 32, PACKET_BYTES - 1])
def test_an_end_inside_a_packet_is_no_clean_end(victim: Victim, missing: int) -> None:
    bystander, session = Session(victim), Session(victim)
    packet = session.seal(b"whole") + session.seal(b"cut")
    session.crypt.send(packet[:-missing]).finish()
    assert session.plain.read_to_reset() == b"whole"
    assert bystander.is_alive()


def test_a_reset_of_the_encrypted_side_is_no_clean_end(victim: Victim) -> None:
    bystander, session = Session(victim), Session(victim)
    assert session.is_alive()
    session.crypt.reset()
    assert session.plain.read_to_reset() == b""
    assert bystander.is_alive()


def test_a_reset_of_the_plain_side_is_no_clean_end(victim: Victim) -> None:
    bystander, session = Session(victim), Session(victim)
    assert session.is_alive()
    session.plain.reset()
    assert session.crypt.read_to_reset() == b""
    assert bystander.is_alive()


def test_a_clean_end_at_the_end_of_a_packet_is_passed_on(victim: Victim) -> None:
    session = Session(victim)
    session.crypt.send(session.seal(b"all of it")).finish()
    assert session.plain.read_to_end() == b"all of it"
    session.take(b"and the answer")
    session.plain.finish()
    assert session.crypt.read_to_end() == b""


def test_packets_may_come_in_any_pieces(victim: Victim) -> None:
    session = Session(victim)
    messages = [b"one", b"two" * 300, b"three"]
    stream = b"".join(session.seal(message) for message in messages)
    for start in range(0, len(stream), 7):
        session.crypt.send(stream[start : start + 7])
    assert session.plain.receive(len(b"".join(messages))) == b"".join(messages)


# Handshakes


def hello(role: Role, nonces: tuple[bytes, bytes], y: int) -> bytes:
    """An authentic Diffie-Hellman value, whatever it is worth."""
    own = handshake_keys(pure, K, *nonces)[0 if role is Role.C else 1]
    value = y.to_bytes(256, "big")
    return value + hmac.digest(bytes(own), value, "sha256")


class Handshaking:
    """A connection in its handshake, in which we have not sent anything yet."""

    def __init__(self, victim: Victim) -> None:
        self.role = PEER_OF[victim.role]
        self.crypt, self.plain = victim.connect()
        self._nonce = bytes(range(32))

    def say_hello(self, y: int, bit: int | None = None) -> None:
        """Send a nonce, and y with its code, of which a bit may be wrong."""
        peers = self.crypt.send(self._nonce).receive(32)
        nonces = (self._nonce, peers) if self.role is Role.C else (peers, self._nonce)
        message = hello(self.role, nonces, y)
        self.crypt.send(message if bit is None else altered(message, bit))

    def send_after_nonce(self, message: bytes) -> None:
        self.crypt.receive(32)
        self.crypt.send(self._nonce + message)


HELLO_BYTES = 288

BAD_HANDSHAKES: dict[str, Callable[[Handshaking], object]] = {
    "garbage": lambda it: it.send_after_nonce(os.urandom(HELLO_BYTES)),
    "another protocol": lambda it: it.send_after_nonce(b"GET / HTTP/1.1\r\n\r\n" * 16),
    "a changed value": lambda it: it.say_hello(1234, bit=0),
    "a changed code": lambda it: it.say_hello(1234, bit=-1),
    "a value of p": lambda it: it.say_hello(P),
    "a value of 2^2048 - 1": lambda it: it.say_hello(2**2048 - 1),
    "an end at once": lambda it: it.crypt.finish(),
    "an end inside the nonce": lambda it: it.crypt.send(bytes(31)).finish(),
    "an end behind the nonce": lambda it: it.crypt.send(bytes(32)).finish(),
    "an end inside the value": lambda it: it.crypt.send(bytes(32 + HELLO_BYTES - 1)).finish(),
    "a reset": lambda it: it.crypt.send(bytes(40)).reset(),
}


@pytest.mark.parametrize("how", BAD_HANDSHAKES)
def test_a_bad_handshake_ends_the_connection_before_anything_is_connected(
    victim: Victim, how: str
) -> None:
    bystander = Session(victim)
    attempt = Handshaking(victim)
    BAD_HANDSHAKES[how](attempt)
    if attempt.plain is not None:
        assert attempt.plain.read_to_reset() == b""
    elif how != "a reset":
        attempt.crypt.read_to_reset()
    assert victim.listener.nobody_came()
    assert bystander.is_alive()
    assert Session(victim).is_alive()


@both_roles
def test_who_refuses_secrecy_is_refused_where_it_is_required(
    stage: Stage, backend: str, role: str
) -> None:
    victim = start(stage, role, "-g")
    attempt = Handshaking(victim)
    attempt.say_hello(1)
    side = attempt.plain or attempt.crypt
    side.read_to_reset()
    assert victim.listener.nobody_came()
    assert Session(victim).is_alive()


def test_a_handshake_cannot_be_played_again(stage: Stage, backend: str) -> None:
    victim = start(stage, "-d")
    recorder = stage.listener()
    client = stage.spiped("-e", recorder.address)
    with client.connect() as plain, recorder.accept() as recorded:
        with victim.daemon.connect() as server:
            recorded.send(server.receive(32))
            spoken = recorded.receive(32 + HELLO_BYTES)
            server.send(spoken)
            recorded.send(server.receive(HELLO_BYTES))
            with victim.listener.accept() as target:
                plain.send(b"pay 1")
                packet = recorded.receive(PACKET_BYTES)
                server.send(packet)
                assert target.receive(5) == b"pay 1"
        with victim.daemon.connect() as again:
            again.send(spoken + packet)
            assert len(again.read_to_reset()) == 32
    assert victim.listener.nobody_came()


@both_roles
def test_silent_strangers_are_dropped_in_time(stage: Stage, backend: str, role: str) -> None:
    victim = start(stage, role, "-o", "0.3")
    attempts = [Handshaking(victim) for _ in range(20)]
    for attempt in attempts:
        (attempt.plain or attempt.crypt).read_to_reset()
    assert victim.listener.nobody_came()
    assert Session(victim).is_alive()


def test_strangers_in_crowds_leave_established_connections_alone(
    stage: Stage, backend: str
) -> None:
    victim = start(stage, "-d", "-n", "0")
    bystander = Session(victim)
    crowd = [victim.daemon.connect().send(os.urandom(400)) for _ in range(100)]
    assert bystander.is_alive()
    for stranger in crowd:
        assert len(stranger.read_to_reset()) <= 32
    assert bystander.is_alive()
    assert victim.listener.nobody_came()


@pytest.mark.parametrize("backend", backends())
def test_strangers_leave_room_for_who_holds_the_key(
    stage: Stage, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of them there are, and however long they stay, if their number is limited."""
    monkeypatch.setenv("SPIPED_BACKEND", backend)
    echo = stage.echo()
    limits = ("-n", "12", "--max-unauthenticated", "8", "--workers", "2")
    server = stage.spiped("-d", echo.address, *limits)
    client = stage.spiped("-e", server.source)
    strangers = [server.connect() for _ in range(60)]
    server.wait_to_say("it had to make room for another one")
    for _ in range(5):
        strangers.append(server.connect())
        assert is_echoed(client.source)
    for stranger in strangers:
        stranger.close()


@pytest.mark.parametrize("backend", backends())
def test_silence_ends_a_connection_if_it_may_not_last(
    stage: Stage, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIPED_BACKEND", backend)
    echo = stage.echo()
    server = stage.spiped("-d", echo.address, "--idle-timeout", "0.5")
    client = stage.spiped("-e", server.source)
    peer = client.connect()
    assert echoes(peer)
    server.wait_to_say("idle for too long")
    peer.read_to_reset()
