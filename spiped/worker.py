"""A worker process: has its data plane carry those who connect to the shared listening socket.

It is forked ready: configuration, keys, resolved addresses and the socket are there, so it needs no
file system, no name resolution and no privilege.  Commands come from the supervisor over a socket
pair; when that ends, the supervisor is gone, and the worker drains and leaves.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable

from spiped.config import Limits
from spiped.light import NamedTuple, suppress
from spiped.net.address import decode_addresses
from spiped.net.ending import Cause, Ending
from spiped.net.pipe import Pipe
from spiped.net.plane import PlaneMaker, Service
from spiped.net.reactor import READ, Reactor
from spiped.observe.counters import Counters
from spiped.observe.log import Log
from spiped.observe.slot import Field, Slot
from spiped.process import HANDLED, detach_streams, unblock_signals

CAUSES = list(Cause)


class Setup(NamedTuple):
    """What a worker is forked with."""

    listener: socket.socket
    nudge: int  # `Service.nudge`
    pipe: Pipe
    make_plane: PlaneMaker
    workers: int  # how many share the socket
    limits: Limits
    counters: Counters
    slot: Slot
    log: Log
    detach: bool  # a daemon's: let go of the standard streams
    confine: Callable[[Pipe], None]  # give up what the connections of this pipe do not need
    forget: Callable[[], None]  # erase all secrets


def run(setup: Setup, commands: socket.socket) -> None:
    """The life of a worker, from the fork to its end."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)  # meant for the supervisor, which tells us
    unblock_signals()
    try:
        Worker(setup, commands).run()
    finally:
        setup.forget()


class Worker:
    """A data plane, the commands that it is given, and what is said of its connections."""

    def __init__(self, setup: Setup, commands: socket.socket) -> None:
        self._setup = setup
        self._slot = setup.slot
        self._log = setup.log
        self._reactor = Reactor()
        self._plane = setup.make_plane(self._reactor, setup.slot)
        self._stopping = False
        self._commands = commands
        self._received = b""
        commands.setblocking(False)
        self._reactor.watch(commands, READ, self._on_command)
        self._plane.serve(
            Service(
                listener=setup.listener,
                nudge=setup.nudge,
                pipe=setup.pipe,
                counters=setup.counters,
                workers=setup.workers,
                limits=setup.limits,
                tell_clean=setup.log.verbose,
                on_end=self._on_end,
                on_trouble=setup.log.warn_about_peer,
            )
        )

    def run(self) -> None:
        """Tell the supervisor that we are there, and work until drained or stopped."""
        if self._setup.detach:
            detach_streams()
        self._setup.confine(self._setup.pipe)
        self._report(b"ready\n")
        self._reactor.run()

    def drain(self) -> None:
        """Accept no more, and leave when the last connection has ended."""
        if not self._stopping:
            self._stopping = True
            self._plane.stop_serving()
            self._setup.listener.close()
        self._leave_if_done()

    def _stop(self) -> None:
        """Leave now; what is still going on sees a reset."""
        self.drain()
        self._plane.abort_all()

    def _leave_if_done(self) -> None:
        if self._stopping and self._slot[Field.ACTIVE] == 0:
            self._reactor.stop()

    # Connections

    def _on_end(self, peer: object, ending: Ending) -> None:
        self._slot.add(Field.ENDED + CAUSES.index(ending.cause), 1)
        if ending.cause not in (Cause.CLEAN, Cause.SHUTDOWN):
            self._log.warn_about_peer(f"connection from {peer}: {ending}")
        elif self._log.verbose:
            carried = f"{ending.sealed} bytes sealed, {ending.opened} opened"
            self._log.warn(f"connection from {peer}: {ending} ({carried})")
        self._leave_if_done()

    # Commands

    def _on_command(self, events: int) -> None:
        try:
            data = self._commands.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the supervisor is gone
            self._reactor.unwatch(self._commands)
            self.drain()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))

    def _report(self, line: bytes) -> None:
        with suppress(OSError):  # the supervisor is gone, as reading will tell
            self._commands.send(line)

    def _obey(self, command: dict[str, object]) -> None:
        """Do as the supervisor says.

        After an upgrade it may be of another version: what "answer", "drain" and "stop" mean, and
        that anything at all is an answer, has to stay for ever.
        """
        match command:
            case {"do": "answer"}:  # a question of the watchdog
                self._report(b"here\n")
            case {"do": "drain"}:
                self.drain()
            case {"do": "stop"}:
                self._stop()
            case {"do": "targets", "addresses": list(addresses)}:
                self._plane.retarget(decode_addresses(addresses))
            case _:
                self._log.warn(f"Unknown command from the supervisor: {command}")
