"""A worker that hangs is replaced; one that does not is left alone, whatever else stands still."""

from __future__ import annotations

import os
import signal
import time

import psutil

from spiped.service.worker_process import ASK_INTERVAL, UNANSWERED_MAX
from tests.daemons import Daemon, Peer, Stage, echoes, is_gone, wait_until
from tests.process.programs import write_program
from tests.process.test_workers import connect_to_worker

# The end of a connection that fails sends its worker into an endless loop.
SPINNING = """
from spiped.service.worker import Worker
def spin(self, ending):
    while True:
        pass
Worker._on_end = spin
"""


def start(stage: Stage, workers: int) -> Daemon:
    """An encrypting daemon of which any worker can be made to spin."""
    program = write_program(stage.directory / "spiped", harm=SPINNING)
    server = stage.spiped("-d", stage.echo().address, "-n", "0")
    options = ("--workers", str(workers), "-n", "0")
    daemon = stage.spiped("-e", server.source, *options, program=program)
    wait_until(lambda: len(daemon.workers) == workers, "all workers are there")
    return daemon


def switches(pid: int) -> int:
    """How often a process has waited for something."""
    return int(psutil.Process(pid).num_ctx_switches().voluntary)


def test_workers_that_hang_are_replaced_and_the_others_connections_go_on(stage: Stage) -> None:
    daemon = start(stage, workers=3)
    draining = daemon.workers[0]
    old = connect_to_worker(daemon, draining)
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: len(daemon.workers) == 4, "three new workers are there, and one old one")
    stopped, spinning, healthy = sorted(set(daemon.workers) - {draining})
    carried: dict[int, Peer] = {
        pid: connect_to_worker(daemon, pid) for pid in (stopped, spinning, healthy)
    }
    last = connect_to_worker(daemon, spinning)
    os.kill(draining, signal.SIGSTOP)
    os.kill(stopped, signal.SIGSTOP)
    last.reset()
    hung = (draining, stopped, spinning)
    wait_until(lambda: all(map(is_gone, hung)), "those that hang are gone")
    for peer in (old, carried[stopped], carried[spinning]):
        assert peer.read_to_reset() == b""
    assert echoes(carried[healthy])
    wait_until(lambda: len(daemon.workers) == 3, "two of them have been replaced")
    assert healthy in daemon.workers
    for worker in daemon.workers:
        assert echoes(connect_to_worker(daemon, worker))
    for pid in hung:
        assert daemon.said.count(f"Worker {pid} does not answer: killing it\n") == 1
        replaced = f"Worker {pid} died (signal 9); starting another\n"
        assert (replaced in daemon.said) == (pid != draining)


def test_no_worker_suffers_for_it_that_everything_has_stood_still(stage: Stage) -> None:
    """The supervisor alone in one daemon, all processes in the other, as in a machine's sleep."""
    echo = stage.echo()
    server = stage.spiped("-d", echo.address, "--workers", "2")
    client = stage.spiped("-e", server.source, "--workers", "2")
    wait_until(lambda: len(server.workers) == len(client.workers) == 2, "all workers are there")
    workers = server.workers, client.workers
    with client.connect() as peer:
        assert echoes(peer)
        asleep = [client.pid, server.pid, *server.workers]
        for pid in asleep:
            os.kill(pid, signal.SIGSTOP)
        time.sleep((UNANSWERED_MAX + 1) * ASK_INTERVAL)
        before = {pid: switches(pid) for pid in (client.pid, server.pid)}
        for pid in asleep:
            os.kill(pid, signal.SIGCONT)
        assert echoes(peer)
        for pid, count in before.items():
            wait_until(lambda p=pid, c=count: switches(p) > c + 2, "it has looked at its workers")
        assert echoes(peer)
    assert (server.workers, client.workers) == workers
    assert server.said == client.said == ""
