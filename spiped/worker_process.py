"""A worker, as the supervisor sees it: a process, a channel to it, and whether it answers there."""

from __future__ import annotations

import json
import os
import signal
import socket
import time

from spiped.light import Any, suppress
from spiped.net.pipe import Pipe

# A worker that hangs is ended.  A worker's turn takes milliseconds, so that many questions in a
# row without an answer, 10 seconds in all, are far beyond what a busy machine does to one process.
# It is the questions that count, and not the time since the last answer: a supervisor that was
# stopped itself, or slept with the machine, has asked nothing meanwhile.
ASK_INTERVAL = 2.0  # seconds from question to question
UNANSWERED_MAX = 5


class WorkerProcess:
    """A worker, seen from the supervisor."""

    def __init__(
        self, pid: int, slot: int | None, generation: int, pipe: Pipe, channel: socket.socket
    ) -> None:
        self.pid = pid
        self.slot = slot  # None: it counts elsewhere, for another version of this program
        self.generation = generation
        self.pipe = pipe  # what it was forked with, or as good as that
        self.channel = channel
        self.born = time.monotonic()
        self.ready = False
        self.leaving = False  # has been told to drain or to stop
        self.unanswered = 0  # questions in a row, up to now

    def tell(self, command: dict[str, Any]) -> None:
        """Send a command; a worker that is gone does not miss it."""
        with suppress(OSError):
            self.channel.sendall(json.dumps(command).encode() + b"\n")

    def ask(self) -> None:
        """Ask for a sign of life, which is whatever comes back."""
        self.unanswered += 1
        self.tell({"do": "answer"})


def describe_status(status: int) -> str:
    """How a process ended, for people."""
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == getattr(signal, "SIGSYS", None):
        return "ended by the sandbox: it made a system call that it should not need"
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit status {os.WEXITSTATUS(status)}"
