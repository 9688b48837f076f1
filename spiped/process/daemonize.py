"""Going to the background: a child goes on, and the process that the operator started waits."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable

from spiped.errors import OperatorError, describe
from spiped.lean_typing import NoReturn, suppress
from spiped.process.signals import Stopped, die_of, stoppable

READY, FAILED = b"ready", b"failed"

LEAVE_WAIT = 5.0  # seconds that the parent has to exit, where that matters


class Parent:
    """The process that the operator started, as its child sees it: waiting for our report."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def report_ready(self, *, wait: bool = False) -> None:
        """Let the parent exit with status 0; and wait until it has."""
        with suppress(OSError):  # the parent has been killed: nobody waits
            os.write(self._fd, READY)
        if wait:
            poll = select.poll()
            poll.register(self._fd, 0)  # nobody can read any more: an error
            poll.poll(LEAVE_WAIT * 1000)
        self.close()

    def report_failure(self) -> None:
        """Let the parent exit with status 1; we have said why."""
        with suppress(OSError):
            os.write(self._fd, FAILED)
        self.close()

    def close(self) -> None:
        """Leave the report to others: a child of ours has none to make."""
        os.close(self._fd)


def daemonize(name: str, let_go: Callable[[], None], leave_to: Callable[[int], None]) -> Parent:
    """Go on in a child process with a session of its own.

    Returns in the child.  The parent calls ``let_go``, waits for the child's report, and exits; if
    that is a good one, it calls ``leave_to`` with the child's process id before.  If it is told to
    stop meanwhile, so is the child.  Raises OperatorError.
    """
    try:
        readable, writable = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
    except OSError as error:
        raise OperatorError(
            f"Cannot go to the background: {describe(error)}", "Failed to daemonize"
        ) from error
    if child == 0:
        os.close(readable)
        os.setsid()
        return Parent(writable)
    os.close(writable)
    let_go()
    return _wait_for_report(name, child, readable, leave_to)


def _wait_for_report(
    name: str, child: int, readable: int, leave_to: Callable[[int], None]
) -> NoReturn:
    try:
        with stoppable():
            report = os.read(readable, 64)
    except Stopped as stopped:
        with suppress(OSError):
            os.kill(child, signal.SIGTERM)
        die_of(stopped.number)
        report = FAILED
    if not report:
        with suppress(OSError):
            sys.stderr.write(f"{name}: Unexpected EOF in pipe\n{name}: Failed to daemonize\n")
    if report == READY:
        leave_to(child)
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(0 if report == READY else 1)
