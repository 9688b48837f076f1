"""spipe: its standard streams, what it says when it fails, and its exit status."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from subprocess import CompletedProcess

import pytest

from spiped.plane.diagnosis import LEFT_TEXTS, NOT_SERVED, SLOW_TEXTS
from spiped.proto.terms import Heard, Role
from tests.daemons import Listener, Peer, Program, Stage, asleep, ours, wait_until

on_both_back_ends = pytest.mark.usefixtures("backend")

HELLO = b"hello"


class Far(Listener):
    """A target at the far end of a pipe; the test drives its connections."""

    def __init__(self, stage: Stage, *options: str) -> None:
        super().__init__(stage.address())
        stage.on_stage(self)
        self.words = ("-t", stage.spiped("-d", self.address).source, "-k", stage.key, *options)


@pytest.fixture
def far(stage: Stage) -> Far:
    return Far(stage)


class Spipe:
    """A running spipe, of which the test holds the other ends of the streams."""

    def __init__(
        self, stage: Stage, *words: str, beginning: Sequence[str] = (), **streams: object
    ) -> None:
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} | streams
        self.program: Program = stage.start(*beginning, ours("spipe"), *words, **streams)
        process = self.program.process
        assert process is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def give(self, data: bytes) -> None:
        assert self._stdin is not None
        self._stdin.write(data)
        self._stdin.flush()

    def finish(self) -> None:
        assert self._stdin is not None
        self._stdin.close()

    def take(self, count: int) -> bytes:
        assert self._stdout is not None
        return self._stdout.read(count)

    def rest(self) -> bytes:
        assert self._stdout is not None
        return self._stdout.read()

    def ends(self) -> tuple[int, str]:
        """Its exit status, and what it has said."""
        return self.program.wait(), self.program.said


def is_full(sock: socket.socket) -> bool:
    """As much waits to be read as has waited for a while, and that is a lot."""

    def waiting() -> int:
        number = bytearray(4)
        fcntl.ioctl(sock, termios.FIONREAD, number)
        return int.from_bytes(number, sys.byteorder)

    before = waiting()
    for _ in range(15):  # a sender that is only slow on a busy machine goes on meanwhile
        time.sleep(0.1)
        if waiting() != before:
            return False
    return before > 10_000


def run(stage: Stage, *words: str, **how: object) -> CompletedProcess[bytes]:
    return stage.run(ours("spipe"), *words, **how)


# Data


@on_both_back_ends
def test_streams_that_somebody_has_made_non_blocking_are_as_good_as_others(
    stage: Stage, far: Far
) -> None:
    data = random.Random(7).randbytes(1 << 20)
    ours_, its = socket.socketpair()
    its.setblocking(False)
    spipe = Spipe(stage, *far.words, stdin=its, stdout=its)
    its.close()
    with far.accept() as target, Peer(ours_) as mine:
        target.send(b"ready")
        assert mine.receive(5) == b"ready"  # by now it has found no input
        sending = stage.meanwhile(mine.send, data)
        assert target.receive(len(data)) == data
        sending.result()
        sending = stage.meanwhile(target.send, data * 8)  # more than there is room for
        assert mine.receive(8 * len(data)) == data * 8
        sending.result()
        mine.finish()
        target.finish()
        assert spipe.ends() == (0, "")


@on_both_back_ends
def test_what_goes_in_comes_out_of_the_target_and_the_other_way(stage: Stage, far: Far) -> None:
    spipe = Spipe(stage, *far.words)
    with far.accept() as target:
        spipe.give(b"question")  # at once: nothing waits for more
        assert target.receive(8) == b"question"
        target.send(b"answer")
        assert spipe.take(6) == b"answer"
        spipe.finish()
        assert target.read_to_end() == b""
        target.send(b"the rest").finish()
        assert spipe.rest() == b"the rest"
    assert spipe.ends() == (0, "")


@on_both_back_ends
def test_much_goes_both_ways_at_once(stage: Stage) -> None:
    data = random.Random(4).randbytes(8 << 20)
    server = stage.spiped("-d", stage.echo().address)
    result = run(stage, "-t", server.source, "-k", stage.key, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()


def test_input_that_came_before_the_connection_arrives(stage: Stage) -> None:
    address = stage.address("unix")
    gate = stage.listener()
    spipe = Spipe(stage, "-t", gate.address, "-k", stage.key)
    spipe.give(HELLO)
    spipe.finish()
    with gate.accept() as accepted:  # only now does the peer begin
        target = stage.on_stage(Listener(address))
        server = stage.spiped("-d", address, source=stage.address("unix"))
        with server.connect() as onward:
            forward(stage, accepted, onward)
            with target.accept() as peer:
                assert peer.read_to_end() == HELLO
                peer.finish()
            assert spipe.ends() == (0, "")


def forward(stage: Stage, one: Peer, other: Peer) -> None:
    """Copy between two sockets in the background, until both have ended."""

    def copy(source: Peer, sink: Peer) -> None:
        while data := source.sock.recv(65536):
            sink.send(data)
        sink.finish()

    stage.meanwhile(copy, one, other)
    stage.meanwhile(copy, other, one)


@on_both_back_ends
def test_the_target_may_end_first_and_still_gets_what_follows(stage: Stage, far: Far) -> None:
    spipe = Spipe(stage, *far.words)
    with far.accept() as target:
        target.send(HELLO).finish()
        assert spipe.take(len(HELLO)) == HELLO
        spipe.give(b"and more")
        assert target.receive(8) == b"and more"
        spipe.finish()
        assert target.read_to_end() == b""
    assert spipe.ends() == (0, "")


@on_both_back_ends
def test_a_socket_as_output_gets_its_end_early(stage: Stage, far: Far) -> None:
    near, given = socket.socketpair()
    with near:
        spipe = Spipe(stage, *far.words, stdout=given)
        given.close()
        with far.accept() as target:
            target.send(HELLO).finish()
            assert Peer(near).read_to_end() == HELLO
            spipe.give(b"still here")
            assert target.receive(10) == b"still here"
            spipe.finish()
            assert target.read_to_end() == b""
    assert spipe.ends() == (0, "")


def test_a_key_from_standard_input_leaves_nothing_to_send(stage: Stage, far: Far) -> None:
    server = far.words[1]
    spipe = Spipe(stage, "-t", server, "-k", "-")
    with open(stage.key, "rb") as key:
        spipe.give(key.read())
    spipe.finish()
    with far.accept() as target:
        assert target.read_to_end() == b""
        target.send(HELLO).finish()
        assert spipe.rest() == HELLO
    assert spipe.ends() == (0, "")


def test_a_closed_standard_input_is_one_that_has_ended(stage: Stage, far: Far) -> None:
    spipe = stage.meanwhile(
        lambda: stage.run("/bin/sh", "-c", 'exec "$@" <&-', "sh", ours("spipe"), *far.words)
    )
    with far.accept() as target:
        assert target.read_to_end() == b""
        target.send(HELLO).finish()
        result = spipe.result()
    assert (result.returncode, result.stdout, result.stderr) == (0, HELLO, b"")


# Failures


@on_both_back_ends
@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_target_that_is_not_there_does_not_wait_for_input(stage: Stage, transport: str) -> None:
    spipe = Spipe(stage, "-t", stage.address(transport), "-k", stage.key)  # its input stays open
    status, said = spipe.ends()
    assert status == 1
    assert said.startswith("spipe: Could not connect")
    assert said.count("\n") == 1


def test_much_input_and_no_connection(stage: Stage) -> None:
    result = run(stage, "-t", stage.address(), "-k", stage.key, input=bytes(8 << 20))
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.startswith(b"spipe: Could not connect")


@on_both_back_ends
@pytest.mark.parametrize("size", [0, 8 << 20])
def test_a_wrong_key(stage: Stage, far: Far, size: int) -> None:
    words = (*far.words[:2], "-k", stage.write("other_key", bytes(32)))
    result = run(stage, *words, input=bytes(size))
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == f"spipe: Handshake failed: {NOT_SERVED}\n"
    assert far.nobody_came()


def test_a_server_that_hangs_up_at_once(stage: Stage) -> None:
    listener = stage.listener()
    spipe = Spipe(stage, "-t", listener.address, "-k", stage.key)
    listener.accept().close()
    text = LEFT_TEXTS[Role.C, Heard.NOTHING]
    assert spipe.ends() == (1, f"spipe: Handshake failed: {text}\n")


@on_both_back_ends
def test_a_server_that_says_nothing(stage: Stage) -> None:
    listener = stage.listener()
    spipe = Spipe(stage, "-t", listener.address, "-k", stage.key, "-o", "0.3")
    with listener.accept():
        text = SLOW_TEXTS[Role.C, Heard.NOTHING]
        assert spipe.ends() == (1, f"spipe: Connection error: {text}\n")


def test_a_server_that_cannot_be_reached_in_time(stage: Stage) -> None:
    listener = stage.listener()
    listener.sock.listen(0)  # one may wait, and nobody else gets any answer
    with Peer.connect(listener.address):
        spipe = Spipe(stage, "-t", listener.address, "-k", stage.key, "-o", "0.3")
        assert spipe.ends() == (1, f"spipe: Connection error: {listener.address}\n")


@on_both_back_ends
def test_a_reset_behind_data(stage: Stage, far: Far) -> None:
    spipe = Spipe(stage, *far.words)
    with far.accept() as target:
        target.send(HELLO)
        assert spipe.take(len(HELLO)) == HELLO
        target.reset()
    assert spipe.rest() == b""
    assert spipe.ends() == (1, "spipe: Connection error: reset by the target\n")


@on_both_back_ends
def test_a_full_output(stage: Stage, far: Far) -> None:
    with open("/dev/full", "wb") as full:
        spipe = Spipe(stage, *far.words, stdout=full)
        with far.accept() as target:
            target.send(HELLO)
            assert spipe.ends() == (1, "spipe: Error writing: No space left on device\n")
            assert target.read_to_reset() == b""


def test_an_output_that_nobody_reads_any_more(stage: Stage, far: Far) -> None:
    readable, writable = os.pipe()
    spipe = Spipe(stage, *far.words, stdout=writable)
    os.close(writable)
    os.close(readable)
    with far.accept() as target:
        target.send(HELLO)
        assert spipe.ends() == (1, "spipe: Error writing: Broken pipe\n")
        assert target.read_to_reset() == b""


def test_an_input_that_cannot_be_read(stage: Stage, far: Far) -> None:
    unreadable = os.open(os.devnull, os.O_WRONLY)
    spipe = Spipe(stage, *far.words, stdin=unreadable)
    os.close(unreadable)
    assert spipe.ends() == (1, "spipe: Error reading: Bad file descriptor\n")


# Signals

to_end = pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])


@on_both_back_ends
def test_an_interrupt_ends_it_and_the_target_does_not_take_that_for_the_end_of_the_data(
    stage: Stage, far: Far
) -> None:
    spipe = Spipe(stage, *far.words)
    with far.accept() as target:
        spipe.give(HELLO)
        assert target.receive(len(HELLO)) == HELLO
        spipe.program.signal(signal.SIGINT)
        assert spipe.ends() == (-signal.SIGINT, "")
        assert target.read_to_reset() == b""


@on_both_back_ends
@to_end
def test_when_told_to_end_it_sends_what_can_be_read_and_then_the_end(
    stage: Stage, far: Far, number: int
) -> None:
    """It does not wait for the target's end, of which nothing comes here."""
    last_words = random.Random(number).randbytes(50_000)
    spipe = Spipe(stage, *far.words)
    with far.accept() as target:
        spipe.give(HELLO)
        assert target.receive(len(HELLO)) == HELLO
        with asleep({spipe.program.pid}):
            spipe.give(last_words)
            spipe.program.signal(number)
        assert spipe.ends() == (0, "")
        assert target.read_to_end() == last_words


@to_end
def test_when_told_to_end_it_does_not_go_on_reading_for_ever(
    stage: Stage, far: Far, number: int
) -> None:
    with open("/dev/zero", "rb") as zeros:
        spipe = Spipe(stage, *far.words, stdin=zeros)
        with far.accept() as target:
            target.receive(100_000)
            spipe.program.signal(number)
            assert set(target.read_to_end()) <= {0}
            assert spipe.ends() == (0, "")


@on_both_back_ends
@to_end
def test_a_second_signal_ends_it_at_once(stage: Stage, far: Far, number: int) -> None:
    """Nobody reads what it has still to deliver."""
    with open("/dev/zero", "rb") as zeros:
        spipe = Spipe(stage, *far.words, "-o", "inf", stdin=zeros)
        with far.accept() as target:
            wait_until(lambda: is_full(target.sock), "nothing more goes in")
            spipe.program.signal(number)
            time.sleep(0.2)
            assert not spipe.program.is_gone
            spipe.program.signal(number)
            assert spipe.ends() == (0, "")
            target.read_to_reset()


@on_both_back_ends
@to_end
def test_it_does_not_wait_longer_than_the_timeout_for_its_last_words_to_arrive(
    stage: Stage, far: Far, number: int
) -> None:
    with open("/dev/zero", "rb") as zeros:
        spipe = Spipe(stage, *far.words, "-o", "0.5", stdin=zeros)
        with far.accept() as target:
            wait_until(lambda: is_full(target.sock), "nothing more goes in")
            spipe.program.signal(number)
            assert spipe.ends() == (0, "")
            target.read_to_reset()


@to_end
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(
    stage: Stage, far: Far, number: int
) -> None:
    """As with nohup."""
    command = ["/bin/sh", "-c", f'trap "" {number}; exec "$0" "$@"', ours("spipe")]
    spipe = Spipe(stage, *far.words, beginning=command[:-1])
    with far.accept() as target:
        spipe.program.signal(number)
        spipe.give(HELLO)
        assert target.receive(len(HELLO)) == HELLO
        spipe.finish()
        target.finish()
        assert spipe.ends() == (0, "")


@to_end
def test_a_signal_ends_it_while_it_connects(stage: Stage, number: int) -> None:
    listener = stage.listener()
    spipe = Spipe(stage, "-t", listener.address, "-k", stage.key)
    with listener.accept():
        spipe.program.signal(number)
        assert spipe.ends() == (0, "")


# Mistakes


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            ("-t", "[127.0.0.1]:1", "-k", "absent"),
            ["Cannot open file: absent: No such file or directory", "Error reading shared secret"],
        ),
        (
            ("-t", "[127.0.0.1]:0", "-k", "key"),
            ["Invalid port number: 0", "Error resolving socket address: [127.0.0.1]:0"],
        ),
        (
            ("-t", "[127.0.0.1]:1", "-k", "key", "-o", "x"),
            ["Error parsing argument: -o x: Invalid argument"],
        ),
    ],
)
def test_mistakes_of_the_operator(stage: Stage, words: tuple[str, ...], lines: list[str]) -> None:
    result = run(stage, *words, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [f"spipe: {line}" for line in lines]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], b""),
        (["-t", "/x"], b"spipe: Missing option: -k\n"),
        (["-k", "key"], b"spipe: Missing option: -t\n"),
        (["-t/x", "-kkey", "-fg"], b"spipe: Options exclude each other: -f and -g\n"),
    ],
)
def test_usage(stage: Stage, words: list[str], reason: bytes) -> None:
    result = run(stage, *words)
    assert result.returncode == 1
    assert result.stderr.startswith(reason + b"usage: spipe ")


def test_it_works_with_a_terminal_less_parent_and_closed_output(stage: Stage, far: Far) -> None:
    spipe = stage.start("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", ours("spipe"), *far.words)
    with far.accept() as target:
        target.finish()
        assert target.read_to_end() == b""
    assert spipe.wait() == 0
