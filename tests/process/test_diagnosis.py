"""One cause, one diagnosis: what both ends and spipe say of it, and whom they name, each time."""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.daemons import (
    Daemon,
    Peer,
    Stage,
    nothing_comes_back,
    ours,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("backend")

NOT_SERVED = (
    "the target ended the connection: wrong key, wrong mode, or the target behind it is down"
)
WITHOUT_A_WORD = (
    "the target ended the connection without a word: it is no spiped -d, or cannot take more"
)
SAME_ROLE = (
    "the target encrypts (-e) as we do, or sends back what it is sent: it has to be a spiped -d"
)
NO_PROOF = "the client did not prove that it holds the key: does it decrypt (-d)?"

CLIENT = r"(?:\[[^]]*\]:\d+|a local client) \(\d+-\d+\)"
TOLD = re.compile(rf"^spiped: connection from {CLIENT}: (.*)$", re.MULTILINE)

TIMES = 20  # enough for what depends on chance to show


def told(daemon: Daemon) -> list[str]:
    """What has been said of connections, except whose they were."""
    return TOLD.findall(daemon.said)


def wait_to_tell(daemon: Daemon, count: int = 1) -> list[str]:
    wait_until(lambda: len(told(daemon)) >= count, f"it tells of {count} connections")
    return told(daemon)


def spipe(
    stage: Stage, target: str, *options: str, key: str | None = None, input: bytes = b""
) -> tuple[int, str]:
    """The exit status of a spipe, and what it has said."""
    words = ("-t", target, "-k", key or stage.key, *options)
    result = stage.run(ours("spipe"), *words, input=input)
    return result.returncode, result.stderr.decode()


def join(stage: Stage, one: Peer, other: Peer) -> None:
    """Pass on what either says to the other."""

    def copy(source: Peer, sink: Peer) -> None:
        with suppress(OSError):  # reset, as the daemon tells
            while data := source.sock.recv(4096):
                sink.send(data)

    copies = [stage.meanwhile(copy, *pair) for pair in ((one, other), (other, one))]
    for each in copies:
        each.result()


def is_read(peer: Peer) -> bool:
    """The other end, which is on this machine, has read what we have sent (proc(5))."""
    ours = f":{peer.sock.getsockname()[1]:04X}"
    rows = map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[2].endswith(ours) and row[4].endswith(":00000000") for row in rows)


# The encrypting end cannot know why it is not served: it has one text for all that it can be


@pytest.mark.parametrize("options", [(), ("-f",)], ids=["pfs", "weak"])
def test_a_target_that_is_down_is_told_in_one_way(stage: Stage, options: tuple[str, ...]) -> None:
    """Whenever the decrypting end finds out: during the handshake, or just after it."""
    target = stage.address()
    server = stage.spiped("-d", target, *options)
    client = stage.spiped("-e", server.source, *options)
    for i in range(TIMES):
        data = bytes(i % 2 * 100)
        said = spipe(stage, server.source, *options, input=data)
        assert said == (1, f"spipe: Handshake failed: {NOT_SERVED}\n")
        assert nothing_comes_back(client.source, data)
    assert set(wait_to_tell(client, 10)) == {f"handshake failed: {NOT_SERVED}"}
    refused = f"could not connect: {target}: Connection refused"
    assert set(wait_to_tell(server, 10)) == {refused}


def test_a_wrong_key_is_told_in_one_way(stage: Stage) -> None:
    server = stage.spiped("-d", stage.echo().address)
    other = stage.write("other_key", bytes(32))
    client = stage.spiped("-e", server.source, key=other)
    for _ in range(5):
        said = spipe(stage, server.source, key=other, input=b"?")
        assert said == (1, f"spipe: Handshake failed: {NOT_SERVED}\n")
        assert nothing_comes_back(client.source)
    assert set(wait_to_tell(client, 5)) == {f"handshake failed: {NOT_SERVED}"}
    assert set(wait_to_tell(server, 10)) == {"handshake failed: the client does not hold the key"}


def test_secrecy_that_is_refused_is_told_in_one_way(stage: Stage) -> None:
    server = stage.spiped("-d", stage.echo().address, "-g")
    client = stage.spiped("-e", server.source, "-f")
    for _ in range(5):
        assert nothing_comes_back(client.source)
    assert set(wait_to_tell(client, 5)) == {f"handshake failed: {NOT_SERVED}"}
    text = "the client does not provide perfect forward secrecy (-f), which -g requires"
    assert set(wait_to_tell(server, 5)) == {f"handshake failed: {text}"}


# Two ends in the same mode


def test_two_encrypting_ends_say_so(stage: Stage) -> None:
    between = [stage.listener() for _ in range(2)]
    ends = [stage.spiped("-e", each.address) for each in between]
    for count in range(1, 4):
        with (
            ends[0].connect(),
            between[0].accept() as one,
            ends[1].connect(),
            between[1].accept() as other,
        ):
            join(stage, one, other)
        for end in ends:
            assert set(wait_to_tell(end, count)) == {f"handshake failed: {SAME_ROLE}"}


def test_an_encrypting_end_behind_another_says_so(stage: Stage) -> None:
    """Its own words come back from the target; the first of the two hears nothing at all."""
    second = stage.spiped("-e", stage.echo().address)
    first = stage.spiped("-e", second.source)
    for _ in range(5):
        assert nothing_comes_back(first.source)
    assert set(wait_to_tell(second, 5)) == {f"handshake failed: {SAME_ROLE}"}
    assert set(wait_to_tell(first, 5)) == {f"handshake failed: {WITHOUT_A_WORD}"}


def test_two_decrypting_ends_say_so(stage: Stage) -> None:
    """Each waits for the other."""
    ends = [stage.spiped("-d", stage.echo().address, "-o", "0.3") for _ in range(2)]
    with ends[0].connect() as one, ends[1].connect() as other:
        join(stage, one, other)
    for end in ends:
        assert wait_to_tell(end) == [f"handshake timed out: {NO_PROOF}"]


# Whom they name


@pytest.mark.parametrize("who", ["client", "target"])
def test_whoever_resets_is_named(stage: Stage, who: str) -> None:
    listener = stage.listener()
    server = stage.spiped("-d", listener.address)
    client = stage.spiped("-e", server.source)
    for count in range(1, 4):
        with client.connect() as near, listener.accept() as far:
            near.send(b"there")
            assert far.receive(5) == b"there"
            far.send(b"back")
            assert near.receive(4) == b"back"
            (near if who == "client" else far).reset()
            for end in (client, server):
                lost = [f"connection lost: reset by the {who}"]
                assert wait_to_tell(end, count) == count * lost


def test_a_client_that_is_reset_during_the_handshake_is_named(stage: Stage) -> None:
    server = stage.spiped("-d", stage.echo().address)
    with server.connect() as stranger:
        stranger.receive(32)
        stranger.send(bytes(32))
        wait_until(lambda: is_read(stranger), "it has been heard")
        stranger.reset()
    left = "the client left before it proved that it holds the key"
    assert wait_to_tell(server) == [f"handshake failed: {left}"]


def test_a_target_that_is_reset_during_the_handshake_is_named(stage: Stage) -> None:
    listener = stage.listener()
    client = stage.spiped("-e", listener.address)
    with client.connect(), listener.accept() as target:
        target.receive(32)
        target.reset()
        assert wait_to_tell(client) == [f"handshake failed: {WITHOUT_A_WORD}"]


# Somebody only looks whether anybody listens


def end_all(daemon: Daemon, accepted: int) -> None:
    """All that have come have ended, and been counted."""
    totals = f"spiped: 0 connections now, {accepted} accepted, "

    def counted() -> bool:
        daemon.signal(signal.SIGUSR1)
        return totals in daemon.said

    wait_until(counted, f"it has counted {accepted} connections, and has none")


@pytest.mark.parametrize("verbose", [False, True], ids=["", "verbose"])
@pytest.mark.parametrize("how", ["close", "close after reading", "reset"])
def test_a_probe_of_a_decrypting_end_leaves_no_line(stage: Stage, how: str, verbose: bool) -> None:
    target = stage.listener()
    server = stage.spiped("-d", target.address, *["--verbose"] * verbose)
    for _ in range(TIMES):
        probe = server.connect()
        if how == "close after reading":
            probe.receive(32)
        (probe.reset if how == "reset" else probe.close)()
    end_all(server, TIMES)
    assert told(server) == []
    assert target.nobody_came()


@pytest.mark.parametrize("verbose", [False, True], ids=["", "verbose"])
def test_a_probe_that_resets_an_encrypting_end_leaves_no_line(stage: Stage, verbose: bool) -> None:
    client = stage.spiped("-e", stage.listener().address, *["--verbose"] * verbose)
    for _ in range(TIMES):
        client.connect().reset()
    end_all(client, TIMES)
    assert told(client) == []


@pytest.mark.parametrize("verbose", [False, True], ids=["", "verbose"])
def test_a_probe_that_closes_an_encrypting_end_leaves_no_line(stage: Stage, verbose: bool) -> None:
    """Unless ends that are in order are wanted: an end is no way to leave, and it is served."""
    server = stage.spiped("-d", stage.echo().address)
    client = stage.spiped("-e", server.source, *["--verbose"] * verbose)
    for _ in range(TIMES):
        client.connect().close()
    end_all(client, TIMES)
    ended = re.compile(r"ended after [\d.]+ s \(0 bytes encrypted, 0 decrypted\)")
    assert len(told(client)) == TIMES * verbose
    assert all(map(ended.fullmatch, told(client)))
    assert told(server) == []
