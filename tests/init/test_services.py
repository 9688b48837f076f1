"""What a service is to do, whichever service manager asks for it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.daemons import Daemon, Echo, Peer, Stage, family_of, is_gone, is_listening, wait_until
from tests.init.systems import FreeBSD, OpenRC, Pipe, PlainSysV, System, SysV

NEW_KEY = bytes(range(32, 64))


@pytest.fixture(params=[SysV, PlainSysV, OpenRC, FreeBSD])
def system(request: pytest.FixtureRequest, stage: Stage) -> Iterator[System]:
    if os.geteuid() != 0:
        pytest.skip("service managers run as root")
    system = request.param(stage)
    try:
        yield system
    finally:
        system.close()
        if system.log.exists():
            print(system.log.read_text())


@pytest.fixture
def echo(stage: Stage) -> Echo:
    return stage.echo()


@pytest.fixture
def pipe(stage: Stage, system: System, echo: Echo) -> Pipe:
    """A pipe that is configured, not started, with a key of its own."""
    pipe = Pipe("mail", stage.address(), echo.address, stage.write("mail.key", b"old"))
    system.configure(pipe)
    return pipe


def succeed(system: System, action: str, name: str) -> str:
    """What was printed."""
    done = system.do(action, name)
    assert done.returncode == 0, (action, done.stdout, done.stderr)
    return done.stdout.decode() + done.stderr.decode()


def fail(system: System, action: str, name: str) -> int:
    done = system.do(action, name)
    assert done.returncode != 0, (action, done.stdout, done.stderr)
    return done.returncode


def start(system: System, pipe: Pipe) -> None:
    """Start a pipe that works; some wait for that themselves, -D does not."""
    succeed(system, "start", pipe.name)
    wait_until(lambda: is_listening(pipe.source), "it listens")


def client(stage: Stage, pipe: Pipe, key: bytes) -> Daemon:
    """The other end of a pipe."""
    return stage.spiped("-e", pipe.source, "--workers", "1", key=stage.write(key.hex(), key))


def ask(peer: Peer) -> bool:
    """The target answers."""
    try:
        return peer.send(b"hello").receive(5) == b"hello"
    except (AssertionError, ConnectionError):
        return False


def is_answered(daemon: Daemon) -> bool:
    try:
        peer = daemon.connect()
    except ConnectionError:  # reset so soon that it is connecting that fails
        return False
    with peer:
        return ask(peer)


def test_a_pipe_that_is_started_works_and_one_that_is_stopped_is_gone(
    stage: Stage, system: System, pipe: Pipe
) -> None:
    assert fail(system, "status", pipe.name) == (1 if isinstance(system, FreeBSD) else 3)

    start(system, pipe)
    succeed(system, "status", pipe.name)
    assert is_answered(client(stage, pipe, b"old"))
    pid = system.pid(pipe.name)
    family = family_of(pid)
    succeed(system, "start", pipe.name)  # once more: nothing to do
    assert system.pid(pipe.name) == pid

    succeed(system, "stop", pipe.name)
    assert all(map(is_gone, family))
    assert not system.pid_file(pipe.name).exists()
    fail(system, "status", pipe.name)
    succeed(system, "stop", pipe.name)  # once more: nothing to do


def test_after_a_reload_new_connections_use_the_new_key_and_open_ones_go_on(
    stage: Stage, system: System, pipe: Pipe
) -> None:
    start(system, pipe)
    pid = system.pid(pipe.name)
    before, after = client(stage, pipe, b"old"), client(stage, pipe, b"new")
    with before.connect() as peer:
        assert ask(peer)
        assert not is_answered(after)
        Path(pipe.key).write_bytes(b"new")
        succeed(system, "reload", pipe.name)
        wait_until(lambda: is_answered(after), "the new key is in use")
        wait_until(lambda: not is_answered(before), "the old key is not")
        assert ask(peer)
        assert system.pid(pipe.name) == pid


def test_a_restart_uses_the_new_settings(stage: Stage, system: System, pipe: Pipe) -> None:
    start(system, pipe)
    old = system.pid(pipe.name)
    moved = pipe._replace(source=stage.address())
    system.configure(moved)
    succeed(system, "restart", pipe.name)
    assert is_gone(old)
    assert system.pid(pipe.name) != old
    wait_until(lambda: is_listening(moved.source), "it listens at the new address")
    assert not is_listening(pipe.source)


def test_stopping_waits_for_open_connections(stage: Stage, system: System, pipe: Pipe) -> None:
    start(system, pipe)
    with client(stage, pipe, b"old").connect() as peer:
        assert ask(peer)
        stopping = stage.meanwhile(succeed, system, "stop", pipe.name)
        wait_until(lambda: not is_listening(pipe.source), "it does not listen any more")
        assert ask(peer)
        assert not stopping.done()
        assert peer.finish().read_to_end() == b""
        stopping.result()


def test_stopping_does_not_wait_forever(stage: Stage, system: System, pipe: Pipe) -> None:
    system.stop_seconds = 1
    system.configure(pipe)
    start(system, pipe)
    with client(stage, pipe, b"old").connect() as peer:
        assert ask(peer)
        succeed(system, "stop", pipe.name)
        peer.read_to_reset()


def test_a_pipe_runs_as_the_user_it_is_to_run_as(stage: Stage, system: System, pipe: Pipe) -> None:
    system.run_as = "nobody"
    system.configure(pipe)
    start(system, pipe)
    assert is_answered(client(stage, pipe, b"old"))
    family = map(psutil.Process, family_of(system.pid(pipe.name)))
    assert {process.uids() for process in family} == {(pwd.getpwnam("nobody").pw_uid,) * 3}
    succeed(system, "stop", pipe.name)
    assert not system.pid_file(pipe.name).exists()


def test_a_pipe_that_cannot_be_started_is_an_error(
    stage: Stage, system: System, pipe: Pipe
) -> None:
    system.configure(pipe._replace(options="-f -g"))
    fail(system, "start", pipe.name)
    fail(system, "status", pipe.name)


@pytest.mark.parametrize("system", [SysV, PlainSysV, FreeBSD], indirect=True)
def test_a_process_that_has_inherited_the_pid_is_left_alone(
    stage: Stage, system: System, pipe: Pipe
) -> None:
    bystander = stage.start("sleep", "600")
    system.pid_file(pipe.name).write_text(str(bystander.pid))
    fail(system, "status", pipe.name)
    fail(system, "reload", pipe.name)
    succeed(system, "stop", pipe.name)
    assert bystander.process.poll() is None
    assert not system.pid_file(pipe.name).exists()


@pytest.mark.parametrize("system", [SysV, FreeBSD], indirect=True)
def test_without_names_all_pipes_are_meant(
    stage: Stage, system: System, pipe: Pipe, echo: Echo
) -> None:
    assert isinstance(system, SysV | FreeBSD)
    second = Pipe("news", stage.address(), echo.address, pipe.key)
    system.configure(second)
    assert system.do("start").returncode == 0
    assert {system.do("status", each.name).returncode for each in (pipe, second)} == {0}
    assert system.do("stop", pipe.name).returncode == 0
    assert system.do("status").returncode != 0
    succeed(system, "status", second.name)
    assert system.do("stop").returncode == 0
    fail(system, "status", second.name)


@pytest.mark.parametrize("system", [FreeBSD], indirect=True)
def test_on_freebsd_nothing_starts_unless_it_is_enabled(system: System, pipe: Pipe) -> None:
    assert isinstance(system, FreeBSD)
    system.configure(pipe, enable="NO")
    assert "spiped_enable" in succeed(system, "start", pipe.name)
    fail(system, "status", pipe.name)
    succeed(system, "onestart", pipe.name)
    succeed(system, "status", pipe.name)
