"""Handing a running daemon over to a new image of the program, in the same process.

    rehearse (in a child) -> exec -> receive

The new image gets open descriptors and one document, in memory whose descriptor an environment
variable names.  Everything that it needs to serve is in there, so that nothing can fail any more
that the rehearsal has not tried.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable

from spiped.crypto import Buffer, wipe
from spiped.errand import Errand
from spiped.errors import OperatorError, describe
from spiped.light import Any, NamedTuple, suppress
from spiped.memory import anonymous_file
from spiped.net.ending import Cause
from spiped.net.reactor import Reactor
from spiped.observe.slot import SLOT_BYTES, Field

VARIABLE = "SPIPED_HANDOVER"

# Of the document.  To be raised when a field changes its meaning or a new one is needed: a program
# that does not know the format says so in its rehearsal, and everything stays as it is.
FORMAT = 1

READY = b"ready\n"  # what a rehearsal says that has succeeded


class HandedWorker(NamedTuple):
    """A worker that the new image finds among its children."""

    pid: int
    slot: int | None
    leaving: bool
    channel: int  # a descriptor, like all that follow


class Handover(NamedTuple):
    """What a running daemon consists of, apart from its key; as JSON has it."""

    listener: int
    socket_file: list[int] | None  # what lstat says of a UNIX listener's file
    pid_file: int | None
    log_file: int | None
    counters: int
    layout: list[str]  # of the counters
    key_is_file: bool
    targets: list[list[object]]
    bind: list[list[object]]  # at most one
    workers: list[HandedWorker]

    @property
    def descriptors(self) -> list[int]:
        found = [self.listener, self.pid_file, self.log_file, self.counters]
        found += [worker.channel for worker in self.workers]
        return [fd for fd in found if fd is not None]


class Inheritance(NamedTuple):
    """What an image of the program has been given."""

    handover: Handover
    K: bytearray
    is_rehearsal: bool  # then without K, and the descriptors are not there


def counter_layout() -> list[str]:
    """What the numbers in a slot of the counters are: two programs must agree to share them."""
    fields = [f"{field.value} {field.name}" for field in Field]
    return [str(SLOT_BYTES), *fields, *(cause.name for cause in Cause)]


def own_command() -> list[str]:
    """The command that has started this program, as it would have to be given from anywhere."""
    command = [sys.executable, *sys.orig_argv[1:]]
    script = len(command) - len(sys.argv)
    if command[script] == sys.argv[0]:  # and not a module's name
        with suppress(OSError):  # the current directory is gone
            command[script] = os.path.abspath(command[script])
    return command


def rehearse(
    reactor: Reactor,
    command: list[str],
    handover: Handover,
    on_done: Callable[[list[str]], None],
) -> None:
    """Find out whether a new image could begin; calls back with its complaints, if there are any.

    Raises OSError if the system does not let us have the process.
    """

    def take(report: bytes) -> None:
        if report.endswith(READY):
            on_done([])
        else:
            lines = report.decode(errors="backslashreplace").splitlines()
            on_done(lines or ["the new program said nothing"])

    Errand(reactor, lambda sock: _begin_rehearsal(sock, command, handover), take)


def _begin_rehearsal(sock: socket.socket, command: list[str], handover: Handover) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd, stream in ((null, 0), (sock.fileno(), 1), (sock.fileno(), 2)):
        os.dup2(fd, stream)
    try:
        _execute(command, _write(handover, b"", is_rehearsal=True))
    except OSError as error:
        os.write(2, f"{command[0]}: {describe(error)}\n".encode(errors="surrogateescape"))


def pass_on(command: list[str], handover: Handover, K: Buffer) -> None:
    """Become a new image of the program.

    Only returns by raising OSError, and then nothing has changed.
    """
    document = _write(handover, K, is_rehearsal=False)
    try:
        for fd in handover.descriptors:
            os.set_inheritable(fd, True)
        _execute(command, document)
    finally:
        for fd in handover.descriptors:
            os.set_inheritable(fd, False)
        os.close(document)


def _write(handover: Handover, K: Buffer, *, is_rehearsal: bool) -> int:
    header = {"format": FORMAT, "rehearsal": is_rehearsal, **handover._asdict()}
    fd = anonymous_file("spiped-handover")
    os.writev(fd, [json.dumps(header).encode() + b"\n", K])
    return fd


def _execute(command: list[str], document: int) -> None:
    os.set_inheritable(document, True)
    os.execve(command[0], command, {**os.environ, VARIABLE: str(document)})  # noqa: S606


def receive() -> Inheritance | None:
    """What has been handed over to this program, if it has not been started afresh."""
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return None
    try:
        document = int(number)
        content = bytearray(os.fstat(document).st_size)
        os.preadv(document, [content], 0)
        os.close(document)
        end = content.index(b"\n")
        header: dict[str, Any] = json.loads(bytes(content[:end]))
    except (OSError, ValueError) as error:
        raise OperatorError(f"{VARIABLE}: there is nothing to take over") from error
    K = content[end + 1 :]
    wipe(content)
    if header.pop("format") != FORMAT:
        raise OperatorError("This program does not know how to take over from the one that runs")
    is_rehearsal = header.pop("rehearsal")
    workers = [HandedWorker(*worker) for worker in header.pop("workers")]
    handover = Handover(**header, workers=workers)
    if not is_rehearsal:
        for fd in handover.descriptors:
            os.set_inheritable(fd, False)
    return Inheritance(handover, K, is_rehearsal)
