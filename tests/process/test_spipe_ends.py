"""spipe at its end: told to leave at each stage, with streams that are missing or a terminal."""

from __future__ import annotations

import itertools
import os
import pty
import signal
import termios
from pathlib import Path

import pytest

from tests.daemons import Peer, Stage, asleep, ours, wait_until
from tests.process.test_spipe import HELLO, Far, Spipe

to_end = pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])


@pytest.fixture
def far(stage: Stage) -> Far:
    return Far(stage)


# Each stage


@to_end
def test_while_it_waits_for_the_key(stage: Stage, number: int) -> None:
    fifo = stage.directory / "fifo"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    spipe = Spipe(stage, "-t", "[127.0.0.1]:9", "-k", str(fifo))
    fds = Path(f"/proc/{spipe.program.pid}/fd")
    wait_until(
        lambda: any(str(fifo) == os.readlink(fd) for fd in fds.iterdir() if fd.exists()),
        "it has opened the pipe",
    )
    spipe.program.signal(number)
    assert spipe.ends() == (0, "")
    os.close(writer)


@to_end
def test_while_the_target_does_not_answer(stage: Stage, number: int) -> None:
    listener = stage.listener()
    listener.sock.listen(0)  # one may wait, and nobody else gets any answer
    with Peer.connect(listener.address):
        spipe = Spipe(stage, "-t", listener.address, "-k", stage.key, "-o", "inf")
        wait_until(lambda: threads(spipe) == 3, "it connects")
        spipe.program.signal(number)
        assert spipe.ends() == (0, "")


def threads(spipe: Spipe) -> int:
    return len(os.listdir(f"/proc/{spipe.program.pid}/task"))


@to_end
def test_while_the_connection_is_idle(stage: Stage, far: Far, number: int) -> None:
    spipe = Spipe(stage, *far.words)
    with far.accept() as target:
        target.send(HELLO)
        assert spipe.take(len(HELLO)) == HELLO
        spipe.program.signal(number)
        assert spipe.ends() == (0, "")
        assert target.read_to_end() == b""


@to_end
def test_while_only_the_output_goes_on(stage: Stage, far: Far, number: int) -> None:
    spipe = Spipe(stage, *far.words, "-o", "inf")
    spipe.give(HELLO)
    spipe.finish()
    with far.accept() as target:
        assert target.read_to_end() == HELLO
        target.send(b"more")
        assert spipe.take(4) == b"more"
        spipe.program.signal(number)
        assert spipe.ends() == (0, "")
        target.read_all()  # which ends: nothing is left open


@to_end
def test_while_nobody_reads_the_output(stage: Stage, far: Far, number: int) -> None:
    spipe = Spipe(stage, *far.words, "-o", "1")
    with far.accept() as target:
        spipe.give(HELLO)
        assert target.receive(len(HELLO)) == HELLO
        sending = stage.meanwhile(send_until_reset, target)
        wait_until(lambda: is_stuck(spipe), "its output is full")
        spipe.give(b"last words")
        spipe.program.signal(number)
        assert spipe.ends() == (0, "")
        assert sending.result()


def send_until_reset(target: Peer) -> bool:
    """Send for as long as somebody takes it."""
    try:
        while True:
            target.send(bytes(65536))
    except OSError:
        return True


def is_stuck(spipe: Spipe) -> bool:
    """A thread waits for room in the output."""
    tasks = Path(f"/proc/{spipe.program.pid}/task").iterdir()
    return any("pipe_write" in (task / "wchan").read_text() for task in tasks)


@to_end
def test_both_signals_at_once_are_as_good_as_one(stage: Stage, far: Far, number: int) -> None:
    """A terminal that hangs up and a session that ends may both tell it; nothing is lost by that
    if there is nothing left to send."""
    spipe = Spipe(stage, *far.words)
    with far.accept() as target:
        spipe.give(HELLO)
        assert target.receive(len(HELLO)) == HELLO
        with asleep({spipe.program.pid}):
            spipe.program.signal(signal.SIGHUP)
            spipe.program.signal(signal.SIGTERM)
        status, said = spipe.ends()
        assert (status, said) == (0, "")
        assert target.read_all()[0] == b""


# Streams

STREAMS = ("<&-", ">&-", "2>&-")
SUBSETS = [c for n in range(4) for c in itertools.combinations(STREAMS, n)]


@pytest.mark.parametrize("closed", SUBSETS, ids=lambda subset: "".join(subset) or "none")
def test_streams_that_are_closed_are_as_good_as_empty(
    stage: Stage, far: Far, closed: tuple[str, ...]
) -> None:
    script = f'exec "$@" {" ".join(closed)}'
    running = stage.meanwhile(
        lambda: stage.run("/bin/sh", "-c", script, "sh", ours("spipe"), *far.words, input=HELLO)
    )
    with far.accept() as target:
        assert target.read_to_end() == (b"" if "<&-" in closed else HELLO)
        target.send(b"answer").finish()
    result = running.result()
    assert result.returncode == 0
    assert result.stdout == (b"" if ">&-" in closed else b"answer")
    assert result.stderr == b""


@pytest.mark.parametrize("closed", SUBSETS, ids=lambda subset: "".join(subset) or "none")
def test_a_failure_has_its_status_whatever_is_closed(stage: Stage, closed: tuple[str, ...]) -> None:
    script = f'exec "$@" {" ".join(closed)}'
    words = [ours("spipe"), "-t", stage.address(), "-k", stage.key]
    result = stage.run("/bin/sh", "-c", script, "sh", *words)
    assert (result.returncode, result.stdout) == (1, b"")
    assert (result.stderr == b"") == ("2>&-" in closed)


@pytest.mark.parametrize("program", ["spiped", "spipe"])
@pytest.mark.parametrize("word", ["-v", "--help"])
@pytest.mark.parametrize("closed", SUBSETS, ids=lambda subset: "".join(subset) or "none")
def test_version_and_help_have_status_0_whatever_is_closed(
    stage: Stage, program: str, word: str, closed: tuple[str, ...]
) -> None:
    script = f'exec "$0" {word} {" ".join(closed)}'
    assert stage.run("/bin/sh", "-c", script, ours(program)).returncode == 0


def test_a_terminal_stays_as_it_is_and_its_hang_up_is_the_end_of_the_input(
    stage: Stage, far: Far
) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    spipe = stage.start(
        ours("spipe"), *far.words, stdin=slave, stdout=slave, start_new_session=True,
        preexec_fn=lambda: os.set_blocking(slave, True),
    )  # fmt: skip
    with far.accept() as target:
        os.write(master, b"a line\n")
        assert target.receive(7) == b"a line\n"
        target.send(b"an answer\n")
        echoed = b""
        while b"an answer\r\n" not in echoed:
            echoed += os.read(master, 100)
        assert termios.tcgetattr(slave) == before
        os.close(slave)
        os.close(master)
        assert target.read_to_end() == b""
        target.finish()
        assert spipe.wait() == 0


def test_a_controlling_terminal_that_hangs_up_ends_it_in_order(stage: Stage, far: Far) -> None:
    """As when the window of a shell is closed in which it runs."""
    pid, master = pty.fork()
    if pid == 0:
        os.execv(ours("spipe"), ["spipe", *far.words])
    with far.accept() as target:
        os.write(master, b"a line\n")
        assert target.receive(7) == b"a line\n"
        os.close(master)
        assert target.read_to_end() == b""
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
