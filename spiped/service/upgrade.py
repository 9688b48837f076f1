"""Upgrade: another image of the program takes over, in the same process.

    rehearse (in a child) -> hand over -> execute

A rehearsal tries all that could fail.  After it, the new image finds everything that it needs to
serve, so that nothing is left to fail.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

from spiped.errors import REFUSALS, describe
from spiped.lean_typing import suppress
from spiped.net.address import encode_addresses
from spiped.net.reactor import Reactor
from spiped.observe.counters import Counters
from spiped.observe.log.common import Refused
from spiped.observe.log.events import UpgradeFailed, UpgradeRefused
from spiped.process.helper import TIME_LIMIT, Helper
from spiped.process.signals import Signals, block_signals, unblock_signals
from spiped.service import handover, key_keeper
from spiped.service.generation import State
from spiped.service.holdings import Holdings
from spiped.service.worker_set import WorkerSet

RETRY = 0.05  # seconds to wait for what is under way

READY = b"ready\n"  # what a rehearsal says that has succeeded


def own_command() -> list[str]:
    """The command that has started this program, as it would have to be given from anywhere."""
    command = [sys.executable, *sys.orig_argv[1:]]
    script = len(command) - len(sys.argv)
    if command[script] == sys.argv[0]:  # and not a module's name
        with suppress(OSError):  # the current directory is gone
            command[script] = os.path.abspath(command[script])
    return command


class Upgrade:
    """Upgrades, one at a time."""

    def __init__(
        self,
        reactor: Reactor,
        signals: Signals,
        holdings: Holdings,
        worker_set: WorkerSet,
        counters: Counters,
        may_go_on: Callable[[], bool],
        on_leaving: Callable[[], None],
    ) -> None:
        """``may_go_on``: the daemon has not been told to end; ``on_leaving``: we take our leave."""
        self._reactor = reactor
        self._signals = signals
        self._holdings = holdings
        self._set = worker_set
        self._counters = counters
        self._may_go_on = may_go_on
        self._on_leaving = on_leaving
        self.is_under_way = False
        self.failure = ""  # why the last one failed, if it did
        self._command = own_command()
        self._rehearsal: Helper | None = None
        self._again = False  # the program may have changed since the rehearsal began

    def request(self) -> None:
        """Have a new image of the program rehearse and then take our place; or stay as we are."""
        self.is_under_way = True
        self.failure = ""
        if self._rehearsal is not None:
            self._again = True
            return
        if self._set.in_charge is None:  # the daemon still starts
            self._reactor.call_later(RETRY, self.request)
            return
        document = self._document()
        try:
            self._rehearsal = Helper(
                self._reactor, lambda sock: _rehearse(sock, self._command, document), self._take
            )
        except REFUSALS as error:
            self._fail(f"Cannot try the new program out: {describe(error)}")

    def stop(self) -> None:
        """The daemon has been told to end."""
        if self._rehearsal is not None:
            self._rehearsal.abandon()

    def _take(self, report: bytes) -> None:
        assert self._rehearsal is not None
        took_too_long, self._rehearsal = self._rehearsal.took_too_long, None
        if self._again:
            self._again = False
            self.request()
        elif report.endswith(READY):
            self._execute()
        else:
            log = self._holdings.log
            lines = report.decode(errors="backslashreplace").splitlines()
            lines = [line.removeprefix(f"{log.name}: ") for line in lines]
            for line in lines:
                log.event(UpgradeRefused(line))
            if took_too_long:
                self._fail(f"The new program was not ready within {TIME_LIMIT} seconds")
            elif not report:
                self._fail("The new program ended without a word")
            else:
                self._give_up(f"The new program says: {lines[-1]}")

    def _fail(self, reason: str) -> None:
        self._holdings.log.event(Refused(reason))
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        self.is_under_way = False
        self.failure = reason
        self._holdings.log.event(UpgradeFailed())

    def _execute(self) -> None:
        """Become the new image, once no generation is on its way and no signal is left to handle.

        Signals that come from now on wait for it.
        """
        if not self._may_go_on():
            return
        block_signals()
        try:
            if self._set.coming is not None or self._signals.are_pending():
                self._reactor.call_later(RETRY, self._execute)
            else:
                self._replace_image()
        except REFUSALS as error:
            self._fail(f"Cannot execute the new program ({self._command[0]}): {describe(error)}")
        finally:
            unblock_signals()

    def _replace_image(self) -> None:
        """Only returns by raising OSError, and then nothing has changed."""
        in_charge = self._set.in_charge
        assert in_charge is not None
        with key_keeper.keep(in_charge.pipe.K) as keeper:
            document = {**self._document(), "key": keeper.fileno()}
            fds = handover.descriptors(document)
            fd = handover.write(document, is_rehearsal=False)
            try:
                handover.set_inheritable(fds, inheritable=True)
                self._on_leaving()
                _execute(self._command, fd, self._holdings.manager.variables())
            finally:
                handover.set_inheritable(fds, inheritable=False)
                os.close(fd)

    def _document(self) -> handover.Document:
        in_charge = self._set.in_charge
        assert in_charge is not None
        pipe = in_charge.pipe
        return {
            **self._holdings.hand_over(),
            "counters": self._counters.files(),
            "targets": encode_addresses(pipe.targets),
            "bind": encode_addresses([] if pipe.bind is None else [pipe.bind]),
            "workers": {
                "begun": self._set.generations_begun,
                "generations": [
                    given
                    for given in self._set.hand_over()
                    if given["state"] != State.STARTING.value
                ],
            },
        }


def _rehearse(sock: socket.socket, command: list[str], document: handover.Document) -> None:
    """What the child does: it becomes the new program, whose output is its report."""
    for stream in (1, 2):
        os.dup2(sock.fileno(), stream)
    try:
        _execute(command, handover.write(document, is_rehearsal=True), {})
    except REFUSALS as error:
        os.write(2, f"{command[0]}: {describe(error)}\n".encode(errors="surrogateescape"))


def _execute(command: list[str], document: int, variables: dict[str, str]) -> None:
    os.set_inheritable(document, True)
    environment = {**os.environ, **variables, handover.VARIABLE: str(document)}
    os.execve(command[0], command, environment)  # noqa: S606
