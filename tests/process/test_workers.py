"""Several workers behind one address: what one of them suffers does not concern the others."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from tests.daemons import (
    Daemon,
    Peer,
    Stage,
    asleep,
    echoes,
    is_echoed,
    is_gone,
    is_listening,
    needs,
    wait_until,
)


def start(stage: Stage, *options: str, **how: object) -> Daemon:
    """An encrypting daemon with these options, before a decrypting one and an echo."""
    echo = stage.echo()
    server = stage.spiped("-d", echo.address, "-n", "0")
    return stage.spiped("-e", server.source, *options, **how)


def connect_to_worker(daemon: Daemon, worker: int) -> Peer:
    """An established connection that this worker carries."""
    with asleep(set(daemon.workers) - {worker}):
        peer = daemon.connect()
        assert echoes(peer)
    return peer


def test_there_are_as_many_workers_as_asked_for(stage: Stage) -> None:
    daemon = start(stage, "--workers", "3")
    wait_until(lambda: len(daemon.workers) == 3, "there are three workers")


def test_auto_means_a_worker_for_every_cpu_that_may_be_used(stage: Stage) -> None:
    cpu = str(min(os.sched_getaffinity(0)))
    daemon = start(stage, "--workers", "auto", beginning=[needs("taskset"), "-c", cpu])
    wait_until(lambda: len(daemon.workers) == 1, "there is one worker")
    everywhere = start(stage)
    count = len(os.sched_getaffinity(0))
    wait_until(lambda: len(everywhere.workers) == count, f"there are {count} workers")


@pytest.mark.parametrize("workers", [2, 3])
def test_a_killed_worker_is_replaced_and_the_others_connections_go_on(
    stage: Stage, workers: int
) -> None:
    daemon = start(stage, "--workers", str(workers), "-n", "0", background=True)
    victim, *others = daemon.workers
    lost = connect_to_worker(daemon, victim)
    kept = [connect_to_worker(daemon, worker) for worker in others]
    os.kill(victim, signal.SIGKILL)
    assert lost.read_to_reset() == b""
    assert all(echoes(peer) for peer in kept)
    wait_until(lambda: len(daemon.workers) == workers, "the worker has been replaced")
    assert victim not in daemon.workers
    (replacement,) = set(daemon.workers) - set(others)
    assert echoes(connect_to_worker(daemon, replacement))
    assert all(echoes(peer) for peer in kept)


def test_a_worker_that_does_nothing_does_not_keep_connections_from_the_others(
    stage: Stage,
) -> None:
    daemon = start(stage, "--workers", "2", "-n", "0", background=True)
    with asleep({daemon.workers[0]}):
        clients = [daemon.connect() for _ in range(20)]
        assert all(echoes(client) for client in clients)


def test_clients_with_names_of_their_own_harm_nobody(stage: Stage) -> None:
    """A client may bind its UNIX socket to any name, also to an abstract one of no length."""
    target = stage.listener("unix")
    daemon = stage.spiped("-d", target.address, "--workers", "1")
    workers = daemon.workers
    for name in (b"\0", b"\0name", b"\0\xff", os.fsencode(stage.path("client"))):
        with Peer(socket.socket(socket.AF_UNIX)) as client:
            client.sock.bind(name)
            client.sock.connect(daemon.source)
            client.finish().read_all()
    assert daemon.workers == workers


def test_connections_come_in_though_one_worker_has_more_than_its_share(stage: Stage) -> None:
    daemon = start(stage, "--workers", "2", "-n", "0", background=True)
    busy = daemon.workers[0]
    clients = [connect_to_worker(daemon, busy) for _ in range(5)]
    assert all(is_echoed(daemon.source) for _ in range(20))
    assert all(echoes(client) for client in clients)


def test_the_death_of_a_worker_is_reported(stage: Stage) -> None:
    daemon = start(stage, "--workers", "2")
    wait_until(lambda: len(daemon.workers) == 2, "there are two workers")
    victim = daemon.workers[0]
    os.kill(victim, signal.SIGKILL)
    daemon.wait_to_say(f"spiped: Worker {victim} died (signal 9); starting another\n")


def test_connections_come_in_while_all_workers_die(stage: Stage) -> None:
    daemon = start(stage, "--workers", "2", background=True)
    for victim in daemon.workers:
        os.kill(victim, signal.SIGKILL)
    with daemon.connect() as client:  # the listening socket has stayed
        assert echoes(client)


def test_the_limit_of_connections_holds_over_all_workers(stage: Stage) -> None:
    listener = stage.listener()
    server = stage.spiped("-d", listener.address)
    daemon = stage.spiped("-e", server.source, "-n", "5", "--workers", "3")
    clients = [daemon.connect().send(bytes([number])) for number in range(5)]
    accepted = [listener.accept() for _ in clients]
    targets = {target.receive(1)[0]: target for target in accepted}
    daemon.wait_to_say("spiped: Maximum number of connections (5) reached\n")
    waiting = [daemon.connect().send(b"let me in") for _ in range(3)]
    for number, client in enumerate(clients):  # all five go on, and nobody else gets in
        client.send(b"I am in")
        assert targets[number].receive(7) == b"I am in"
    assert listener.nobody_came()
    for number in range(3):
        clients[number].close()
        assert targets[number].read_to_end() == b""
        targets[number].close()
        with listener.accept() as target:
            assert target.receive(9) == b"let me in"
        assert listener.nobody_came()
    for client in waiting:
        assert client.read_to_end() == b""


def test_connections_of_a_killed_worker_count_no_more(stage: Stage) -> None:
    daemon = start(stage, "--workers", "1", "-n", "2")
    clients = [daemon.connect() for _ in range(2)]
    assert all(echoes(client) for client in clients)
    third = daemon.connect()
    os.kill(daemon.workers[0], signal.SIGKILL)
    assert echoes(third)


def test_no_limit_means_no_limit(stage: Stage) -> None:
    daemon = start(stage, "-n", "0")
    clients = [daemon.connect() for _ in range(120)]  # the default would be 100
    assert all(echoes(client) for client in clients)


def test_workers_finish_their_connections_when_the_supervisor_is_killed(stage: Stage) -> None:
    daemon = start(stage, "--workers", "2", background=True)
    workers = daemon.workers
    client = daemon.connect()
    assert echoes(client)
    daemon.signal(signal.SIGKILL)
    wait_until(lambda: not is_listening(daemon.source), "nobody listens")
    assert echoes(client)
    client.finish()
    assert client.read_to_end() == b""
    wait_until(lambda: all(map(is_gone, workers)), "the workers have left")
