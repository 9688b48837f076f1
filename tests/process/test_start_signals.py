"""Signals that come while the programs start, at any moment of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.daemons import (
    Program,
    Stage,
    echoes,
    family_of,
    is_echoed,
    is_gone,
    is_listening,
    needs,
    ours,
    wait_until,
)
from tests.process.programs import counting_imports, signalled_at_import, write_program

STEP = 10  # imports, from one moment to the next

SURVIVED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ENDING = (signal.SIGTERM, signal.SIGINT)


def daemon_words(stage: Stage, source: str, *more: str, target: str = "[127.0.0.1]:9") -> list[str]:
    return ["-d", "-s", source, "-t", target, "-k", stage.key, "--workers", "1", *more]


def moments(stage: Stage, name: str, *words: str) -> range:
    """Positions of imports at which a program can be met; before the first, it is not ours yet."""
    count = stage.path("count")
    program = write_program(stage.path(name), harm=counting_imports(count), name=name)
    running = stage.start(program, *words)
    wait_until(lambda: running.is_gone or len(family_of(running.pid)) > 1, "it has started")
    running.end()
    return range(2, int(count.read_text()) + 1, STEP)


def signalled(
    stage: Stage, name: str, number: int, moments: Sequence[int], words: Sequence[str]
) -> list[Program]:
    """Programs that send themselves this signal, one at each of these moments."""
    running = []
    for moment in moments:
        path = stage.directory / f"{moment}.program"
        program = write_program(path, harm=signalled_at_import(moment, number), name=name)
        running.append(
            stage.start(program, *[word.replace("MOMENT", str(moment)) for word in words])
        )
    return running


@pytest.mark.parametrize("number", SURVIVED)
def test_a_signal_that_means_something_later_waits_at_the_start_of_spiped(
    stage: Stage, number: int
) -> None:
    source = f"{stage.directory}/MOMENT.sock"
    words = daemon_words(stage, source, "-F", target=stage.echo("unix").address)
    found = moments(stage, "spiped", *words)
    assert len(found) > 5
    for moment, server in zip(found, signalled(stage, "spiped", number, found, words), strict=True):
        address = source.replace("MOMENT", str(moment))
        wait_until(lambda a=address, s=server: is_listening(a) or s.is_gone, "it listens")
        assert not server.is_gone, (
            f"{signal.Signals(number).name} at import {moment}: {server.said}"
        )
        client = stage.spiped("-e", address)
        assert is_echoed(client.source)
        client.end()
        server.end()


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_spiped_at_every_moment_of_its_start(stage: Stage, number: int) -> None:
    words = daemon_words(stage, f"{stage.directory}/MOMENT.sock", "-F")
    found = moments(stage, "spiped", *words)
    for server in signalled(stage, "spiped", number, found, words):
        assert server.wait() == (0 if number == signal.SIGTERM else -number)
        assert server.said == ""
    assert not list(stage.directory.glob("*.sock"))


@pytest.mark.parametrize("number", [*ENDING, signal.SIGHUP])
def test_a_signal_ends_spipe_at_every_moment_of_its_start(stage: Stage, number: int) -> None:
    listener = stage.listener()  # which never answers
    words = ["-t", listener.address, "-k", stage.key, "-o", "inf"]
    found = moments(stage, "spipe", "-t", "[127.0.0.1]:1", "-k", stage.key)
    assert len(found) > 3
    for spipe in signalled(stage, "spipe", number, found, words):
        assert spipe.wait() == (-number if number == signal.SIGINT else 0)
        assert spipe.said == ""


# The command that waits for the daemon

# Functions before which a start can be held up
STAGES = {
    "reading the key": ("spiped.crypto.key_file", "KeyFile.read_first"),
    "listening": ("spiped.service.listener", "Listener.listen"),
    "making the pid file": ("spiped.process.pid_file", "PidFile.create"),
    "supervising": ("spiped.service.supervisor", "Supervisor.run"),
    "starting a worker": ("spiped.service.worker_set", "WorkerSet._spawn"),
    "being ready": ("spiped.service.start", "Start.on_ready"),
}

HELD_UP = """
import importlib, time
def hold_up(module, function):
    owner, name = importlib.import_module(module), function
    if "." in function:
        kind, name = function.split(".")
        owner = getattr(owner, kind)
    act = getattr(owner, name)
    def wait_and_act(*arguments):
        open("reached", "w").close()
        time.sleep(0.3)
        return act(*arguments)
    setattr(owner, name, wait_and_act)
hold_up({module!r}, {function!r})
"""


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("moment", STAGES)
def test_ending_the_command_ends_the_daemon_that_starts_and_leaves_nothing(
    stage: Stage, moment: str, number: int
) -> None:
    module, function = STAGES[moment]
    harm = HELD_UP.format(module=module, function=function)
    program = write_program(stage.directory / "spiped", harm=harm)
    source, pid_file = stage.address("unix"), stage.directory / "pid"
    command = stage.start(program, *daemon_words(stage, source, "-p", str(pid_file)))
    wait_until((stage.directory / "reached").exists, "it has come so far")
    family = family_of(command.pid)
    command.signal(number)
    assert command.wait() in (-number, 0 if number == signal.SIGTERM else -number)
    wait_until(lambda: all(map(is_gone, family)), "nothing is left of it")
    # a child that was forked after we had looked takes a moment longer
    wait_until(lambda: not is_listening(source), "nobody listens")
    wait_until(lambda: not (Path(source).exists() or pid_file.exists()), "no file is left")
    assert "Traceback" not in command.said


ENDED_BY_ITSELF = """
import os, signal
from spiped.service.worker_set import WorkerSet
spawn = WorkerSet._spawn
def spawn_and_be_ended(self, generation):
    spawn(self, generation)
    os.kill(os.getpid(), signal.{number})
WorkerSet._spawn = spawn_and_be_ended
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("way", [["-F"], []], ids=["foreground", "background"])
def test_a_signal_right_after_the_fork_of_a_worker_ends_it_and_the_worker(
    stage: Stage, number: str, way: list[str]
) -> None:
    harm = ENDED_BY_ITSELF.format(number=number)
    program = write_program(stage.directory / "spiped", harm=harm)
    source, pid_file = stage.address("unix"), stage.directory / "pid"
    command = stage.start(program, *daemon_words(stage, source, "-p", str(pid_file), *way))
    wait_until(lambda: command.is_gone, "it has ended")
    assert "Traceback" not in command.said
    if way:
        assert command.wait() == {"SIGTERM": 0, "SIGINT": -signal.SIGINT}[number]
    wait_until(lambda: not Path(source).exists() and not pid_file.exists(), "nothing is left")
    wait_until(lambda: not is_listening(source), "nobody listens")


# Process 1


def in_pid_namespace(stage: Stage) -> list[str]:
    beginning = [needs("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc"]
    if stage.run(*beginning, "true").returncode != 0:
        pytest.skip("a namespace of process ids is not allowed here (it needs root)")
    return beginning


def child_of(program: Program) -> int:
    """The process that `unshare` has started, which is process 1 to itself."""
    (child,) = wait_until(
        lambda: [
            int(pid)
            for pid in Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        ],
        "there is a process 1",
    )
    return child


@pytest.mark.parametrize("number", ENDING)
def test_process_1_is_ended_by_a_signal_at_every_moment_of_its_start(
    stage: Stage, number: int
) -> None:
    words = daemon_words(stage, f"{stage.directory}/MOMENT.sock", "-F")
    found = moments(stage, "spiped", *words)
    beginning = in_pid_namespace(stage)
    for moment in found:
        harm = signalled_at_import(moment, number)
        program = write_program(stage.directory / f"{moment}.program", harm=harm)
        source = f"{stage.directory}/{moment}.sock"
        first = stage.start(*beginning, program, *daemon_words(stage, source, "-F"))
        assert first.wait() == 0
        assert "Traceback" not in first.said
        assert not Path(source).exists()


def test_process_1_serves_obeys_and_reaps_orphans(stage: Stage) -> None:
    beginning = in_pid_namespace(stage)
    source = stage.address("unix")
    words = daemon_words(stage, source, "-F", target=stage.echo("unix").address)
    program = stage.start(*beginning, ours("spiped"), *words)
    wait_until(lambda: is_listening(source), "it listens")
    first = child_of(program)
    assert "Running as process 1" in program.said
    client = stage.spiped("-e", source)
    with client.connect() as peer:
        assert echoes(peer)
    enter = [needs("nsenter"), f"--target={first}", "--pid", "--mount", "--"]
    stage.run(*enter, "sh", "-c", "(sleep 0.1 &) & exit 0", check=True)
    for number in SURVIVED:
        os.kill(first, number)
    assert is_echoed(client.source)

    def zombies() -> list[str]:
        listed = stage.run(*enter, "sh", "-c", "cat /proc/[0-9]*/stat", text=True).stdout
        return [line for line in listed.splitlines() if line.rpartition(")")[2].split()[0] == "Z"]

    wait_until(lambda: not zombies(), "no process waits to be buried")
    os.kill(first, signal.SIGTERM)
    assert program.wait() == 0


def test_process_1_in_the_background_is_refused(stage: Stage) -> None:
    beginning = in_pid_namespace(stage)
    words = daemon_words(stage, stage.address())
    result = stage.run(*beginning, ours("spiped"), *words, text=True)
    assert result.returncode == 1
    assert result.stderr == "spiped: Process 1 cannot go to the background: use -F\n"
