"""More than a daemon can take: it takes what it can, pauses, recovers, and the connections that
there are do not notice.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import time
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import psutil
import pytest

from bench.programs import build
from bench.workloads import HELLO
from tests.conftest import backends
from tests.crowd import Crowd
from tests.daemons import (
    PATIENCE,
    Daemon,
    Listener,
    Peer,
    Stage,
    asleep,
    echoes,
    is_echoed,
    wait_until,
)
from tests.flood.run import Flood, Scene

BACKLOG = 4096
MORE_PATIENCE = 4 * PATIENCE  # where there is much to compute
KB = 1 << 10


@cache
def noise() -> bytes:
    return random.Random(1).randbytes(1 << 20)


class Pair(NamedTuple):
    """`spiped -e`, `spiped -d`, and an echo behind them."""

    e: Daemon
    d: Daemon

    def end(self, role: str) -> Daemon:
        return self.e if role == "-e" else self.d

    def establish(self) -> Peer:
        """A connection that is there."""
        peer = self.e.connect()
        assert echoes(peer)
        return peer


def start(stage: Stage, target: Listener, *options: str, limit: int = 0, wait: str = "5") -> Pair:
    """One worker at each end; the limits are those of -d, whose worker strangers come to."""
    words = ("--workers", "1", *options)
    server = stage.spiped("-d", target.address, *words, "-n", str(limit), "-o", wait)
    client = stage.spiped("-e", server.source, *words, "-n", "0", "-o", str(PATIENCE))
    return Pair(client, server)


def carries_on(peer: Peer, stage: Stage) -> bool:
    """A connection to an echo carries a lot, both ways, and every byte is right."""
    sending = stage.meanwhile(peer.send, noise())
    received = peer.receive(len(noise()))
    sending.result()
    return received == noise()


def crowd(daemon: Daemon, count: int) -> list[socket.socket]:
    """Strangers who have been let in, or will be, or not: they do not wait for it."""
    host, _, port = daemon.source.rpartition(":")
    strangers = [socket.socket() for _ in range(count)]
    for stranger in strangers:
        stranger.setblocking(False)
        stranger.connect_ex((host.strip("[]"), int(port)))
    return strangers


def disperse(strangers: list[socket.socket]) -> None:
    """All of them reset their connections."""
    for stranger in strangers:
        Peer(stranger).reset()


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


# Descriptors


@pytest.mark.parametrize("role", ["-e", "-d"])
def test_a_worker_without_descriptors_harms_no_connection_and_recovers(
    stage: Stage, backend: str, role: str
) -> None:
    pair = start(stage, stage.echo())
    bystander = pair.establish()
    (worker,) = pair.end(role).workers
    _, most = psutil.Process(worker).rlimit(resource.RLIMIT_NOFILE)
    spare = 10  # five connections, or four and a half
    limit = descriptors(worker) + spare
    psutil.Process(worker).rlimit(resource.RLIMIT_NOFILE, (limit, most))
    clients = [pair.e.connect().send(b"hello") for _ in range(20)]
    pair.end(role).wait_to_say(f"Too many open files: `ulimit -n` is {limit}\n")
    assert carries_on(bystander, stage)
    for client in clients:
        client.close()
    wait_until(lambda: is_echoed(pair.e.source), "others are served again")
    assert carries_on(bystander, stage)
    psutil.Process(worker).rlimit(resource.RLIMIT_NOFILE, (most, most))
    clients = [pair.e.connect() for _ in range(20)]
    assert all(map(echoes, clients))
    assert pair.end(role).workers == [worker]


# Strangers


def test_strangers_who_say_nothing_take_the_places_only_for_a_while(
    stage: Stage, backend: str
) -> None:
    pair = start(stage, stage.echo(), limit=10, wait="1")
    bystander = pair.establish()
    strangers = crowd(pair.d, 12)
    pair.d.wait_to_say("it had to make room for another one")
    late = pair.e.connect().send(b"let me in").finish()
    assert carries_on(bystander, stage)
    assert late.read_to_end() == b"let me in"
    assert carries_on(bystander, stage)
    for stranger in strangers:
        stranger.close()


def test_a_queue_full_of_strangers_harms_no_connection(stage: Stage, backend: str) -> None:
    pair = start(stage, stage.echo())
    bystander = pair.establish()
    with asleep(set(pair.d.workers)):
        strangers = crowd(pair.d, BACKLOG + 100)
        disperse(strangers[::2])
    assert carries_on(bystander, stage)
    wait_until(lambda: is_echoed(pair.e.source), "others are served")
    assert carries_on(bystander, stage)
    disperse(strangers[1::2])
    wait_until(lambda: is_echoed(pair.e.source), "others are served again")


def test_twenty_thousand_connections_that_are_opened_and_reset_leave_nothing(stage: Stage) -> None:
    pair = start(stage, stage.echo())
    bystander = pair.establish()
    before = [descriptors(pid) for end in pair for pid in end.workers]
    for _ in range(10):
        disperse(crowd(pair.d, 2000))
        assert echoes(bystander)
    wait_until(lambda: is_echoed(pair.e.source), "others are served")
    wait_until(
        lambda: [descriptors(pid) for end in pair for pid in end.workers] == before,
        "no descriptor of theirs is left",
    )
    assert carries_on(bystander, stage)


def test_round_trips_are_right_in_a_flood_of_strangers(stage: Stage) -> None:
    report = Scene(stage, connections=4).measure(1.0, Flood(count=2000, rate=2000, hanging=500))
    assert report.strangers["let_in"] > 1000
    assert report.trips["count"] > 100
    assert (report.trips["damaged"], report.trips["failed"]) == (0, 0)
    assert report.trips["sent"] == report.trips["received"]


# Those who come back at once

STRANGERS = 400  # more than the places that there are by default for those who hold no key
CLIENTS = 6
SERVED = 5  # of them, at least

PEERS = 2000 if "native" in backends() else 50  # whose keys take a while to compute


def test_silent_strangers_who_come_back_at_once_do_not_keep_clients_out(
    stage: Stage, backend: str
) -> None:
    # nobody has waited for too long: only who makes room for others goes
    server = stage.spiped("-d", stage.echo().address, "-o", str(PATIENCE))
    client = stage.spiped("-e", server.source, "-o", str(PATIENCE))
    strangers = stage.on_stage(Crowd(server.source, STRANGERS))
    wait_until(lambda: strangers.returns > STRANGERS, "strangers have been dropped, and are back")
    assert sum(is_echoed(client.source) for _ in range(CLIENTS)) >= SERVED
    before = strangers.returns
    wait_until(lambda: strangers.returns > before, "strangers still come back")


def test_thousands_of_peers_who_reconnect_at_once_are_all_served(stage: Stage) -> None:
    load = build(stage.directory).load
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        fd = listener.fileno()
        stage.start(load, "target", str(fd), pass_fds=[fd])
        target = f"[127.0.0.1]:{listener.getsockname()[1]}"
        server = stage.spiped("-d", target, "-n", str(PEERS + 10))
        client = stage.spiped("-e", server.source, "-n", "0", "-o", str(PATIENCE))
        peers = stage.on_stage(Crowd(client.source, PEERS, HELLO))
        wait_until(lambda: peers.answered == PEERS, "all are served", MORE_PATIENCE)
        before = peers.returns
        for worker in server.workers:
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: peers.returns >= before + PEERS, "all have come back", MORE_PATIENCE)
        wait_until(lambda: peers.answered == PEERS, "all are served again", MORE_PATIENCE)


# Peers that are slow

UNSENT = 136 * KB  # of a connection's direction, at the most: DESIGN.md, "The data plane"
REST = 16 * KB  # of a connection, beside that

STALLED = 50  # looks without any progress after which everything has come to rest


class Flow:
    """One end of a connection that sends what it can, and reads nothing until it is told to."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.sent = 0

    def push(self) -> bool:
        """Send until nothing more is taken; False if nothing was."""
        before = self.sent
        self.peer.sock.setblocking(False)
        try:
            while True:
                start = self.sent % len(noise())
                self.sent += self.peer.sock.send(noise()[start : start + (64 * KB)])
        except BlockingIOError:
            return self.sent > before
        finally:
            self.peer.sock.settimeout(PATIENCE)

    def has_arrived(self, receiver: Peer) -> bool:
        """All that was sent arrives, and then the end."""
        self.peer.finish()
        position = 0
        while data := receiver.sock.recv(256 * KB):
            start = position % len(noise())
            expected = noise()[start : start + len(data)]
            expected += noise()[: len(data) - len(expected)]
            assert data == expected
            position += len(data)
        return position == self.sent


def memory(pid: int) -> int:
    return int(psutil.Process(pid).memory_full_info().uss)


def test_peers_that_never_read_take_no_more_memory_than_is_documented(stage: Stage) -> None:
    count = 8
    listener = stage.listener()
    pair = start(stage, listener)

    def establish() -> tuple[Peer, Peer]:
        client = pair.e.connect().send(b"hello")
        target = listener.accept()
        assert target.receive(5) == b"hello"
        return client, target

    # the batch buffers, which are the worker's, have been used before it counts
    for sender, receiver in (establish(), reversed(establish())):
        flow = Flow(sender)
        flow.push()
        assert flow.has_arrived(receiver)
    connections = [establish() for _ in range(count)]
    workers = [pid for end in pair for pid in end.workers]
    before = [memory(pid) for pid in workers]
    flows = [
        (Flow(sender), receiver)
        for client, target in connections
        for sender, receiver in ((client, target), (target, client))
    ]
    still = [0]  # looks at which nothing moved any more

    def at_rest() -> bool:
        moved = [flow.push() for flow, _ in flows]
        still[0] = 0 if any(moved) else still[0] + 1
        return still[0] == STALLED

    wait_until(at_rest, "nothing moves")
    used = [(memory(pid) - base) / count for pid, base in zip(workers, before, strict=True)]
    assert max(used) > 0
    assert max(used) < 2 * UNSENT + REST
    arriving = [stage.meanwhile(flow.has_arrived, receiver) for flow, receiver in flows]
    assert all(future.result() for future in arriving)


# Silence


@pytest.mark.parametrize("near", ["-e", "-d"])
def test_a_slow_reader_is_not_taken_for_a_silent_one(stage: Stage, backend: str, near: str) -> None:
    """There is more for it, on its end of the pipe, than it takes for a while."""
    listener = stage.listener()
    limits = {near: ("--idle-timeout", "0.5")}
    server = stage.spiped("-d", listener.address, *limits.get("-d", ()))
    client = stage.spiped("-e", server.source, *limits.get("-e", ()))
    with client.connect() as plain, listener.accept() as target:
        reader, writer = (plain, target) if near == "-e" else (target, plain)
        reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.sock.setblocking(False)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                writer.sock.send(noise())
            reader.receive(4000)
            time.sleep(0.05)
        writer.sock.settimeout(PATIENCE)
        sending = stage.meanwhile(writer.send, noise() * 100)
        with pytest.raises(ConnectionError):  # but one that reads no more is
            sending.result()
