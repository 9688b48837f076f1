"""A worker process: accepts connections from the shared listening socket and carries them.

It is forked ready: configuration, keys, resolved addresses and the socket are there, so it needs no
file system, no name resolution and no privilege.  Commands come from the supervisor over a socket
pair; when that ends, the supervisor is gone, and the worker drains and leaves.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable

from spiped.errors import describe
from spiped.light import NamedTuple, suppress
from spiped.net.address import decode_addresses
from spiped.net.connection import Connection, Machinery
from spiped.net.ending import Cause, Ending
from spiped.net.pipe import Pipe
from spiped.net.plane import PlaneMaker
from spiped.net.reactor import READ, Reactor, Timer
from spiped.net.sockets import CONNECTION_ERRORS, accept, peer_name
from spiped.observe.counters import Counters
from spiped.observe.log import Log
from spiped.observe.slot import Field, Slot
from spiped.process import detach_streams, unblock_signals

ACCEPTS_PER_TURN = 16  # so that a burst of strangers does not hold up what is going on
ACCEPT_PAUSE = 0.1  # seconds without accepting when the system has run out of something
SHARE_PAUSE = 0.002  # seconds that the other workers have to take what is beyond our share
LIMIT_RECHECK = 1.0  # seconds; a connection of another worker may have ended

CAUSES = list(Cause)


class Setup(NamedTuple):
    """What a worker is forked with."""

    listener: socket.socket
    pipe: Pipe
    make_plane: PlaneMaker
    workers: int  # how many share the socket
    limit: int  # -n, over all workers; 0: none
    counters: Counters
    slot: Slot
    log: Log
    detach: bool  # a daemon's: let go of the standard streams
    confine: Callable[[Pipe], None]  # give up what the connections of this pipe do not need
    forget: Callable[[], None]  # erase all secrets


def run(setup: Setup, commands: socket.socket) -> None:
    """The life of a worker, from the fork to its end."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # meant for the supervisor
    try:
        worker = Worker(setup, commands)
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # the wakeup descriptor queues it
        unblock_signals()
        worker.run()
    finally:
        setup.forget()


class Worker:
    """Accepts, and keeps account of its connections."""

    def __init__(self, setup: Setup, commands: socket.socket) -> None:
        self._setup = setup
        self._listener: socket.socket | None = setup.listener
        self._slot = setup.slot
        self._log = setup.log
        self._reactor = Reactor()
        plane = setup.make_plane(self._reactor, setup.slot, setup.pipe.timeout)
        self._machinery = Machinery(self._reactor, plane)
        self._pending: set[Connection] = set()  # not established yet
        self._pause: Timer | None = None
        self._at_limit = False
        self._stopping = False
        self._commands = commands
        self._received = b""
        wakeup, signalled = socket.socketpair()
        for end in (wakeup, signalled, commands):
            end.setblocking(False)
        signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
        self._signals = (wakeup, signalled)
        self._reactor.watch(wakeup, READ, self._on_signals)
        self._reactor.watch(commands, READ, self._on_command)
        plane.watch_listener(setup.listener, self._on_acceptable)

    def run(self) -> None:
        """Tell the supervisor that we are there, and work until drained or stopped."""
        if self._setup.detach:
            detach_streams()
        self._setup.confine(self._setup.pipe)
        with suppress(OSError):  # the supervisor is gone, as reading will tell
            self._commands.send(b"ready\n")
        self._reactor.run()

    def drain(self) -> None:
        """Accept no more, and leave when the last connection has ended."""
        self._stopping = True
        self._resume()
        if self._listener is not None:
            self._machinery.plane.unwatch_listener(self._listener)
            self._listener.close()
            self._listener = None
        self._leave_if_done()

    def _stop(self) -> None:
        """Leave now; what is still going on sees a reset."""
        self.drain()
        for connection in list(self._pending):
            connection.abort()
        self._machinery.plane.abort_all()

    def _leave_if_done(self) -> None:
        if self._stopping and self._slot[Field.ACTIVE] == 0:
            self._reactor.stop()

    # Accepting

    def _on_acceptable(self) -> None:
        """Accept a bounded number; with more than our share, leave the next to the others."""
        for _ in range(ACCEPTS_PER_TURN):
            if self._has_too_many():
                self._pause_accepting(SHARE_PAUSE, self._take_leftover)
            if self._listener is None or self._pause is not None or not self._accept():
                return

    def _has_too_many(self) -> bool:
        """We have a quarter more connections than the workers have on average, and one."""
        total = self._setup.counters.total(Field.ACTIVE)
        return (self._slot[Field.ACTIVE] - 1) * self._setup.workers * 4 > total * 5

    def _accept(self) -> bool:
        """Accept one connection; False if there is none, or none is wanted, for the time being."""
        assert self._listener is not None
        limit = self._setup.limit
        active = self._setup.counters.reserve(self._slot, limit)
        if active == 0:
            self._at_limit = True
            self._pause_accepting(LIMIT_RECHECK)
            return False
        try:
            accepted, address = accept(self._listener, self._setup.pipe.keepalive)
        except OSError as error:
            self._setup.counters.release(self._slot)
            if isinstance(error, BlockingIOError):
                return False  # another worker was faster
            if error.errno not in CONNECTION_ERRORS:
                self._log.warn_about_peer(f"Cannot accept connections: {describe(error)}")
                self._pause_accepting(ACCEPT_PAUSE)
                return False
            return True
        if active == limit:
            self._log.warn_about_peer(f"Maximum number of connections ({limit}) reached")
        self._slot.add(Field.ACCEPTED, 1)
        connection = Connection(
            self._machinery,
            self._setup.pipe,
            peer_name(address),
            self._on_established,
            self._on_end,
        )
        self._pending.add(connection)
        connection.start(accepted)
        return True

    def _take_leftover(self) -> None:
        """Take one that the others have not taken in their time: they may be busy, or stopped."""
        self._resume()
        if self._listener is not None:
            self._accept()

    def _pause_accepting(self, delay: float, then: Callable[[], None] | None = None) -> None:
        assert self._listener is not None
        self._machinery.plane.unwatch_listener(self._listener)
        self._pause = self._reactor.call_later(delay, then or self._resume)

    def _resume(self) -> None:
        self._at_limit = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            if self._listener is not None:
                self._machinery.plane.watch_listener(self._listener, self._on_acceptable)

    # Connections

    def _on_established(self, connection: Connection) -> None:
        self._pending.discard(connection)
        self._slot.add(Field.ESTABLISHED, 1)

    def _on_end(self, connection: Connection, ending: Ending) -> None:
        self._pending.discard(connection)
        self._slot.add(Field.ENDED + CAUSES.index(ending.cause), 1)
        self._setup.counters.release(self._slot)
        message = f"connection from {connection.peer}: {ending}"
        if ending.cause in (Cause.CLEAN, Cause.SHUTDOWN):
            self._log.debug(f"{message} ({ending.sealed} bytes sealed, {ending.opened} opened)")
        else:
            self._log.warn_about_peer(message)
        if self._at_limit:
            self._resume()
        self._leave_if_done()

    # Signals and commands

    def _on_signals(self, events: int) -> None:
        with suppress(BlockingIOError):
            if signal.SIGTERM in self._signals[0].recv(4096):
                self.drain()

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

    def _obey(self, command: dict[str, object]) -> None:
        match command:
            case {"do": "drain"}:
                self.drain()
            case {"do": "stop"}:
                self._stop()
            case {"do": "targets", "addresses": list(addresses)}:
                # new connections use them; the list is shared with all connections to come
                self._setup.pipe.targets[:] = decode_addresses(addresses)
            case _:
                raise AssertionError(f"unknown command: {command}")
