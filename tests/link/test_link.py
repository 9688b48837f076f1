"""Two machines and a bad link between them: whatever the link does, every byte is right, an end is
an end, and a failure is a reset.

SPIPED_LINK_CUT says for how many seconds it is cut where it is cut for a while.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest

from tests.crowd import Crowd
from tests.daemons import (
    PATIENCE,
    Daemon,
    Echo,
    Listener,
    Peer,
    Stage,
    is_echoed,
    ours,
    theirs,
    wait_until,
)
from tests.link.machines import Link, Machine

CUT = float(os.environ.get("SPIPED_LINK_CUT", "5"))  # seconds

# Bad, but one that people work with
BAD = {"delay": 0.004, "jitter": 0.006, "loss": 0.02, "duplicate": 0.02, "corrupt": 0.01}

SIZE = 300_000  # bytes of a stream


@pytest.fixture
def link(stage: Stage) -> Link:
    return stage.on_stage(Link())


@cache
def noise(salt: int) -> bytes:
    return random.Random(salt).randbytes(SIZE)


class Pipe(NamedTuple):
    """`spiped -e` on the near machine, `spiped -d` and its target on the far one."""

    near: Machine
    e: Daemon
    d: Daemon
    target: Listener

    def connect(self) -> Peer:
        with self.near.entered():
            return self.e.connect()

    def establish(self) -> tuple[Peer, Peer]:
        """Both ends of a connection that is there."""
        client = self.connect()
        target = self.target.accept()
        client.send(b"hello")
        assert target.receive(5) == b"hello"
        return client, target


def listen(stage: Stage, machine: Machine, family: int = 4) -> Listener:
    address = machine.address(family)
    with machine.entered():
        return stage.on_stage(Listener(address))


def lay(
    stage: Stage,
    link: Link,
    *options: str,
    e: str | None = None,
    d: str | None = None,
    family: int = 4,
    target: Listener | None = None,
) -> Pipe:
    """A pipe over the link; ``e`` and ``d`` are programs if they are not ours."""
    near, far = link.near, link.far
    target = target or listen(stage, far, family)
    with far.entered():
        server = stage.spiped("-d", target.address, *options, source=far.address(family), program=d)
    with near.entered():
        client = stage.spiped("-e", server.source, *options, source=near.address(family), program=e)
    return Pipe(near, client, server, target)


class Streams:
    """Both directions of a connection, each with its own bytes and its end, at the same time."""

    def __init__(self, stage: Stage, client: Peer, target: Peer, salt: int) -> None:
        self._ends = [
            (stage.meanwhile(self._send, source, data), stage.meanwhile(sink.read_to_end), data)
            for source, sink, data in (
                (client, target, noise(salt)),
                (target, client, noise(salt + 1)),
            )
        ]

    @staticmethod
    def _send(source: Peer, data: bytes) -> None:
        source.send(data).finish()

    def are_right(self) -> bool:
        """Wait for the end of both; each is what was sent."""
        for sending, receiving, data in self._ends:
            sending.result()
            assert receiving.result() == data
        return True


def patiently(*peers: Peer) -> None:
    """They may have to wait for as long as the link is cut, and once more for TCP to notice."""
    for peer in peers:
        peer.sock.settimeout(PATIENCE + 2 * CUT)


# A bad link

PROGRAMS: dict[str, Callable[[], dict[str, str]]] = {
    "ours": dict,
    "C at the near end": lambda: {"e": theirs("spiped"), "d": ours("spiped")},
    "C at the far end": lambda: {"e": ours("spiped"), "d": theirs("spiped")},
}


@pytest.mark.parametrize("programs", PROGRAMS)
def test_every_byte_is_right_over_a_bad_link(stage: Stage, link: Link, programs: str) -> None:
    link.make(**BAD)
    pipe = lay(stage, link, "-o", str(PATIENCE), **PROGRAMS[programs]())
    streams = [Streams(stage, *pipe.establish(), salt=2 * number) for number in range(3)]
    assert all(stream.are_right() for stream in streams)
    done = link.done()
    assert min(done.lost, done.duplicated, done.corrupted, done.overtaken) > 10


@pytest.mark.parametrize("mtu", [301, 576, 9001])
def test_every_byte_is_right_whatever_the_size_of_frames(stage: Stage, mtu: int) -> None:
    link = stage.on_stage(Link(mtu))
    link.make(**BAD)
    pipe = lay(stage, link, "-o", str(PATIENCE))
    assert Streams(stage, *pipe.establish(), salt=0).are_right()


def test_every_byte_is_right_over_ipv6_in_its_smallest_frames(stage: Stage) -> None:
    link = stage.on_stage(Link(1280))
    link.make(**BAD)
    pipe = lay(stage, link, "-o", str(PATIENCE), family=6)
    assert Streams(stage, *pipe.establish(), salt=0).are_right()


def test_a_direction_goes_on_after_the_end_of_the_other_one(stage: Stage, link: Link) -> None:
    pipe = lay(stage, link, "-o", str(PATIENCE))
    link.make(**BAD)
    for first, second in (pipe.establish(), reversed(pipe.establish())):
        sending = stage.meanwhile(lambda peer=first: peer.send(noise(0)).finish())
        assert second.read_to_end() == noise(0)
        sending.result()
        sending = stage.meanwhile(lambda peer=second: peer.send(noise(1)).finish())
        assert first.read_to_end() == noise(1)
        sending.result()


def test_connections_are_made_over_a_very_bad_link_if_there_is_time(
    stage: Stage, link: Link
) -> None:
    pipe = lay(stage, link, "-o", str(PATIENCE))
    pipe.establish()  # the machines know each other's Ethernet addresses
    link.make(loss=0.15, jitter=0.005)
    clients = [pipe.connect().send(bytes([number])) for number in range(8)]
    targets = [pipe.target.accept() for _ in clients]
    assert {target.receive(1)[0] for target in targets} == set(range(8))
    assert link.done().lost > 3


def test_what_tcp_does_not_notice_ends_the_connection(stage: Stage, link: Link) -> None:
    pipe = lay(stage, link)
    bystander = pipe.establish()
    for sender, receiver in (pipe.establish(), reversed(pipe.establish())):
        swapped = link.done().swapped
        link.make(swap=0.05)
        sending = stage.meanwhile(sender.sock.sendall, noise(0))
        received = receiver.read_to_reset()
        assert noise(0).startswith(received)
        assert len(received) < SIZE
        sender.read_to_reset()
        assert isinstance(sending.exception(), (ConnectionError, type(None)))
        link.mend()
        assert link.done().swapped > swapped
    assert "bad packet" in pipe.d.said
    assert "bad packet" in pipe.e.said
    assert Streams(stage, *bystander, salt=2).are_right()


# A server that has a crowd around it

STRANGERS = 400  # more than the places that there are by default for those who hold no key
FAR_AWAY = 0.05  # seconds, one way
CLIENTS = 6
SERVED = 5  # of them, at least


def test_strangers_beside_the_server_do_not_keep_out_a_client_far_away(
    stage: Stage, link: Link
) -> None:
    with link.far.entered():
        echo = stage.on_stage(Echo(link.far.address()))
    pipe = lay(stage, link, "-o", str(PATIENCE), target=echo)

    def is_served() -> bool:
        with link.near.entered():
            return is_echoed(pipe.e.source)

    assert is_served()  # the machines know each other's Ethernet addresses
    link.make(delay=FAR_AWAY)
    strangers = stage.on_stage(Crowd(pipe.d.source, STRANGERS, where=link.far.entered()))
    wait_until(lambda: strangers.returns > STRANGERS, "strangers have been dropped, and are back")
    assert sum(is_served() for _ in range(CLIENTS)) >= SERVED
    before = strangers.returns
    wait_until(lambda: strangers.returns > before, "strangers still come back")


# A link that is cut

HEADERS = 14 + 20 + 20 + 12  # of a frame: Ethernet, IPv4, TCP, and what options may take


@pytest.mark.parametrize(
    ("longest", "what", "heard"),
    [
        (0, "connecting", False),
        (HEADERS + 31, "handshake", False),  # TCP gets through, nonces do not
        (HEADERS + 287, "handshake", True),  # nonces do, values do not
    ],
    ids=["cut", "no nonces", "no values"],
)
def test_a_connection_that_takes_too_long_is_reset_and_reported(
    stage: Stage, link: Link, longest: int, what: str, heard: bool
) -> None:
    pipe = lay(stage, link, "-o", "0.5")
    bystander = pipe.establish()
    link.make(longest=longest)
    with pipe.connect().send(b"hello") as client:
        assert client.read_to_reset() == b""
    pipe.e.wait_to_say(f": {what}")  # it may be the other end that is first, and resets this one,
    if heard:  # or the other way round; who is not heard before has left
        pipe.d.wait_to_say(f": {what}")
    wait_until(lambda: f": {what} timed out" in pipe.e.said + pipe.d.said, "the first says why")
    link.mend()
    assert pipe.target.nobody_came()
    assert Streams(stage, *bystander, salt=0).are_right()


def test_connections_outlast_a_link_that_is_cut_for_a_while(stage: Stage, link: Link) -> None:
    pipe = lay(stage, link, "-o", "inf")
    silent, busy, half = pipe.establish(), pipe.establish(), pipe.establish()
    half[0].finish()
    assert half[1].read_to_end() == b""
    patiently(*silent, *busy, *half)
    link.make(delay=0.05)
    carried = link.done().carried
    streams = Streams(stage, *busy, salt=0)
    wait_until(lambda: link.done().carried > carried + 20, "it is under way")
    link.cut()
    lost = link.done().lost
    new = pipe.connect().send(b"new")
    half[1].send(noise(2)).finish()
    time.sleep(CUT)
    link.mend()
    assert link.done().lost > lost + 10
    assert half[0].read_to_end() == noise(2)
    assert streams.are_right()
    assert echoes_between(*silent)
    pipe.target.sock.settimeout(PATIENCE + 2 * CUT)
    with pipe.target.accept() as target:
        assert target.receive(3) == b"new"
        assert echoes_between(new, target)


def echoes_between(*ends: Peer) -> bool:
    """Both directions carry data."""
    return all(
        one.send(b"are you there?") and other.receive(14) == b"are you there?"
        for one, other in (ends, reversed(ends))
    )


# Seconds until TCP gives up: a peer that does not answer when asked, or data that is not confirmed
IMPATIENT = {
    "tcp_keepalive_time": 1,
    "tcp_keepalive_intvl": 1,
    "tcp_keepalive_probes": 2,
    "tcp_retries2": 2,
}


def test_a_link_that_is_cut_for_good_resets_both_ends(stage: Stage, link: Link) -> None:
    for machine in (link.near, link.far):
        machine.set(**IMPATIENT)
    asking, trusting = lay(stage, link), lay(stage, link, "-j")
    asked, trusted = asking.establish(), trusting.establish()
    link.rest()
    link.cut()
    for peer in asked:
        assert peer.read_to_reset() == b""
    for pipe in (asking.e, asking.d):
        pipe.wait_to_say("connection lost")
    # without keep-alive, nobody notices before there is something to send
    assert not any(peer.has_news() for peer in trusted)
    client, target = trusted
    client.send(b"are you there?")
    assert client.read_to_reset() == b""
    assert not target.has_news()


def test_a_target_that_vanishes_is_a_reset(stage: Stage, link: Link) -> None:
    link.near.set(**IMPATIENT)
    target = listen(stage, link.far)
    with link.near.entered():
        address = link.near.address()
        server = stage.spiped("-d", target.address, "-o", "0.5", source=address)
        client = stage.spiped("-e", server.source, source=link.near.address())
        idle, busy = client.connect(), client.connect()
    accepted = [target.accept() for _ in range(2)]
    link.rest()
    link.cut()
    busy.send(noise(0))
    with link.near.entered():
        late = client.connect()
    assert late.read_to_reset() == b""
    server.wait_to_say("connecting timed out")
    assert busy.read_to_reset() == b""
    assert idle.read_to_reset() == b""
    assert not any(peer.has_news() for peer in accepted)
