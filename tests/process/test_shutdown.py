"""How long connections may take to end when the daemon is to: as long as they want, or not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.daemons import Daemon, Peer, Stage, echoes, is_gone, is_listening, wait_until
from tests.process.programs import write_program

LONG = "1000"  # seconds, that no test takes


def start(stage: Stage, *options: str) -> Daemon:
    """An encrypting daemon in the foreground, before a decrypting one and an echo."""
    server = stage.spiped("-d", stage.echo().address)
    return stage.spiped("-e", server.source, "--workers", "2", *options)


@pytest.fixture
def peers() -> Iterator[ExitStack]:
    """Closes the connections that enter it."""
    with ExitStack() as stack:
        yield stack


def connect(daemon: Daemon, peers: ExitStack) -> Peer:
    peer = peers.enter_context(daemon.connect())
    assert echoes(peer)
    return peer


def terminate(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: not is_listening(daemon.source), "it listens no more")


def reload(daemon: Daemon) -> list[int]:
    """Reload, and wait until new workers are in charge; returns those that are draining."""
    before = daemon.workers
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: len(set(daemon.workers) - set(before)) == 2, "there are new workers")
    wait_until(lambda: len(daemon.workers) < len(before) + 2, "idle workers have left")
    return [pid for pid in before if not is_gone(pid)]


@pytest.mark.parametrize("seconds", ["0", "0.3"])
def test_what_is_left_after_the_shutdown_timeout_is_reset(
    stage: Stage, peers: ExitStack, seconds: str
) -> None:
    daemon = start(stage, "--shutdown-timeout", seconds)
    clients = [connect(daemon, peers) for _ in range(3)]
    daemon.signal(signal.SIGTERM)
    assert all(client.read_to_reset() == b"" for client in clients)
    assert daemon.wait() == 0
    assert "spiped: Shutdown timeout: connections are reset (3)\n" in daemon.said


def test_until_then_connections_go_on_and_the_last_one_ends_the_daemon(
    stage: Stage, peers: ExitStack
) -> None:
    daemon = start(stage, "--shutdown-timeout", LONG)
    client = connect(daemon, peers)
    terminate(daemon)
    assert echoes(client, b"x" * 100_000)
    assert client.finish().read_to_end() == b""
    assert daemon.wait() == 0
    assert "timeout" not in daemon.said


def test_a_second_sigterm_does_not_wait_for_the_shutdown_timeout(
    stage: Stage, peers: ExitStack
) -> None:
    daemon = start(stage, "--shutdown-timeout", LONG)
    client = connect(daemon, peers)
    terminate(daemon)
    daemon.signal(signal.SIGTERM)
    assert client.read_to_reset() == b""
    assert daemon.wait() == 0


def test_a_reload_gives_connections_all_the_time_they_want(stage: Stage, peers: ExitStack) -> None:
    daemon = start(stage, "--shutdown-timeout", "0")
    client = connect(daemon, peers)
    assert len(reload(daemon)) == 1
    assert echoes(client)
    daemon.signal(signal.SIGTERM)  # which is about all connections, those of old workers as well
    assert client.read_to_reset() == b""
    assert daemon.wait() == 0


# A lame duck: not ready at once, and still there for those who come


def leave(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    daemon.wait_to_say("Leaving: not ready any more; clients are still accepted for ")


def start_loudly(stage: Stage, *options: str, program: str | None = None) -> Daemon:
    """As `start`, and changes of state are told."""
    server = stage.spiped("-d", stage.echo().address)
    loud = ("--workers", "2", "--log-level", "notice")
    return stage.spiped("-e", server.source, *loud, *options, program=program)


def test_until_the_shutdown_delay_is_over_clients_are_accepted(
    stage: Stage, peers: ExitStack
) -> None:
    daemon = start_loudly(stage, "--shutdown-delay", LONG, "--shutdown-timeout", "0")
    before = connect(daemon, peers)
    leave(daemon)
    during = connect(daemon, peers)
    assert echoes(before)
    assert echoes(during)
    assert is_listening(daemon.source)


def test_after_the_shutdown_delay_it_ends_as_it_would_have_without(
    stage: Stage, peers: ExitStack
) -> None:
    daemon = start_loudly(stage, "--shutdown-delay", "0.3")
    client = connect(daemon, peers)
    leave(daemon)
    wait_until(lambda: not is_listening(daemon.source), "it listens no more")
    daemon.wait_to_say("Stopping: 1 connection may go on until it ends\n")
    assert echoes(client)
    assert client.finish().read_to_end() == b""
    assert daemon.wait() == 0


def test_the_shutdown_timeout_begins_when_the_delay_is_over(stage: Stage, peers: ExitStack) -> None:
    daemon = start_loudly(stage, "--shutdown-delay", "0.5", "--shutdown-timeout", "0")
    client = connect(daemon, peers)
    leave(daemon)
    assert echoes(client)
    assert client.read_to_reset() == b""
    assert daemon.wait() == 0
    told = [daemon.said.index(text) for text in ("Leaving:", "Stopping:", "Shutdown timeout:")]
    assert told == sorted(told)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_another_signal_does_not_wait_for_the_shutdown_delay(
    stage: Stage, peers: ExitStack, number: int
) -> None:
    daemon = start_loudly(stage, "--shutdown-delay", LONG)
    client = connect(daemon, peers)
    leave(daemon)
    daemon.signal(number)
    assert client.read_to_reset() == b""
    assert daemon.wait() == (0 if number == signal.SIGTERM else -signal.SIGINT)
    assert "Stopping at once: connections are reset (1)\n" in daemon.said


def test_sigint_at_once_knows_no_shutdown_delay(stage: Stage, peers: ExitStack) -> None:
    daemon = start_loudly(stage, "--shutdown-delay", LONG)
    client = connect(daemon, peers)
    daemon.signal(signal.SIGINT)
    assert client.read_to_reset() == b""
    assert daemon.wait() == -signal.SIGINT


def test_a_worker_that_dies_meanwhile_is_replaced(stage: Stage, peers: ExitStack) -> None:
    daemon = start_loudly(stage, "--shutdown-delay", LONG)
    wait_until(lambda: len(daemon.workers) == 2, "all workers are there")
    leave(daemon)
    old = daemon.workers
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(daemon.workers) - set(old)) == 2, "others have taken their place")
    assert echoes(connect(daemon, peers))


# Says for SIGUSR1 how the supervisor is.
SAYS_PHASE = """
from spiped.observe.log.common import Remark
from spiped.service.supervisor import Supervisor
def says(self):
    ready = "ready" if self.is_ready else "not ready"
    return Remark(f"{self.phase.value}, {ready}")
Supervisor._totals = says
"""


def test_readiness_is_over_with_the_first_sigterm(stage: Stage, peers: ExitStack) -> None:
    """As a balancer will be told."""
    program = write_program(stage.directory / "spiped", harm=SAYS_PHASE)
    daemon = start_loudly(stage, "--shutdown-delay", LONG, program=program)

    def says(text: str) -> bool:
        daemon.signal(signal.SIGUSR1)
        return text in daemon.said

    client = connect(daemon, peers)
    wait_until(lambda: says("serving, ready\n"), "it is ready")
    leave(daemon)
    wait_until(lambda: says("lame_duck, not ready\n"), "it is not")
    assert echoes(client)


def test_a_daemon_of_which_no_worker_answers_is_not_ready(stage: Stage) -> None:
    program = write_program(stage.directory / "spiped", harm=SAYS_PHASE)
    daemon = start_loudly(stage, program=program)
    wait_until(lambda: len(daemon.workers) == 2, "all workers are there")
    for pid in daemon.workers:
        os.kill(pid, signal.SIGSTOP)

    def says(text: str) -> bool:
        daemon.signal(signal.SIGUSR1)
        return text in daemon.said

    wait_until(lambda: says("serving, not ready\n"), "it is not ready")


def test_a_log_is_opened_anew_also_while_connections_come_to_their_end(
    stage: Stage, peers: ExitStack
) -> None:
    log = stage.path("log")
    daemon = start(stage, "--log-file", str(log), "--verbose")
    client = connect(daemon, peers)
    terminate(daemon)
    log.rename(stage.path("rotated"))
    daemon.signal(signal.SIGHUP)
    wait_until(log.exists, "there is a new one")
    assert client.finish().read_to_end() == b""
    assert daemon.wait() == 0
    assert log.read_text().splitlines()[-1].endswith("spiped: Stopped")


@pytest.mark.parametrize("draining", [False, True])
def test_a_worker_that_does_not_even_stop_is_ended(
    stage: Stage, peers: ExitStack, draining: bool
) -> None:
    daemon = start(stage, "--shutdown-timeout", "0.3")
    client = connect(daemon, peers)
    stuck = reload(daemon) if draining else daemon.workers
    for pid in stuck:
        os.kill(pid, signal.SIGSTOP)
    daemon.signal(signal.SIGTERM)
    assert client.read_to_reset() == b""
    assert daemon.wait() == 0
    assert all(map(is_gone, stuck))


# The first line of totals takes its time, as it does on a busy machine.
SLOW = """
import time
from spiped.service.supervisor import Supervisor
totals = Supervisor._totals
def slow_totals(self):
    Supervisor._totals = totals
    time.sleep(1)
    return totals(self)
Supervisor._totals = slow_totals
"""


def test_sigterm_is_not_lost_among_many_other_signals(stage: Stage) -> None:
    program = write_program(stage.directory / "spiped", harm=SLOW)
    daemon = stage.spiped("-d", "[127.0.0.1]:1", "--log-file", "/dev/null", program=program)
    for _ in range(20_000):
        os.kill(daemon.pid, signal.SIGUSR1)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
