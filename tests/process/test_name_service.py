"""A name service that is silent, fails, or comes late, and the programs that need it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.daemons import (
    Program,
    Stage,
    echoes,
    family_of,
    is_echoed,
    is_gone,
    is_listening,
    ours,
    wait_until,
)
from tests.process.name_server import NameServer

NAME = "target.example"


@pytest.fixture
def server(stage: Stage) -> NameServer:
    return NameServer(stage)


def words(
    stage: Stage, source: str, *more: str, target: str = f"{NAME}:9", key: str | None = None
) -> list[str]:
    key = key or stage.key
    return [ours("spiped"), "-d", "-s", source, "-t", target, "-k", key, "--workers", "1", *more]


def start_waiting(stage: Stage, server: NameServer, *more: str, source: str = "") -> Program:
    """A `spiped -F` that has asked the name server."""
    asked = server.asked
    program = stage.start(*server.beginning, *words(stage, source or stage.address(), *more, "-F"))
    wait_until(lambda: server.asked > asked, "it has asked")
    return program


def family_is_gone(family: set[int]) -> bool:
    return all(map(is_gone, family))


# A name server that says nothing

ends_it = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@ends_it
@pytest.mark.parametrize("more", [[], ["-D"]], ids=["", "waiting for names"])
def test_a_signal_ends_the_waiting_for_an_answer(
    stage: Stage, server: NameServer, more: list[str], number: int
) -> None:
    server.is_silent = True
    program = start_waiting(stage, server, *more)
    family = family_of(program.pid)
    program.signal(number)
    assert program.wait() == (0 if number == signal.SIGTERM else -number)
    wait_until(lambda: family_is_gone(family), "whoever asked is gone")
    assert program.said == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("option", ["-t", "-b"])
def test_a_signal_ends_spipe_while_it_waits_for_an_answer(
    stage: Stage, server: NameServer, option: str, number: int
) -> None:
    server.is_silent = True
    values = {"-t": "[127.0.0.1]:9", "-b": "[127.0.0.1]"} | {option: f"{NAME}:9"}
    arguments = [word for pair in values.items() for word in pair]
    program = stage.start(*server.beginning, ours("spipe"), *arguments, "-k", stage.key)
    wait_until(lambda: server.asked, "it has asked")
    program.signal(number)
    assert program.wait() == (-number if number == signal.SIGINT else 0)
    assert program.said == ""


def test_the_command_does_not_wait_for_names_if_asked_not_to(
    stage: Stage, server: NameServer
) -> None:
    server.is_silent = True
    pid_file = stage.directory / "pid"
    command = words(stage, stage.address(), "-D", "-p", str(pid_file))
    # the output ends when nobody holds it open any more
    how = {"capture_output": False, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    result = stage.run(*server.beginning, *command, **how)
    assert (result.returncode, result.stdout) == (0, b"")
    daemon = stage.adopt(pid_file)
    wait_until(lambda: server.asked, "it has asked")
    family = family_of(daemon.pid)
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: family_is_gone(family), "it is gone, and whoever asked")
    assert not pid_file.exists()


def test_a_command_that_is_ended_while_it_waits_keeps_nothing_open(
    stage: Stage, server: NameServer
) -> None:
    server.is_silent = True
    readable, writable = os.pipe()
    command = [*server.beginning, *words(stage, stage.address(), "-p", str(stage.path("pid")))]
    program = stage.start(*command, stdout=writable, stderr=writable)
    os.close(writable)
    wait_until(lambda: server.asked, "it has asked")
    program.signal(signal.SIGKILL)
    with open(readable, "rb") as output:
        assert output.read() == b""


def test_a_daemon_ends_at_once_although_it_waits_for_an_answer(
    stage: Stage, server: NameServer
) -> None:
    echo = stage.echo()
    server.names[NAME] = "127.0.0.1"
    target = f"{NAME}:{echo.address.rpartition(':')[2]}"
    daemon = stage.spiped("-d", target, beginning=server.beginning)
    server.is_silent = True
    asked = server.asked
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: server.asked > asked, "it asks again")
    family = family_of(daemon.pid)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    wait_until(lambda: family_is_gone(family), "whoever asked is gone")


def test_a_new_key_does_not_wait_for_an_answer(stage: Stage, server: NameServer) -> None:
    echo = stage.echo()
    server.names[NAME] = "127.0.0.1"
    target = f"{NAME}:{echo.address.rpartition(':')[2]}"
    key = stage.write("changing", b"yesterday")
    daemon = stage.spiped("-d", target, key=key, beginning=server.beginning)
    tomorrow = stage.spiped("-e", daemon.source, key=stage.write("tomorrow", b"tomorrow"))
    server.is_silent = True
    for content in (b"today", b"tomorrow"):  # the second while the first one still asks
        stage.write("changing", content)
        daemon.signal(signal.SIGHUP)
    wait_until(lambda: is_echoed(tomorrow.source), "the new key is in force")


# A name server that fails, for a while


def test_each_failure_is_told_once_in_one_line_and_leaves_no_process(
    stage: Stage, server: NameServer
) -> None:
    program = start_waiting(stage, server, "-D", "-b", "other.example")
    wait_until(lambda: server.asked >= 6, "it has asked for both names three times")
    server.is_failing = True
    wait_until(lambda: server.asked >= 12, "it has asked again")
    wait_until(lambda: program.said.count("\n") >= 4, "it has said so")
    lines = program.said.splitlines()
    assert len(lines) == 4
    for name in (f"{NAME}:9", "other.example"):
        about = [line for line in lines if f"Error resolving socket address: {name}: " in line]
        assert len(about) == 2
        assert all(line.endswith(" (trying again every second)") for line in about)
        assert "Name or service not known" in about[0]
        assert "Temporary failure in name resolution" in about[1]
    children = psutil.Process(program.pid).children()
    assert len(children) <= 1  # who asks at this moment


def test_a_failure_of_the_name_server_is_one_of_the_start(stage: Stage, server: NameServer) -> None:
    server.is_failing = True
    result = stage.run(*server.beginning, *words(stage, stage.address()), text=True)
    assert result.returncode == 1
    assert result.stderr == (
        f"spiped: Error looking up {NAME}: Temporary failure in name resolution\n"
        f"spiped: Error resolving socket address: {NAME}:9\n"
    )


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_daemon_that_waits_for_names_has_its_source_and_takes_no_clients(
    stage: Stage, server: NameServer, transport: str
) -> None:
    """A second one with the same source is refused, at once or when the first one listens."""
    echo = stage.echo()
    source = stage.address(transport)
    target = f"{NAME}:{echo.address.rpartition(':')[2]}"
    command = words(stage, source, "-D", "-F", target=target)
    waiting = [stage.start(*server.beginning, *command) for _ in range(2)]
    wait_until(lambda: server.asked >= 2, "they have asked")
    assert not is_listening(source)
    assert not Path(source).exists()
    server.names[NAME] = "127.0.0.1"
    wait_until(lambda: is_listening(source), "one of them listens")
    wait_until(lambda: any(program.is_gone for program in waiting), "the other one has ended")
    (first,) = [program for program in waiting if not program.is_gone]
    (second,) = [program for program in waiting if program is not first]
    assert second.wait() == 1
    assert f"Error binding socket: Address already in use ({source})" in second.said
    client = stage.spiped("-e", source)
    assert is_echoed(client.source)
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    assert not Path(source).exists()


def test_signals_that_mean_something_later_wait_until_names_are_known(
    stage: Stage, server: NameServer
) -> None:
    echo = stage.echo()
    source = stage.address()
    target = f"{NAME}:{echo.address.rpartition(':')[2]}"
    program = stage.start(*server.beginning, *words(stage, source, "-D", "-F", target=target))
    wait_until(lambda: server.asked, "it has asked")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        program.signal(number)
    server.names[NAME] = "127.0.0.1"
    wait_until(lambda: is_listening(source), "it listens")
    client = stage.spiped("-e", source)
    wait_until(lambda: is_echoed(client.source), "it serves")
    program.wait_to_say("0 accepted")


def test_an_answer_that_comes_late_is_as_good_as_another(stage: Stage, server: NameServer) -> None:
    echo = stage.echo()
    server.is_silent = True
    server.names[NAME] = "127.0.0.1"
    source = stage.address()
    target = f"{NAME}:{echo.address.rpartition(':')[2]}"
    program = start_waiting(stage, server, "-D", source=source)
    program.end()
    server.is_silent = False
    daemon = stage.spiped("-d", target, "-D", source=source, beginning=server.beginning)
    client = stage.spiped("-e", daemon.source)
    with client.connect() as peer:
        assert echoes(peer)
