"""The workers that serve one listening socket: generations of them, of which one is in charge.

    begin -> all workers are ready -> the older ones drain -> they are gone

A worker that dies is replaced; one that hangs is killed, and then replaced.  What a set has to say
goes to its owner (`Owner`).
"""

from __future__ import annotations

import os
import socket
import time

from spiped.errors import REFUSALS, describe
from spiped.lean_typing import Any, NamedTuple, Protocol, suppress
from spiped.net.address import SocketAddress
from spiped.net.reactor import Reactor, Timer
from spiped.observe.counters import Counters
from spiped.observe.log.events import (
    DrainTimedOut,
    GenerationFailed,
    WorkerDied,
    WorkerHung,
    WorkerNotForked,
    WorkerReplaced,
)
from spiped.observe.log.kinds import decode
from spiped.observe.slot import Field
from spiped.plane.interface import PlaneMaker, Wanted
from spiped.plane.limits import Limits
from spiped.plane.pipe_settings import PipeSettings
from spiped.process.fork import fork
from spiped.process.signals import Signals
from spiped.service import worker
from spiped.service.channel import Channel, Message
from spiped.service.generation import Generation, State
from spiped.service.holdings import Holdings
from spiped.service.worker_process import (
    ASK_INTERVAL,
    UNANSWERED_MAX,
    WorkerProcess,
    describe_status,
)

STABLE = 1.0  # seconds; a worker that dies younger than this is not replaced at once
BACKOFF_MIN, BACKOFF_MAX = 0.1, 10.0  # seconds until it is


class SetSettings(NamedTuple):
    """What all generations have in common."""

    name: str  # of the pipe
    key_name: str
    target: str  # as the operator wrote it
    workers: int
    limits: Limits
    make_plane: PlaneMaker
    wake: int  # `Service.wake`
    detach: bool  # a daemon's workers: let go of the standard streams
    drain_timeout: float  # seconds that connections have after a newer generation has taken over


class Owner(Protocol):
    """Who is told what happens in a set."""

    def on_serving(self, generation: Generation) -> None:
        """A generation has taken over."""

    def on_start_failed(self, reason: str, generation: Generation) -> None:
        """A generation that was to take over, or to be the first, could not start."""

    def on_changed(self) -> None:
        """There are other workers than before, or in another state."""

    def on_empty(self) -> None:
        """The last worker has ended, and none is to follow."""


class WorkerSet:
    """Forks, watches and replaces workers."""

    def __init__(
        self,
        reactor: Reactor,
        signals: Signals,
        holdings: Holdings,
        counters: Counters,
        settings: SetSettings,
        owner: Owner,
    ) -> None:
        self._reactor = reactor
        self._signals = signals
        self._holdings = holdings
        self._counters = counters
        self._settings = settings
        self._owner = owner
        self._log = holdings.log
        self.generations: list[Generation] = []  # the oldest first; those that are not gone
        self.generations_begun = 0
        self.workers_forked = 0
        self._wanted = Wanted()
        self._backoff = BACKOFF_MIN
        self._refill: Timer | None = None  # workers are missing, and not due yet
        self._asked_at = time.monotonic()
        self._reasons: dict[int, str] = {}  # by process id: why a worker said that it cannot start

    # Generations

    @property
    def in_charge(self) -> Generation | None:
        """The generation that accepts."""
        return self._last(State.SERVING)

    @property
    def coming(self) -> Generation | None:
        """The generation that is to take over."""
        return self._last(State.STARTING)

    def _last(self, state: State) -> Generation | None:
        return next((g for g in reversed(self.generations) if g.state is state), None)

    @property
    def workers(self) -> list[WorkerProcess]:
        return [process for generation in self.generations for process in generation.workers]

    @property
    def is_answering(self) -> bool:
        """One at least does what it should; of those that accept, as long as there are any."""
        in_charge = self.in_charge
        workers = self.workers if in_charge is None else in_charge.workers
        return any(process.is_answering for process in workers)

    def begin(self, pipe: PipeSettings) -> None:
        """Start a generation with this key, which it owns from now on, and these targets."""
        assert self.coming is None
        self.generations_begun += 1
        self.generations.append(Generation(self.generations_begun, pipe))
        self.fill()

    def adopt(self, pipe: PipeSettings, handed: list[dict[str, Any]], begun: int) -> None:
        """Supervise generations of workers that the program before us has forked."""
        self.generations_begun = begun
        files = self._counters.inherited
        for given in sorted(handed, key=lambda generation: int(generation["number"])):
            state = State(given["state"])
            # those that drain never fork again, and so need no key here
            K = pipe.K if state is State.SERVING else bytearray()
            generation = Generation(given["number"], pipe._replace(K=K), state)
            generation.drains_since = given.get("drains_since")
            self.generations.append(generation)
            for each in given["workers"]:
                file = files[each["counters"]]
                process = WorkerProcess(each["pid"], each["serial"], each["slot"], file)
                process.ready = True
                self.workers_forked = max(self.workers_forked, process.serial)
                self._take_on(process, generation, socket.socket(fileno=each["channel"]))
                process.tell("tell", **self._wanted._asdict())
            if state is State.DRAINING:
                self._limit_draining(generation)
        if self.in_charge is None:  # its workers have died meanwhile
            self.begin(pipe)

    def want(self, wanted: Wanted) -> None:
        """Have all workers, also those to come, tell of these connections."""
        self._wanted = wanted
        for process in self.workers:
            process.tell("tell", **wanted._asdict())

    def retarget(self, targets: list[SocketAddress]) -> None:
        """New connections are made to these."""
        for generation in self.generations:
            generation.retarget(targets)

    def drain(self) -> None:
        """Let all workers finish their connections and leave."""
        self._dismiss(Generation.drain)

    def stop(self) -> None:
        """Let all workers reset their connections and leave."""
        self._dismiss(Generation.stop)

    def _dismiss(self, how: Any) -> None:
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        for generation in list(self.generations):
            how(generation)
        self._forget_gone()

    def kill(self) -> None:
        for process in self.workers:
            process.kill()

    def _forget_gone(self) -> None:
        self.generations = [g for g in self.generations if g.state is not State.GONE]
        if not self.generations:
            self._owner.on_empty()

    # Workers

    def fill(self) -> None:
        """Bring the newest generation to its full number; if the system refuses, later."""
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        generation = self.coming or self.in_charge
        if generation is None:
            return
        try:
            for _ in range(self._settings.workers - len(generation.workers)):
                self._spawn(generation)
        except REFUSALS as error:
            reason = f"cannot fork: {describe(error)}"
            if generation.state is State.STARTING:
                self._reactor.call_later(0, lambda: self._give_up(generation, reason))
            else:
                self._log.event(WorkerNotForked(reason))
                self._fill_later(BACKOFF_MAX)

    def _fill_later(self, delay: float) -> None:
        if self._refill is not None:
            self._refill.cancel()
        self._refill = self._reactor.call_later(delay, self.fill)

    def _spawn(self, generation: Generation) -> None:
        """Fork a worker.  Raises what `REFUSALS` names."""
        ours, theirs = socket.socketpair()
        slot = self._free_slot()
        serial = self.workers_forked + 1
        try:
            pid = fork(lambda: self._become_worker(generation, serial, slot, ours, theirs))
        except REFUSALS:
            ours.close()
            raise
        finally:
            theirs.close()
        self.workers_forked = serial
        self._take_on(WorkerProcess(pid, serial, slot), generation, ours)

    def _free_slot(self) -> int:
        taken = {process.slot for process in self.workers if process.file is None}
        slot = next(n for n in range(1, len(taken) + 2) if n not in taken)
        self._counters.use(1 + max({slot, *taken}))
        return slot

    def _take_on(self, process: WorkerProcess, generation: Generation, sock: socket.socket) -> None:
        generation.workers.append(process)
        process.channel = Channel(
            self._reactor,
            sock,
            lambda message: self._on_message(process, generation, message),
            lambda: None,  # the worker is gone: SIGCHLD says how
        )
        self._owner.on_changed()

    def _become_worker(
        self,
        generation: Generation,
        serial: int,
        slot: int,
        ours: socket.socket,
        theirs: socket.socket,
    ) -> int:
        """What the child does after the fork."""
        self._reactor.close()  # only our copy of the descriptors: nothing may be unregistered
        self._signals.close()
        ours.close()
        for process in self.workers:
            if process.channel is not None:
                process.channel.close_in_child()
        for other in self.generations:
            if other is not generation:
                other.erase_key()
        self._holdings.release_in_child()
        assert self._holdings.listener is not None
        settings = self._settings
        return worker.run(
            worker.WorkerSetup(
                program=self._log.name,
                name=settings.name,
                key_name=settings.key_name,
                target=settings.target,
                serial=serial,
                pipe=generation.pipe,
                limits=settings.limits,
                workers=settings.workers,
                listener=self._holdings.listener.sock,
                wake=settings.wake,
                counters=self._counters,
                slot=self._counters.slot(slot),
                entries=self._counters.entries(slot),
                crypto=self._holdings.crypto,
                make_plane=settings.make_plane,
                sandbox=self._holdings.sandbox,
                detach=settings.detach,
                wanted=self._wanted,
            ),
            theirs,
        )

    def _on_message(self, process: WorkerProcess, generation: Generation, message: Message) -> None:
        match message:
            case {"ready": True}:
                process.ready = True
                self._owner.on_changed()
                if generation.state is State.SERVING:
                    self._log.event(WorkerReplaced(process.pid))
                self._check_serving(generation)
            case {"event": dict(encoded)}:
                with suppress(ValueError):  # of another version, which knows other events
                    self._log.event(decode(encoded))
            case {"cannot_start": str(reason)}:
                self._reasons[process.pid] = reason

    def _check_serving(self, generation: Generation) -> None:
        """A generation takes over when all of its workers are ready."""
        complete = len(generation.workers) == self._settings.workers and generation.all_ready
        if generation.state is not State.STARTING or not complete:
            return
        generation.state = State.SERVING
        for older in list(self.generations):
            if older.number < generation.number and older.state is State.SERVING:
                older.drain()
                self._limit_draining(older)
        self._forget_gone()
        self._owner.on_serving(generation)

    def _limit_draining(self, generation: Generation) -> None:
        """Its connections have so much time from the moment at which it began to drain."""
        if generation.state is State.DRAINING:
            has_had = time.monotonic() - (generation.drains_since or time.monotonic())
            generation.timeout = self._reactor.call_later(
                max(0.0, self._settings.drain_timeout - has_had),
                lambda: self._time_out(generation),
            )

    def _time_out(self, generation: Generation) -> None:
        self._log.event(DrainTimedOut(generation.number, len(generation.workers)))
        generation.stop()

    # Deaths

    def bury(self, pid: int, status: int) -> None:
        """A child has ended: if it was one of the workers, put another in its place."""
        for generation in self.generations:
            for process in generation.workers:
                if process.pid == pid:
                    self._bury(process, generation, status)
                    return

    def _bury(self, process: WorkerProcess, generation: Generation, status: int) -> None:
        if process.channel is not None:
            process.channel.receive_rest()
            process.channel.close()
            process.channel = None
        how = self._reasons.pop(process.pid, describe_status(status))
        generation.remove(process)
        self._owner.on_changed()
        self._counters.fold(process.slot, process.file)
        self._counters.drop_unused([other.file for other in self.workers])
        self._wake()
        if generation.state is State.STARTING and not process.ready:
            self._give_up(generation, how)
        elif generation.state in (State.STARTING, State.SERVING):
            self._log.event(WorkerDied(process.pid, how))
            self._counters.slot(0).add(Field.WORKER_RESTARTS, 1)
            self._replace(process)
        self._forget_gone()

    def _wake(self) -> None:
        """Wake a worker: for a connection for which the system had woken one that is dead."""
        if self._settings.wake >= 0:
            with suppress(BlockingIOError):  # as full as can be: they are as good as woken
                os.eventfd_write(self._settings.wake, 1)

    def _give_up(self, generation: Generation, reason: str) -> None:
        """A generation cannot start: what is there of it ends, and older ones stay."""
        if generation.state is not State.STARTING:
            return
        if self.in_charge is not None:
            self._log.event(GenerationFailed(reason))
        generation.stop()
        self._owner.on_start_failed(reason, generation)
        if self.in_charge is not None:
            self.fill()  # some of the older may have died meanwhile

    def _replace(self, process: WorkerProcess) -> None:
        """Have another in its place: at once, or in a while if this one has not lived long."""
        if process.ready and time.monotonic() - process.born >= STABLE:
            self._backoff = BACKOFF_MIN
            self._fill_later(0)
        elif self._refill is None:
            self._fill_later(self._backoff)
            self._backoff = min(2 * self._backoff, BACKOFF_MAX)

    # Watchdog

    def watch(self) -> None:
        """Ask all workers for a sign of life, and end those that have given none for long.

        If we come late ourselves, the machine is busy, or has slept: that counts for nobody.
        """
        now = time.monotonic()
        late = now - self._asked_at >= 2 * ASK_INTERVAL
        self._asked_at = now
        for process in self.workers:
            if late:
                process.unanswered = 0
            elif process.unanswered == UNANSWERED_MAX:
                self._log.event(WorkerHung(process.pid))
                process.kill()
            process.ask()
        self._counters.mirror_before()
        self._reactor.call_later(ASK_INTERVAL, self.watch)

    # Upgrade

    def hand_over(self) -> list[dict[str, Any]]:
        """The generations, as JSON has them; channels are descriptors."""
        files = [None, *self._counters.before]
        return [
            {
                "number": generation.number,
                "state": generation.state.value,
                "drains_since": generation.drains_since,
                "workers": [
                    {
                        "pid": process.pid,
                        "serial": process.serial,
                        "slot": process.slot,
                        "counters": files.index(process.file),
                        "channel": process.channel.fileno(),
                    }
                    for process in generation.workers
                    if process.channel is not None
                ],
            }
            for generation in self.generations
        ]
