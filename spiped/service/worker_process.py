"""A worker, as the supervisor sees it: a process, a channel to it, and whether it answers there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from spiped.lean_typing import Any
from spiped.service.channel import Channel

# A worker that hangs is ended.  A worker's turn takes milliseconds, so that many questions in a
# row without an answer, 10 seconds in all, are far beyond what a busy machine does to one process.
# It is the questions that count, and not the time since the last answer: a supervisor that was
# stopped itself, or slept with the machine, has asked nothing meanwhile.
ASK_INTERVAL = 2.0  # seconds from question to question
UNANSWERED_MAX = 5


class Killing:
    """A worker has been told to reset a connection."""

    def __init__(self) -> None:
        self.done: bool | None = None  # whether it had it; None: it has not answered yet
        self.on_done: Callable[[], None] = lambda: None


class WorkerProcess:
    """A worker process and what is known of it."""

    def __init__(self, pid: int, serial: int, slot: int, file: Any = None) -> None:
        self.pid = pid
        self.serial = serial  # the number of workers that this daemon has had, with this one
        self.slot = slot  # where it counts,
        self.file = file  # and in which memory: None is that of `Counters`
        self.channel: Channel | None = None  # None once it has ended
        self.born = time.monotonic()
        self.ready = False
        self.unanswered = 0  # questions in a row, up to now

    @property
    def is_answering(self) -> bool:
        """It has answered the last question, or has still time to, and the one before."""
        return self.ready and self.unanswered <= 1

    def tell(self, order: str, **arguments: Any) -> None:
        """Give an order; a worker that is gone does not miss it."""
        if self.channel is not None:
            self.channel.send({"do": order, **arguments})

    def ask(self) -> None:
        """Ask for a sign of life."""
        self.unanswered += 1
        if self.channel is not None:
            self.channel.ask({"do": "answer"}, lambda answer: self.has_answered())

    def kill_connection(self, number: int) -> Killing:
        """Have it reset a connection."""
        killing = Killing()

        def take(answer: dict[str, Any]) -> None:
            killing.done = answer.get("killed") is True
            killing.on_done()

        if self.channel is not None:
            self.channel.ask({"do": "kill", "connection": number}, take)
        return killing

    def has_answered(self) -> None:
        self.unanswered = 0

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def describe_status(status: int) -> str:
    """How a process ended, for people."""
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == getattr(signal, "SIGSYS", None):
        return "ended by the sandbox: it made a system call that it should not need"
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit status {os.WEXITSTATUS(status)}"
