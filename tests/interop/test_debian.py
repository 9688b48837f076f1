"""Ours on one end and the C program, as packaged by Debian, on the other.

Every cell of (our role) x (plain, -f, -g) x (TCP, UNIX) x (back end) is one pair of daemons, which
carries every size up to 1 MiB in both directions, with either end finishing first and with both at
the same time.  64 MiB, which take a while, go through once, in both directions at the same time;
of the pure back end's cells only through those with TCP and without an option.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import cache
from itertools import permutations

import pytest

from tests.daemons import Daemon, Echo, Listener, Peer, Stage, nothing_comes_back, ours, theirs

SIZES = (1, 1023, 1024, 1025, 1 << 20)
HUGE = 64 << 20

MODES: dict[str, Sequence[str]] = {"plain": (), "weak": ("-f",), "strict": ("-g",)}

both_roles = pytest.mark.parametrize("our_role", ["-e", "-d"])


@cache
def noise() -> bytes:
    """Bytes without a pattern: enough for two streams of any size that differ."""
    return random.Random(1).randbytes(HUGE + 4096)


@cache
def question(size: int) -> bytes:
    return noise()[:size]


@cache
def answer(size: int) -> bytes:
    return noise()[4096 : 4096 + size]


@cache
def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def start_pair(
    stage: Stage,
    our_role: str,
    listener: Listener,
    our_options: Sequence[str] = (),
    their_options: Sequence[str] = (),
) -> Daemon:
    """Ours in its role, theirs in the other one, before the listener; returns the one with -e."""
    sides = (ours("spiped"), our_options), (theirs("spiped"), their_options)
    decrypting, encrypting = sides if our_role == "-d" else reversed(sides)
    server = stage.spiped("-d", listener.address, *decrypting[1], program=decrypting[0])
    return stage.spiped("-e", server.source, *encrypting[1], program=encrypting[0])


def tell(stage: Stage, speaker: Peer, hearer: Peer, data: bytes) -> None:
    """Data, and the end behind it, arrive as they were sent."""
    sending = stage.meanwhile(lambda: speaker.send(data).finish())
    received = hearer.read_to_end()
    sending.result()
    assert len(received) == len(data)
    assert hashlib.sha256(received).digest() == digest(data)


def client_finishes_first(stage: Stage, client: Peer, target: Peer, size: int) -> None:
    tell(stage, client, target, question(size))
    tell(stage, target, client, answer(size))


def target_finishes_first(stage: Stage, client: Peer, target: Peer, size: int) -> None:
    tell(stage, target, client, answer(size))
    tell(stage, client, target, question(size))


def both_at_once(stage: Stage, client: Peer, target: Peer, size: int) -> None:
    asking = stage.meanwhile(tell, stage, client, target, question(size))
    tell(stage, target, client, answer(size))
    asking.result()


ORDERS = (client_finishes_first, target_finishes_first, both_at_once)


@pytest.mark.parametrize("transport", ["tcp", "unix"])
@pytest.mark.parametrize("mode", MODES)
@both_roles
def test_data_of_every_size_arrives_intact(
    stage: Stage, backend: str, our_role: str, mode: str, transport: str
) -> None:
    listener = stage.listener(transport)
    daemon = start_pair(stage, our_role, listener, MODES[mode], MODES[mode])
    exchanges = [(exchange, size) for exchange in ORDERS for size in SIZES]
    if backend == "native" or (mode, transport) == ("plain", "tcp"):
        exchanges.append((both_at_once, HUGE))
    for exchange, size in exchanges:
        with daemon.connect() as client, listener.accept() as target:
            exchange(stage, client, target, size)


@pytest.mark.parametrize(("our_mode", "their_mode"), list(permutations(MODES, 2)))
@both_roles
@pytest.mark.usefixtures("backend")
def test_weak_and_strict_refuse_each_other_and_all_other_modes_mix(
    stage: Stage, our_role: str, our_mode: str, their_mode: str
) -> None:
    listener = stage.listener()
    daemon = start_pair(stage, our_role, listener, MODES[our_mode], MODES[their_mode])
    if {our_mode, their_mode} == {"weak", "strict"}:
        assert nothing_comes_back(daemon.source)
    else:
        with daemon.connect() as client, listener.accept() as target:
            both_at_once(stage, client, target, 1)


@both_roles
@pytest.mark.usefixtures("backend")
def test_a_wrong_key_fails_and_the_target_never_gets_data(stage: Stage, our_role: str) -> None:
    listener = stage.listener()
    sides = ours("spiped"), theirs("spiped")
    decrypting, encrypting = sides if our_role == "-d" else reversed(sides)
    server = stage.spiped("-d", listener.address, program=decrypting)
    other_key = stage.write("other_key", b"another")
    client = stage.spiped("-e", server.source, program=encrypting, key=other_key)
    assert nothing_comes_back(client.source, b"secret")
    if our_role == "-d":  # ours connects only for a peer that has proved to hold the key
        assert listener.nobody_came()
    else:
        with listener.accept() as target:
            assert target.read_to_end() == b""


# spipe on one end, a daemon on the other


class Afterwards(Echo):
    """An echo that answers only when its client has finished, and piece by piece."""

    def converse(self, peer: Peer) -> None:
        with peer:
            data = peer.read_to_end()
            for start in range(0, len(data), 1000):
                peer.send(data[start : start + 1000])
            peer.finish()


PROJECTS = {"ours": (ours, theirs), "theirs": (theirs, ours)}

either_spipe = pytest.mark.parametrize("whose_spipe", PROJECTS)


@either_spipe
@pytest.mark.usefixtures("backend")
def test_spipe_sends_its_input_and_prints_the_answer_that_comes_after_it(
    stage: Stage, whose_spipe: str
) -> None:
    near, far = PROJECTS[whose_spipe]
    echo = stage.on_stage(Afterwards(stage.address()))
    server = stage.spiped("-d", echo.address, program=far("spiped"))
    for size in SIZES:
        words = (near("spipe"), "-t", server.source, "-k", stage.key)
        result = stage.run(*words, input=question(size))
        assert (result.returncode, result.stderr) == (0, b"")
        assert result.stdout == question(size)


@either_spipe
@pytest.mark.usefixtures("backend")
def test_spipe_with_a_wrong_key_says_so_and_fails(stage: Stage, whose_spipe: str) -> None:
    near, far = PROJECTS[whose_spipe]
    listener = stage.listener()
    server = stage.spiped("-d", listener.address, program=far("spiped"))
    words = (near("spipe"), "-t", server.source, "-k", stage.write("other_key", bytes(32)))
    result = stage.run(*words)
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.startswith(b"spipe: Handshake failed")
    if far is ours:
        assert listener.nobody_came()
