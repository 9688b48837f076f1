"""SIGHUP: a new key for new connections, without harm to those that there are."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemons import Daemon, Stage, echoes, is_echoed, ours, wait_until
from tests.process.programs import write_program

YESTERDAY, TOMORROW = b"the key of yesterday", b"the key of tomorrow"
WORKERS = 2


@pytest.fixture
def key_file(stage: Stage) -> Path:
    return Path(stage.write("changing", YESTERDAY))


@pytest.fixture
def server(stage: Stage, key_file: Path) -> Daemon:
    """A decrypting daemon whose key can change."""
    options = ("--workers", str(WORKERS), "--log-file", str(stage.directory / "log"))
    return stage.spiped("-d", stage.echo().address, *options, key=str(key_file), background=True)


@pytest.fixture
def yesterday(stage: Stage, server: Daemon) -> str:
    """Where clients connect that have the key that the server has at first."""
    return stage.spiped("-e", server.source, key=stage.write("old_key", YESTERDAY)).source


@pytest.fixture
def tomorrow(stage: Stage, server: Daemon) -> str:
    """Where clients connect that have the key that the server will have."""
    return stage.spiped("-e", server.source, key=stage.write("new_key", TOMORROW)).source


def reload(server: Daemon) -> None:
    """Reload, and wait until only new workers are left.  There may be no connections."""
    wait_until(lambda: len(server.workers) == WORKERS, "all workers are there")
    before = set(server.workers)
    server.signal(signal.SIGHUP)
    wait_until(lambda: workers_are_new(server, before), "there are new workers, and no old ones")


def workers_are_new(server: Daemon, before: set[int]) -> bool:
    return len(server.workers) == WORKERS and before.isdisjoint(server.workers)


def wait_for_log(stage: Stage, text: str) -> None:
    log = stage.directory / "log"
    wait_until(lambda: text in log.read_text(), f"the log says {text!r}")


def test_a_new_key_is_for_new_connections(
    server: Daemon, key_file: Path, yesterday: str, tomorrow: str
) -> None:
    assert is_echoed(yesterday)
    assert not is_echoed(tomorrow)
    key_file.write_bytes(TOMORROW)
    assert is_echoed(yesterday)  # nothing has been reloaded yet
    reload(server)
    assert is_echoed(tomorrow)
    assert not is_echoed(yesterday)


def test_connections_with_the_old_key_go_on(
    stage: Stage, server: Daemon, key_file: Path, tomorrow: str
) -> None:
    client = stage.spiped("-e", server.source, key=stage.write("old_key", YESTERDAY))
    with client.connect() as peer:
        assert echoes(peer)
        before = server.workers
        key_file.write_bytes(TOMORROW)
        server.signal(signal.SIGHUP)
        wait_until(lambda: is_echoed(tomorrow), "the new key is in force")
        assert echoes(peer, b"x" * 100_000)
        assert set(before) & set(server.workers)  # one of them carries it
        assert peer.finish().read_to_end() == b""
    wait_until(lambda: workers_are_new(server, set(before)), "the old workers have left")


def test_a_key_that_cannot_be_read_leaves_the_old_one_in_force(
    stage: Stage, server: Daemon, key_file: Path, yesterday: str
) -> None:
    before = server.workers
    key_file.unlink()
    server.signal(signal.SIGHUP)
    wait_for_log(stage, f"Cannot open file: {key_file}: No such file or directory")
    wait_for_log(stage, "Reload failed: the old key stays in force")
    assert is_echoed(yesterday)
    assert server.workers == before


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_key_file_that_is_none_any_more_leaves_the_old_key_in_force(
    stage: Stage, server: Daemon, key_file: Path, yesterday: str, make: Callable[[Path], None]
) -> None:
    """Whoever opened a pipe would wait, and obey no signal any more."""
    key_file.unlink()
    make(key_file)
    server.signal(signal.SIGHUP)
    wait_for_log(stage, f"Error reading file: {key_file}: no longer a regular file")
    assert is_echoed(yesterday)


def test_a_failed_reload_does_not_prevent_a_later_one(
    stage: Stage, server: Daemon, key_file: Path, tomorrow: str
) -> None:
    key_file.unlink()
    server.signal(signal.SIGHUP)
    wait_for_log(stage, "Reload failed")
    key_file.write_bytes(TOMORROW)
    reload(server)
    assert is_echoed(tomorrow)


def test_reloads_in_quick_succession_come_to_the_last_key(
    server: Daemon, key_file: Path, tomorrow: str
) -> None:
    before = set(server.workers)
    for key in (b"one", b"two", TOMORROW):
        key_file.write_bytes(key)
        server.signal(signal.SIGHUP)
    wait_until(lambda: is_echoed(tomorrow), "the last key is in force")
    wait_until(lambda: workers_are_new(server, before), "as many workers as before are left")
    assert is_echoed(tomorrow)


# Workers are in no hurry to be ready.
SLOW = """
import time
from spiped.service.worker import Worker
begin = Worker.begin
def begin_later(self):
    time.sleep(0.5)
    begin(self)
Worker.begin = begin_later
"""


def test_any_number_of_reloads_comes_to_the_last_key(stage: Stage, key_file: Path) -> None:
    """However long new workers take, no more of them are made than can take over."""
    program = write_program(stage.directory / "spiped", harm=SLOW)
    options = ("--workers", str(WORKERS), "--log-file", str(stage.directory / "log"))
    server = stage.spiped(
        "-d", stage.echo().address, *options, key=str(key_file), program=program, background=True
    )
    client = stage.spiped("-e", server.source, key=stage.write("new_key", TOMORROW))
    for i in range(20):
        key_file.write_bytes(b"%d" % i)
        server.signal(signal.SIGHUP)
        time.sleep(0.05)
        assert len(server.workers) <= 2 * WORKERS + 1  # and one who looks up the target
    key_file.write_bytes(TOMORROW)
    server.signal(signal.SIGHUP)
    wait_until(lambda: is_echoed(client.source), "the last key is in force")
    assert "refused" not in (stage.directory / "log").read_text()


def test_it_reloads_although_hang_ups_were_ignored_at_the_start(stage: Stage) -> None:
    """As under nohup(1)."""
    beginning = ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
    options = ("--workers", str(WORKERS))
    server = stage.spiped("-d", stage.echo().address, *options, beginning=beginning)
    reload(server)


def test_a_key_from_standard_input_stays(stage: Stage) -> None:
    pid_file, source = stage.directory / "pid", stage.address()
    words = ("-s", source, "-t", stage.echo().address, "-k", "-", "-p", str(pid_file))
    stage.run(ours("spiped"), "-d", "--workers", str(WORKERS), *words, input=YESTERDAY, check=True)
    server = stage.adopt(pid_file, source)
    reload(server)
    client = stage.spiped("-e", source, key=stage.write("old_key", YESTERDAY))
    assert is_echoed(client.source)


def test_a_key_from_a_named_pipe_stays(stage: Stage) -> None:
    """Nobody will write to it again: whoever opened it would wait, and obey no signal any more."""
    fifo = stage.directory / "fifo"
    os.mkfifo(fifo)
    writing = stage.meanwhile(fifo.write_bytes, YESTERDAY)
    options = ("--workers", str(WORKERS))
    server = stage.spiped("-d", stage.echo().address, *options, key=str(fifo))
    writing.result()
    reload(server)
    client = stage.spiped("-e", server.source, key=stage.write("old_key", YESTERDAY))
    assert is_echoed(client.source)


def test_no_connection_is_refused_during_reloads(server: Daemon, yesterday: str) -> None:
    before: set[int] = set()

    def replaced() -> bool:
        assert is_echoed(yesterday)
        return workers_are_new(server, before)

    for _ in range(3):
        before = set(server.workers)
        server.signal(signal.SIGHUP)
        wait_until(replaced, "there are new workers, and no old ones")
