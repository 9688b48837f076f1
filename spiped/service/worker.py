"""A worker process: has its data plane carry those who connect to the shared listening socket.

It is forked ready: settings, key, addresses and the socket are there, so it needs no file system,
no name resolution and no privilege.  Orders come from the supervisor over a channel, and what is to
be logged goes back over it; when it ends, the supervisor is gone, and the worker drains and leaves.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from collections.abc import Callable

from spiped.crypto import Backend
from spiped.errors import REFUSALS, describe
from spiped.lean_typing import NamedTuple, suppress
from spiped.net.address import decode_addresses
from spiped.net.reactor import Reactor
from spiped.observe.counters import Counters
from spiped.observe.log.events import (
    CannotAccept,
    ConnectionBegun,
    ConnectionEnded,
    ConnectionFailed,
    ConnectionLeft,
    Crashed,
    EventsLost,
    LimitReached,
    Overloaded,
)
from spiped.observe.log.kinds import Event, encode
from spiped.observe.log.rate_limit import BURST, INTERVAL, RateLimit
from spiped.observe.slot import Field, Slot
from spiped.plane.diagnosis import tell
from spiped.plane.ending import Cause, Ending
from spiped.plane.interface import PlaneMaker, Service, Wanted
from spiped.plane.limits import Limits
from spiped.plane.pipe_settings import PipeSettings
from spiped.process import descriptors
from spiped.process.fork import present_traceback
from spiped.process.signals import HANDLED, unblock_signals
from spiped.process.streams import detach_streams
from spiped.process.title import name_process
from spiped.proto.terms import Heard, Role
from spiped.sandbox import Sandbox
from spiped.service.channel import Channel, Message
from spiped.service.failures import Failures
from spiped.service.rationed import Rationed

# Bytes that may wait to be taken by the supervisor; what is to be said beyond that is lost.
WAITING_MAX = 1 << 16
LOSS_INTERVAL = 1.0  # seconds from one message about that to the next

# Seconds from one message that connections have to wait to the next one for the same reason
PAUSE = 10.0


class WorkerSetup(NamedTuple):
    """What a worker is forked with."""

    program: str  # its name
    name: str  # of the pipe
    key_name: str
    target: str  # as the operator wrote it
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
    wanted: Wanted  # of which connections to tell, beside those that fail


def run(setup: WorkerSetup, sock: socket.socket) -> int:
    """The life of a worker, from the fork to its end; returns the exit status."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)  # meant for the supervisor, which tells us
    unblock_signals()
    name_process(f"{setup.program}: worker")
    try:
        worker = Worker(setup, sock)
        worker.begin()
    except REFUSALS as error:
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
        self._at_limit = Rationed(RateLimit(1, PAUSE), self._tell)
        self._shortages = Rationed(RateLimit(1, PAUSE), self._tell)
        self._overloads = Rationed(RateLimit(), self._tell)
        self._refused = 0  # connections, as far as that has been told
        self._reactor = Reactor()
        self._plane = setup.make_plane(self._reactor, setup.slot, setup.entries)
        self._wanted = setup.wanted
        self._untold = 0  # events that have been lost, and not told of
        self._stopping = False
        self._carried = 0  # bytes, when we looked for the last time,
        self._given_back_at = -1  # and when memory was given back
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
                tell_clean=setup.wanted.clean,
                tell_left=setup.wanted.left,
                tell_begun=setup.wanted.begun,
                on_begin=self._on_begin,
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
            self._enter(setup.sandbox)
        self._channel.send({"ready": True})

    def _enter(self, sandbox: Sandbox) -> None:
        try:
            sandbox.enter(self._setup.pipe)
        except OSError as error:
            raise OSError(error.errno, f"cannot enter the sandbox: {describe(error)}") from error

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

    def _give_back_if_idle(self) -> None:
        """Keep no memory that is not needed: connections of a worker that drains may stay for days.

        Called from time to time.
        """
        if not self._stopping:
            return
        before = self._carried
        self._carried = self._setup.slot[Field.SEALED] + self._setup.slot[Field.OPENED]
        if self._carried == before != self._given_back_at:
            self._given_back_at = self._carried
            self._plane.give_back()

    # Orders

    def _obey(self, message: Message) -> None:
        match message:
            case {"do": "answer", "question": int()}:
                self._channel.answer(message, {})
                self._give_back_if_idle()
            case {"do": "drain"}:
                self.drain()
            case {"do": "stop"}:
                self._stop()
            case {"do": "targets", "addresses": list(addresses)}:
                self._plane.retarget(decode_addresses(addresses))
            case {"do": "kill", "connection": int(number), "question": int()}:
                self._channel.answer(message, {"killed": self._plane.kill(number)})
            case {"do": "tell", "clean": bool(clean), "left": bool(left), "begun": bool(begun)}:
                self._wanted = Wanted(clean, left, begun)
                self._plane.report(self._wanted)

    # Connections

    def _on_begin(self, number: int, peer: object) -> None:
        self._tell(ConnectionBegun(self._setup.name, self._id(number), str(peer)))

    def _on_end(self, ending: Ending) -> None:
        if ending.cause is Cause.KILLED:  # told, and counted, as those that fail are
            self._failures.told(ending.reason)
            self._tell(self._event(ConnectionEnded, ending))
        elif ending.cause in (Cause.CLEAN, Cause.SHUTDOWN):
            if self._wanted.clean:
                self._tell(self._event(ConnectionEnded, ending))
        elif ending.cause is Cause.LEFT:
            if self._wanted.left:
                self._tell(self._event(ConnectionLeft, ending))
        else:
            self._failures.told(ending.reason)
            self._tell(self._event(ConnectionFailed, ending))

    def _event(self, kind: Callable[..., Event], ending: Ending) -> Event:
        is_ours = ending.role is Role.C  # else it is the one that the peer has proved to hold
        fields = {
            "pipe": self._setup.name,
            "id": self._id(ending.number),
            "peer": str(ending.peer),
            "key": self._setup.key_name if is_ours or ending.heard is Heard.PROOF else "",
            "target": self._setup.target,
            "sealed_bytes": ending.sealed,
            "opened_bytes": ending.opened,
            "seconds": round(ending.seconds, 3),
            "cause": ending.reason.word,
        }
        if kind is ConnectionFailed:
            fields |= {"side": ending.failed_side or "nobody", "detail": tell(ending)}
        return kind(**fields)

    def _id(self, number: int) -> str:
        """What the daemon calls a connection of this worker's."""
        return f"{self._setup.serial}-{number}"

    def _on_limit(self) -> None:
        limit = self._setup.limits.connections
        self._at_limit.tell(lambda: LimitReached(self._setup.name, limit))

    def _on_overload(self) -> None:
        self._overloads.tell(self._overloaded)

    def _overloaded(self) -> Event:
        before = self._refused
        self._refused = self._setup.slot[Field.ENDED_OVERLOAD]
        return Overloaded(self._setup.name, self._refused - before)

    def _on_shortage(self, error: int) -> None:
        self._shortages.tell(lambda: CannotAccept(self._setup.name, _shortage(error)))

    def _tell(self, event: Event) -> None:
        if self._channel.waiting <= WAITING_MAX:
            self._channel.send({"event": encode(event)})
            return
        if self._untold == 0:
            self._reactor.call_later(LOSS_INTERVAL, self._tell_loss)
        self._untold += 1

    def _tell_loss(self) -> None:
        """Say how many could not be told, as soon as that can be."""
        if self._channel.waiting > WAITING_MAX:
            self._reactor.call_later(LOSS_INTERVAL, self._tell_loss)
        else:
            lost, self._untold = self._untold, 0
            self._tell(EventsLost(self._setup.name, lost))


def _shortage(error: int) -> str:
    """What the system has not enough of."""
    reason = os.strerror(error)
    if error != errno.EMFILE:
        return reason
    return f"{reason}: `ulimit -n` is {descriptors.limit()}"
