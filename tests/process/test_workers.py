"""Several workers behind one address: what one of them suffers does not concern the others."""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from contextlib import suppress

import psutil
import pytest

from spiped.process.signals import HANDLED
from spiped.service.worker_set import BACKOFF_MIN
from tests.daemons import (
    Daemon,
    Echo,
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
from tests.process.programs import write_program


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


def test_a_worker_without_descriptors_leaves_clients_to_the_other(stage: Stage) -> None:
    """Of whom the system may have woken none, because it takes the first for one that accepts."""
    daemon = start(stage, "--workers", "2", "-n", "0")
    for poor in daemon.workers:  # whichever of them is the first that the system wakes
        had = psutil.Process(poor).rlimit(psutil.RLIMIT_NOFILE)
        psutil.Process(poor).rlimit(psutil.RLIMIT_NOFILE, (3, had[1]))
        for _ in range(5):
            assert is_echoed(daemon.source)
        psutil.Process(poor).rlimit(psutil.RLIMIT_NOFILE, had)


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


def test_a_worker_leaves_the_signals_to_the_supervisor(stage: Stage) -> None:
    """One that drained by itself would be there still, and nobody would accept."""
    daemon = start(stage, "--workers", "1")
    with daemon.connect() as peer:
        assert echoes(peer)
        (worker,) = daemon.workers
        for number in HANDLED:
            os.kill(worker, number)
        assert is_echoed(daemon.source)
        assert echoes(peer)
        assert daemon.workers == [worker]


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


@pytest.mark.parametrize("number", ["SEGV", "ABRT", "BUS", "TERM", "QUIT", "ALRM", "PIPE", "USR2"])
def test_no_signal_to_one_worker_concerns_another(stage: Stage, number: str) -> None:
    daemon = start(stage, "--workers", "2", "-n", "0", background=True)
    victim, other = daemon.workers
    kept = connect_to_worker(daemon, other)
    ignored = number in ("PIPE", "TERM", "USR2")  # the last two are meant for the supervisor
    os.kill(victim, getattr(signal, f"SIG{number}"))
    if not ignored:
        wait_until(lambda: is_gone(victim), "the worker is gone")
    wait_until(lambda: len(daemon.workers) == 2, "there are two workers")
    assert other in daemon.workers
    assert (victim in daemon.workers) == ignored
    assert all(echoes(connect_to_worker(daemon, worker)) for worker in daemon.workers)
    assert echoes(kept)


class Flood(Echo):
    """A target that sends what it gets again and again."""

    def converse(self, peer: Peer) -> None:
        with peer, suppress(OSError):
            data = peer.sock.recv(100) * 1000
            while True:
                peer.send(data)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_worker_without_memory_harms_none_of_the_others_connections(stage: Stage) -> None:
    server = stage.spiped("-d", stage.on_stage(Flood(stage.address())).address)
    options = ("--workers", "2", "-n", "0")
    daemon = stage.spiped("-e", server.source, *options, source=stage.address("unix"))
    wait_until(lambda: len(daemon.workers) == 2, "there are two workers")
    poor, other = daemon.workers
    kept = connect_to_worker(daemon, other)
    connect_to_worker(daemon, poor).close()  # it has started
    process = psutil.Process(poor)
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms,) * 2)
    with asleep({other}):  # what nobody reads, the one without memory has to keep
        clients = [daemon.connect() for _ in range(50)]
        for client in clients:
            with suppress(BrokenPipeError):  # it was the first to find none
                client.send(b"x")
        wait_until(lambda: is_gone(poor) or "annot allocate memory" in daemon.said, "it shows")
    assert kept.receive(1_000_000)
    with asleep(set(daemon.workers) & {poor}), daemon.connect() as client:
        assert client.send(b"y").receive(100_000) == b"y" * 100_000
    for client in clients:
        client.close()


DYING = """
import os
from spiped.service.worker import Worker
begin = Worker.begin
def begin_if_allowed(self):
    if os.path.exists("deadly"):
        if "ready" in open("deadly").read():
            self._channel.send({"ready": True})
        os._exit(7)
    begin(self)
Worker.begin = begin_if_allowed
"""


def test_a_daemon_whose_workers_cannot_start_ends_with_a_message(stage: Stage) -> None:
    program = write_program(stage.directory / "spiped", harm=DYING)
    stage.write("deadly", b"")
    for way in (["-F"], []):
        source, pid_file = stage.address(), stage.directory / "pid"
        words = ["-d", "-s", source, "-t", "[127.0.0.1]:1", "-k", stage.key, "-p", str(pid_file)]
        result = stage.run(program, *words, *way)
        assert result.returncode == 1
        assert result.stderr == b"spiped: A worker could not start (exit status 7)\n"
        assert not is_listening(source)
        assert not pid_file.exists()


@pytest.mark.parametrize("how", [b"", b"ready"], ids=["at once", "when ready"])
def test_workers_that_die_again_and_again_are_replaced_ever_more_slowly(
    stage: Stage, how: bytes
) -> None:
    program = write_program(stage.directory / "spiped", harm=DYING)
    daemon = start(stage, "--workers", "2", program=program)
    wait_until(lambda: len(daemon.workers) == 2, "all workers are there")
    stage.write("deadly", how)
    began = time.monotonic()
    for worker in daemon.workers:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: daemon.said.count("exit status 7") >= 8, "they have died a few times")
    rounds = 3 + math.log2((time.monotonic() - began) / BACKOFF_MIN + 1)
    assert daemon.said.count("starting another") <= 2 * rounds
    (stage.directory / "deadly").unlink()
    wait_until(lambda: len(daemon.workers) == 2, "there are workers again")
    assert is_echoed(daemon.source)


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
    reached = "Maximum number of connections (5) reached: others wait until one ends"
    daemon.wait_to_say(f"spiped: {reached}\n")
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
