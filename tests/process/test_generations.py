"""Generations of workers: any number may drain, none is in the way of a reload or an upgrade, and
only `--drain-timeout` ends one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.conftest import backends
from tests.daemons import Daemon, Peer, Stage, echoes, is_echoed, is_gone, wait_until

MANY = 20  # generations
BATCHES = 2 * 128 * 1060  # bytes: of packets that are received, and that are to be sent


@pytest.fixture
def log(stage: Stage) -> Path:
    return stage.directory / "log"


@pytest.fixture
def peers() -> Iterator[ExitStack]:
    """Closes the connections that enter it."""
    with ExitStack() as stack:
        yield stack


def start(stage: Stage, log: Path, *more: str, **how: object) -> Daemon:
    words = ("--workers", "1", "--log-file", str(log), *more)
    return stage.spiped("-d", stage.echo().address, *words, background=True, **how)


def connect(client: Daemon, peers: ExitStack) -> Peer:
    peer = peers.enter_context(client.connect())
    assert echoes(peer)
    return peer


def replace(server: Daemon, log: Path, number: signal.Signals = signal.SIGHUP) -> None:
    """Reload or upgrade, and wait until new workers have taken over."""
    count = log.read_text().count("Reloaded: ")
    server.signal(number)
    wait_until(lambda: log.read_text().count("Reloaded: ") > count, "new workers serve")


def test_any_number_of_generations_drains_and_none_is_in_the_way(
    stage: Stage, log: Path, peers: ExitStack
) -> None:
    """Neither of reloads nor of upgrades; and each key is in force at once."""
    key = Path(stage.write("changing", b"%32d" % 0))
    server = start(stage, log, key=str(key))
    open_ones, clients = [], []
    for number in range(MANY):
        clients.append(stage.spiped("-e", server.source, key=stage.write("now", b"%32d" % number)))
        open_ones.append(connect(clients[-1], peers))
        assert not any(is_echoed(client.source) for client in clients[-2:-1])
        key.write_bytes(b"%32d" % (number + 1))
        replace(server, log, signal.SIGUSR2 if number % 5 == 4 else signal.SIGHUP)
        drain = "worker drains" if number == 0 else "workers drain"
        assert f"; {number + 1} older {drain}\n" in log.read_text()
    assert len(server.workers) == MANY + 1
    assert all(echoes(peer, os.urandom(5000)) for peer in open_ones)
    for peer in open_ones:
        assert peer.finish().read_to_end() == b""
    wait_until(lambda: len(server.workers) == 1, "all that drained have left")
    server.signal(signal.SIGUSR1)
    wait_until(lambda: f" {MANY} established;" in log.read_text(), "all have been counted")


def test_all_generations_end_with_the_daemon(stage: Stage, log: Path, peers: ExitStack) -> None:
    server = start(stage, log, "--shutdown-timeout", "0.2")
    client = stage.spiped("-e", server.source)
    open_ones = []
    for _ in range(3):
        open_ones.append(connect(client, peers))
        replace(server, log)
    workers = server.workers
    server.signal(signal.SIGTERM)
    assert all(peer.read_to_reset() == b"" for peer in open_ones)
    server.wait_until_gone()
    assert all(map(is_gone, workers))
    assert "Shutdown timeout: connections are reset (3)" in log.read_text()


# --drain-timeout


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_connections_have_as_much_time_as_the_drain_timeout_gives_them(
    stage: Stage, log: Path, peers: ExitStack, number: signal.Signals
) -> None:
    server = start(stage, log, "--drain-timeout", "0.5")
    client = stage.spiped("-e", server.source)
    old = connect(client, peers)
    replace(server, log, number)
    new = connect(client, peers)
    assert echoes(old)
    assert old.read_to_reset() == b""
    wait_until(lambda: len(server.workers) == 1, "the old worker has left")
    assert "Drain timeout: connections of generation 1 are reset (1 worker ends)" in log.read_text()
    assert echoes(new)


def test_an_upgrade_gives_connections_no_more_time(
    stage: Stage, log: Path, peers: ExitStack
) -> None:
    """They drain for as long as it says, whoever supervises them."""
    server = start(stage, log, "--drain-timeout", "3")
    client = stage.spiped("-e", server.source)
    old = connect(client, peers)
    replace(server, log)
    for _ in range(2):
        replace(server, log, signal.SIGUSR2)
    new = connect(client, peers)
    assert old.read_to_reset() == b""
    assert "Drain timeout: connections of generation 1 are reset (1 worker ends)" in log.read_text()
    assert echoes(new)


def test_a_generation_that_has_left_in_time_is_not_told_of(
    stage: Stage, log: Path, peers: ExitStack
) -> None:
    server = start(stage, log, "--drain-timeout", "0.3")
    client = stage.spiped("-e", server.source)
    peer = connect(client, peers)
    replace(server, log)
    assert peer.finish().read_to_end() == b""
    wait_until(lambda: len(server.workers) == 1, "the old worker has left")
    slow = connect(client, peers)
    replace(server, log)
    assert slow.read_to_reset() == b""  # by when the first one would have been told of
    assert "generation 1 are reset" not in log.read_text()


# Memory


@pytest.mark.skipif("native" not in backends(), reason="only the extension has batches")
def test_a_worker_that_drains_and_is_idle_keeps_no_memory_for_moving_data(
    stage: Stage, log: Path, peers: ExitStack
) -> None:
    server = start(stage, log)
    client = stage.spiped("-e", server.source)
    peer = connect(client, peers)
    (worker,) = server.workers
    replace(server, log)
    data = os.urandom(1 << 20)

    def resident() -> int:
        return int(psutil.Process(worker).memory_info().rss)

    for _ in range(2):
        sending = stage.meanwhile(peer.send, data)
        assert peer.receive(len(data)) == data
        sending.result()
        most = resident() - BATCHES + 50_000
        wait_until(lambda most=most: resident() < most, "it has given memory back")
