"""--ready-fd: a newline, and the end, for whoever waits for the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.daemons import Program, Stage, echoes, is_echoed, is_listening, needs, ours, wait_until
from tests.process.programs import write_program
from tests.process.test_service_manager import SLOW_WORKER


class Pipe:
    """A pipe of which the daemon gets the second end."""

    def __init__(self) -> None:
        readable, writable = os.pipe()
        self.readable = os.fdopen(readable, "rb", buffering=0)
        self.writable = os.fdopen(writable, "wb", buffering=0)

    def start(self, stage: Stage, *words: str, **how: object) -> Program:
        """Start a program that tells of its readiness here, and nobody else can."""
        fd = self.writable.fileno()
        program = stage.start(*words, "--ready-fd", str(fd), pass_fds=[fd], **how)
        self.writable.close()
        return program


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    with pipe.readable, pipe.writable:
        yield pipe


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_a_newline_and_the_end_come_when_clients_are_served(
    stage: Stage, pipe: Pipe, background: bool
) -> None:
    """Neither workers nor helpers keep the other end open."""
    server = stage.spiped("-d", stage.echo().address)
    source = stage.address()
    pid_file = stage.path("pid")
    words = ["-e", "-s", source, "-t", server.source, "-k", stage.key, "--workers", "2"]
    words += ["-p", str(pid_file)] if background else ["-F"]
    program = pipe.start(stage, ours("spiped"), *words)
    assert pipe.readable.read(1) == b"\n"
    assert is_listening(source)
    assert pipe.readable.read() == b""
    assert is_echoed(source)
    if background:
        assert program.wait() == 0
        stage.adopt(pid_file)


def test_nothing_comes_while_a_worker_is_not_ready(stage: Stage, pipe: Pipe) -> None:
    gate = stage.path("gate")
    program = write_program(stage.directory / "spiped", harm=SLOW_WORKER.format(gate=str(gate)))
    words = ["-F", "-e", "-s", stage.address(), "-t", "[127.0.0.1]:1", "-k", stage.key]
    pipe.start(stage, program, *words, "--workers", "2")
    wait_until(gate.exists, "a worker waits")
    os.set_blocking(pipe.readable.fileno(), False)
    assert pipe.readable.read(1) is None
    gate.unlink()
    os.set_blocking(pipe.readable.fileno(), True)
    assert pipe.readable.read(1) == b"\n"


def test_a_start_that_fails_is_the_end_without_a_newline(stage: Stage, pipe: Pipe) -> None:
    words = ["-F", "-e", "-s", stage.address(), "-t", "[127.0.0.1]:1", "-k", "/nowhere"]
    program = pipe.start(stage, ours("spiped"), *words)
    assert pipe.readable.read() == b""
    assert program.wait() == 1


def test_it_may_be_the_standard_output(stage: Stage, pipe: Pipe) -> None:
    source = stage.address()
    words = ("-F", "-e", "-s", source, "-t", "[127.0.0.1]:1", "-k", stage.key)
    stage.start(ours("spiped"), *words, "--ready-fd", "1", stdout=pipe.writable)
    pipe.writable.close()
    assert pipe.readable.read(1) == b"\n"
    assert is_listening(source)
    assert pipe.readable.read() == b""


@pytest.mark.parametrize(
    ("redirected", "reason"),
    [
        ("9<&-", "the descriptor is not open"),
        ("9</dev/null", "the descriptor is not open for writing"),
    ],
)
def test_a_descriptor_that_is_no_good_is_refused(
    stage: Stage, redirected: str, reason: str
) -> None:
    words = f"-F -e -s {stage.address()} -t [127.0.0.1]:1 -k {stage.key} --ready-fd 9"
    result = stage.run(needs("sh"), "-c", f"exec {ours('spiped')} {words} {redirected}", text=True)
    assert result.returncode == 1
    assert result.stderr == f"spiped: --ready-fd 9: {reason}\n"


def test_whoever_does_not_wait_any_more_holds_up_nobody(stage: Stage, pipe: Pipe) -> None:
    pipe.readable.close()
    fd = pipe.writable.fileno()
    server = stage.spiped("-d", stage.echo().address)
    client = stage.spiped("-e", server.source, "--ready-fd", str(fd), pass_fds=[fd])
    client.wait_to_say(f"spiped: Warning: --ready-fd {fd}: Broken pipe\n")
    with client.connect() as peer:
        assert echoes(peer)
