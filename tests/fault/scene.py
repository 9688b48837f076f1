"""One daemon whose workers' system calls fail, its bystanders, and one trial after the other.

A trial takes one connection to a state, injects one fault from there on, lets the connection go on,
and then looks for every promise that may have been broken.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from spiped.proto.terms import Role
from tests.conftest import NATIVE_IS_BUILT
from tests.daemons import Listener, Stage
from tests.fault.conversation import Conversation, Side
from tests.fault.plan import Fault, Interposer
from tests.fault.states import State
from tests.net.rig import END, data_of

PATIENCE = 12.0  # seconds after which what should have happened counts as missing
TIMEOUT = 8  # -o; longer than it takes the system to repeat a SYN
PAUSE = 0.001  # seconds between two looks
QUIET = 3  # looks without a call after which a worker has nothing to do
BYSTANDERS = 6
PIECE = 3000  # bytes that a bystander says each time
MESSAGE = 20_000  # and what a victim does, if nothing is to get stuck
BULK = 400_000  # what does not fit into the buffers between two ends, if these are
BUFFER = 16_384  # bytes each
WORKERS = 2
FAILURE = "A new worker could not start"
COUNT = " connections now"  # in the line that SIGUSR1 has the daemon write


class BrokenPromise(Exception):
    """What has happened that must not, or has not and must."""


class Trial(NamedTuple):
    hits: int  # how often the fault was injected
    survived: bool  # the connection it was meant for has gone on to a clean end
    broken: list[str]  # promises


class Scene:
    """A daemon and its bystanders."""

    def __init__(self, stage: Stage, role: Role, backend: str) -> None:
        self.role = role
        self.crypto = importlib.import_module(
            f"spiped.crypto.{'native' if NATIVE_IS_BUILT else 'pure'}"
        )
        self._interposer = Interposer(stage.directory)
        stage.env |= self._interposer.environment | {"SPIPED_BACKEND": backend}
        self.target: Listener = stage.listener()
        self.target.sock.setblocking(False)
        self.daemon = stage.spiped(
            "-e" if role is Role.C else "-d",
            self.target.address,
            *("-o", str(TIMEOUT), "-n", "100", "--workers", str(WORKERS), "-b", "[127.0.0.1]:0"),
            "--no-sandbox",  # it would end workers for what the interposer does in them
        )
        host, _, port = self.daemon.source.rpartition(":")
        self._source = (host.strip("[]"), int(port))
        self._now: Conversation | None = None  # beside the bystanders
        self.bystanders: list[Conversation] = []
        self.carried = 0  # connections
        self.verified = 0  # bytes
        self._salt = 0
        plan = self._interposer.plan
        self._wait(lambda: plan.started == WORKERS, "the workers are there")
        self._accepting = self._workers()
        self._interposer.begin()
        for _ in range(BYSTANDERS):
            bystander = self._converse()
            self.begin(bystander)
            self.make_ready(bystander)
            self.bystanders.append(bystander)
        self.settle()
        self._idle = (self._opened - 2 * BYSTANDERS) // WORKERS  # descriptors of a worker

    # What states are made of

    def _converse(self) -> Conversation:
        """A new connection, which has yet to begin."""
        with suppress(BlockingIOError):
            while True:  # away with what nobody wants any more
                self.target.sock.accept()[0].close()
        self._now = Conversation(self.crypto, self.role, self.target.sock)
        return self._now

    def begin(self, conversation: Conversation) -> None:
        conversation.begin(self._source)

    def text(self, length: int) -> bytes:
        """What nobody else says."""
        self._salt = (self._salt + 1) % 251
        return data_of(length, self._salt)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Let everybody go on until the condition holds, or the connection is over."""
        self._wait(lambda: condition() or self._now is None or self._now.is_over, what)

    def quiet(self) -> None:
        """Let everybody go on until no worker does anything any more."""
        still, calls = 0, -1
        deadline = time.monotonic() + PATIENCE
        while still < QUIET and time.monotonic() < deadline:
            moved = self._pump()
            time.sleep(PAUSE)
            now = int(self._interposer.plan.calls)
            still = still + 1 if now == calls and not moved else 0
            calls = now

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise BrokenPromise(f"waited in vain until {what}")
            if not self._pump():
                time.sleep(PAUSE)

    def _pump(self) -> bool:
        moved = False
        for conversation in (*self.bystanders, self._now):
            if conversation is not None:
                moved |= conversation.pump()
        return moved

    def make_ready(self, conversation: Conversation) -> None:
        conversation.crypt.allowed = 2  # messages: all that there are
        self.until(lambda: conversation.is_ready, "the connection is established")

    def complete(self, conversation: Conversation) -> None:
        """All that remains to be said, in both directions, and then an end of both."""
        self.make_ready(conversation)
        speakers = [side for side in conversation.sides if not side.finished]
        if not conversation.is_over:
            for side in speakers:
                side.say(self.text(MESSAGE))
            self.until(lambda: conversation.has_arrived, "everything has arrived")
        if not conversation.is_over:
            for side in speakers:
                conversation.finish(side)
            self.over(conversation)

    def over(self, conversation: Conversation) -> None:
        self.until(lambda: conversation.is_over, "both sides see the end")

    def stop_up(self, conversation: Conversation, side: Side) -> None:
        """More is on its way to this side than fits there: the daemon is left with the rest."""
        assert side.peer is not None
        side.peer.reading = False
        conversation.other(side).say(self.text(BULK))
        self.quiet()

    def crowd_target(self) -> None:
        """Let connections to the target hang."""
        self.target.sock.listen(0)
        self._crowd = socket.socket()
        self._crowd.connect(self.target.sock.getsockname())

    def clear_target(self) -> None:
        """Let them through, when the system tries again."""
        self.target.sock.accept()[0].close()
        self._crowd.close()
        self.target.sock.listen(128)

    # Processes

    def _workers(self) -> list[int]:
        pid = self.daemon.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return sorted(map(int, children.split()))

    def _descriptors(self, pid: int) -> int:
        """How many a worker has open."""
        try:
            return len(os.listdir(f"/proc/{pid}/fd"))
        except FileNotFoundError:  # gone
            return 0

    def _all_descriptors(self) -> int:
        return sum(map(self._descriptors, self._workers()))

    def _active(self) -> int:
        """How many connections the daemon believes to have."""
        before = self.daemon.said.count(COUNT)
        self.daemon.signal(signal.SIGUSR1)
        self._wait(lambda: self.daemon.said.count(COUNT) > before, "the daemon counts")
        return int(self.daemon.said.rpartition(COUNT)[0].split()[-1])

    def reload(self) -> None:
        """Have new workers started, in vain or not; bystanders stay with the old ones."""
        old = self._workers()
        before = {pid: self._descriptors(pid) for pid in self._accepting}
        failures = self.daemon.said.count(FAILURE)

        def failed() -> bool:
            return self.daemon.said.count(FAILURE) > failures

        def drains(pid: int) -> bool:
            """It has let go of the listening socket, or left because it carries nobody."""
            if before[pid] > self._idle:
                return self._descriptors(pid) < before[pid]
            return pid not in self._workers()

        self.daemon.signal(signal.SIGHUP)
        self._wait(lambda: failed() or all(map(drains, before)), "the daemon has reloaded")
        if failed():
            self._wait(lambda: self._workers() == old, "the new workers are gone")
        else:
            self._accepting = [pid for pid in self._workers() if pid not in old]
            self.settle()

    def settle(self) -> None:
        """What there is now is what there has to be after every trial."""
        self.quiet()
        self._pids = self._workers()
        self._opened = self._all_descriptors()
        assert self._active() == len(self.bystanders)

    # Trials

    def trial(self, state: State, fault: Fault) -> Trial:
        self._interposer.begin(BUFFER if state.slow else 0)
        conversation = self._converse()
        broken = []
        try:
            state.enter(self, conversation)
            self._have_bystanders_speak()
            self._interposer.arm(fault)
            state.go_on(self, conversation)
        except BrokenPromise as promise:
            broken.append(f"the connection: {promise}")
        if not self._interposer.plan.hits:  # the worker has yet to take note of what has happened
            self.quiet()
        hits = self._interposer.disarm()
        broken += [f"the connection: {promise}" for promise in conversation.broken_promises()]
        survived = all(side.ending == END for side in conversation.sides)
        self._close(conversation)
        self._interposer.begin()
        for check in (self._check_bystanders, self._check_next, self._check_remains):
            try:
                self._check_workers()
                check()
            except BrokenPromise as promise:
                broken.append(str(promise))
                break  # what follows from it is no news
        return Trial(hits, survived, broken)

    def _have_bystanders_speak(self) -> None:
        for bystander in self.bystanders:
            for side in bystander.sides:
                side.say(self.text(PIECE))

    def _close(self, conversation: Conversation) -> None:
        self.carried += 1
        self.verified += sum(len(side.heard) for side in conversation.sides)
        conversation.close()
        self._now = None

    def _check_workers(self) -> None:
        if self.daemon.is_gone:
            raise BrokenPromise("the daemon is gone")
        if self._workers() != self._pids:
            self.quiet()  # let it say why
            reason = self.daemon.said.strip().splitlines()[-3:]
            raise BrokenPromise(f"a worker is gone: {' / '.join(reason)}")

    def _check_bystanders(self) -> None:
        self._wait(
            lambda: all(b.has_arrived or b.is_over for b in self.bystanders),
            "bystanders have got what was sent to them",
        )
        lost = sum(not b.has_arrived for b in self.bystanders)
        if lost:
            raise BrokenPromise(f"{lost} bystanders lost")
        for bystander in self.bystanders:
            self.verified += sum(len(side.heard) for side in bystander.sides)
            bystander.forget()

    def _check_next(self) -> None:
        """Whoever comes next is served."""
        conversation = self._converse()
        try:
            self.begin(conversation)
            self.complete(conversation)
            if not all(side.ending == END for side in conversation.sides):
                raise BrokenPromise("the next connection was lost")
        finally:
            self._close(conversation)

    def _check_remains(self) -> None:
        def are_closed() -> bool:
            self._check_workers()
            return self._all_descriptors() == self._opened

        self._wait(are_closed, f"the workers have {self._opened} descriptors again")
        self._wait(
            lambda: self._active() == len(self.bystanders),
            f"{len(self.bystanders)} connections are counted again",
        )
