"""A worker process: has its data plane carry those who connect to the shared listening socket.

It is forked ready: settings, key, addresses and the socket are there, so it needs no file system,
no name resolution and no privilege.  Orders come from the supervisor over a channel, and what is to
be logged goes back over it; when it ends, the supervisor is gone, and the worker drains and leaves.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable

from spiped.crypto import Backend
from spiped.errors import describe
from spiped.lean_typing import NamedTuple, suppress
from spiped.net.address import decode_addresses
from spiped.net.reactor import Reactor
from spiped.observe.counters import Counters
from spiped.observe.log.events import (
    CannotAccept,
    ConnectionEnded,
    ConnectionFailed,
    Crashed,
    Event,
    LimitReached,
    Overloaded,
    Suppressed,
    encode,
)
from spiped.observe.log.rate_limit import BURST, INTERVAL, RateLimit
from spiped.observe.slot import Field, Slot
from spiped.plane.diagnosis import describe as describe_ending
from spiped.plane.ending import Cause, Ending
from spiped.plane.interface import PlaneMaker, Service
from spiped.plane.limits import Limits
from spiped.plane.pipe_settings import PipeSettings
from spiped.process.fork import present_traceback
from spiped.process.signals import HANDLED, unblock_signals
from spiped.process.streams import detach_streams
from spiped.process.title import name_process
from spiped.sandbox import Sandbox
from spiped.service.channel import Channel, Message
from spiped.service.failures import Failures


class WorkerSetup(NamedTuple):
    """What a worker is forked with."""

    program: str  # its name
    name: str  # of the pipe
    serial: int  # of the worker, among all that this daemon has had
    pipe: PipeSettings
    limits: Limits
    workers: int  # how many share the listening socket
    listener: socket.socket
    wake: int  # `Service.wake`
    counters: Counters
    slot: Slot
    entries: memoryview  # where it shows its connections
    crypto: Backend
    make_plane: PlaneMaker
    sandbox: Sandbox | None
    detach: bool  # a daemon's: let go of the standard streams
    tell_clean: bool  # also of connections that end in order


def run(setup: WorkerSetup, sock: socket.socket) -> int:
    """The life of a worker, from the fork to its end; returns the exit status."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)  # meant for the supervisor, which tells us
    unblock_signals()
    name_process(f"{setup.program}: worker")
    try:
        worker = Worker(setup, sock)
        worker.begin()
    except OSError as error:
        _say(sock, {"cannot_start": describe(error)})
        return 1
    except Exception:
        return _crash(sock)
    try:
        worker.run()
    except Exception:
        return _crash(sock)
    finally:
        setup.crypto.wipe_secrets()
    return 0


def _say(sock: socket.socket, message: Message) -> None:
    """Send a message where there is no channel, or none that works."""
    with suppress(OSError):
        sock.send(b"\n" + json.dumps(message).encode() + b"\n")


def _crash(sock: socket.socket) -> int:
    """Tell the supervisor of the exception that is being handled."""
    event = Crashed("worker", os.getpid(), present_traceback())
    _say(sock, {"event": encode(event)})
    return 1


class Worker:
    """A data plane, the orders that it is given, and what is said of its connections."""

    def __init__(self, setup: WorkerSetup, sock: socket.socket) -> None:
        self._setup = setup
        self._rate_limit = RateLimit()
        self._suppressed = 0  # events that the rate limit has held back
        self._refused = 0  # connections, as far as that has been told
        self._reactor = Reactor()
        self._plane = setup.make_plane(self._reactor, setup.slot, setup.entries)
        self._stopping = False
        self._channel = Channel(self._reactor, sock, self._obey, self.drain)
        self._failures = Failures(setup.name, self._reactor, setup.slot, self._tell)

    def begin(self) -> None:
        """Give up what is not needed, and accept; the supervisor hears of it."""
        setup = self._setup
        if setup.detach:
            detach_streams()
        setup.crypto.lock_secrets()
        self._plane.serve(
            Service(
                listener=setup.listener,
                wake=setup.wake,
                pipe=setup.pipe,
                counters=setup.counters,
                workers=setup.workers,
                limits=setup.limits,
                tell_clean=setup.tell_clean,
                tell_left=False,
                tell_burst=BURST,
                tell_interval=INTERVAL,
                on_end=self._on_end,
                on_limit=self._on_limit,
                on_overload=self._on_overload,
                on_shortage=self._on_shortage,
                on_drained=self._leave,
            )
        )
        if setup.sandbox is not None:
            setup.sandbox.enter(setup.pipe)
        self._channel.send({"ready": True})

    def run(self) -> None:
        """Work until drained or stopped."""
        self._reactor.run()

    def drain(self) -> None:
        """Accept no more, and leave when the last connection has ended."""
        if not self._stopping:
            self._stopping = True
            self._plane.stop_serving()
            self._setup.listener.close()

    def _stop(self) -> None:
        """Leave now; what is still going on sees a reset."""
        self.drain()
        self._plane.abort_all()

    def _leave(self) -> None:
        """The last connection has ended."""
        self._failures.sum_up()
        self._reactor.stop()

    # Orders

    def _obey(self, message: Message) -> None:
        match message:
            case {"do": "answer", "question": int()}:
                self._channel.answer(message, {})
            case {"do": "drain"}:
                self.drain()
            case {"do": "stop"}:
                self._stop()
            case {"do": "targets", "addresses": list(addresses)}:
                self._plane.retarget(decode_addresses(addresses))

    # Connections

    def _on_end(self, ending: Ending) -> None:
        if ending.cause in (Cause.CLEAN, Cause.SHUTDOWN):
            if self._setup.tell_clean:
                self._tell(self._event(ConnectionEnded, ending))
        elif ending.cause is not Cause.LEFT:
            self._failures.told(ending.reason)
            self._tell(self._event(ConnectionFailed, ending))

    def _event(self, kind: Callable[..., Event], ending: Ending) -> Event:
        fields = {
            "pipe": self._setup.name,
            "id": f"{self._setup.serial}-{ending.number}",
            "peer": str(ending.peer),
            "cause": ending.cause.value,
            "sealed_bytes": ending.sealed,
            "opened_bytes": ending.opened,
            "seconds": round(ending.seconds, 3),
        }
        if kind is ConnectionFailed:
            fields |= {"side": ending.failed_side, "detail": describe_ending(ending)}
        return kind(**fields)

    def _on_limit(self) -> None:
        if self._admits():
            self._tell(LimitReached(self._setup.name, self._setup.limits.connections))

    def _on_overload(self) -> None:
        if self._admits():
            refused = self._setup.slot[Field.ENDED_OVERLOAD]
            self._tell(Overloaded(self._setup.name, refused - self._refused))
            self._refused = refused

    def _on_shortage(self, reason: str) -> None:
        if self._admits():
            self._tell(CannotAccept(self._setup.name, reason))

    def _admits(self) -> bool:
        """There may be one more event that anybody can cause."""
        if not self._rate_limit.admits():
            self._suppressed += 1
            return False
        if self._suppressed:
            self._tell(Suppressed(self._suppressed))
            self._suppressed = 0
        return True

    def _tell(self, event: Event) -> None:
        self._channel.send({"event": encode(event)})
