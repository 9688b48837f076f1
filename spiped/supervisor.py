"""The supervisor: keeps the workers running.  No traffic ever passes through it.

    wait -> take signals and reports -> reap -> respawn

Workers come in generations: a reload starts a new one, with the new key and target, and drains the
old one as soon as the new one is ready.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from spiped import worker
from spiped.crypto import wipe
from spiped.errors import OperatorError, describe
from spiped.handover import HandedWorker, Handover, pass_on, rehearse
from spiped.light import NamedTuple, suppress
from spiped.net.address import SocketAddress, encode_addresses, is_literal
from spiped.net.pipe import Pipe
from spiped.net.reactor import READ, Reactor, Timer
from spiped.observe.counters import Counters
from spiped.observe.slot import Field
from spiped.process import HANDLED, block_signals, fork, unblock_signals
from spiped.resolver import look_up
from spiped.worker import Setup
from spiped.worker_process import (
    ASK_INTERVAL,
    UNANSWERED_MAX,
    WorkerProcess,
    describe_status,
)

STABLE = 1.0  # seconds; a worker that dies younger than this is not replaced at once
BACKOFF_MIN, BACKOFF_MAX = 0.1, 10.0  # seconds until it is
KILL_AFTER = 2.0  # seconds that workers have to stop when they are told to
UPGRADE_RETRY = 0.05  # seconds to wait for what is under way


class Pool(NamedTuple):
    """What the supervisor runs: ``setup`` without the parts that differ from worker to worker."""

    setup: Setup
    target: str  # as the operator wrote it
    resolve_interval: float  # seconds; infinite: never
    read_key: Callable[[], memoryview] | None  # None: cannot be read again
    close_listener: Callable[[], None]
    shutdown_timeout: float  # seconds that connections have to end; infinite: any
    command: list[str]  # what an upgrade executes
    hand_over: Callable[[Pipe, list[HandedWorker], Counters], Handover]
    let_go: Callable[[], None]  # of what children do not need


class Supervisor:
    """Forks, watches and replaces workers until it is told to stop."""

    def __init__(
        self,
        pool: Pool,
        on_ready: Callable[[], None] | None,
        adopted: Sequence[HandedWorker] = (),
    ) -> None:
        """``adopted``: workers of the program before us.

        That one has been ready already, so that there is no ``on_ready`` then.
        """
        self._pool = pool
        self._setup = pool.setup
        self._log = pool.setup.log
        self._counters: Counters = pool.setup.counters
        self._on_ready = on_ready
        self._reactor = Reactor()
        self._workers: dict[int, WorkerProcess] = {}
        self._is_successor = on_ready is None
        self._generation = 0  # the one that is to stay
        self._generations = 1  # how many there have been
        self._reloading = False  # the target is being looked up for it
        self._reload_again = False  # as soon as that has come to an end
        self._rehearsing = False  # for an upgrade
        self._rehearse_again = False
        self._listening = True
        self._ending = False  # without waiting for connections
        self._backoff = BACKOFF_MIN
        self._refill: Timer | None = None  # workers are missing, and not due yet
        self._refresh: Timer | None = None
        self._asked_at = time.monotonic()
        self._raised: list[int] = []  # signals that have come and are not handled yet
        self._failure: str | None = None
        self._ended_by: int | None = None
        wakeup, signalled = socket.socketpair()
        for end in (wakeup, signalled):
            end.setblocking(False)
        self._signals = (wakeup, signalled)
        for handed in adopted:
            self._adopt(handed)
        taken = {worker.slot for worker in self._workers.values()}
        # slot 0 keeps what the dead have counted
        self._free_slots = [n for n in range(self._counters.slots - 1, 0, -1) if n not in taken]

    def run(self) -> int | None:
        """Supervise until the end; returns the signal that the caller should die of, if any.

        Raises OperatorError if the workers cannot be started.
        """
        wakeup, signalled = self._signals
        signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            # the wakeup descriptor wakes us; it cannot be the queue, because it can be full
            signal.signal(number, lambda number, frame: self._raised.append(number))
        unblock_signals()  # which have waited if we are an upgrade
        self._reactor.watch(wakeup, READ, self._on_signals)
        gc.collect()
        gc.freeze()  # what is there now stays: workers need not look at it, nor copy its pages
        self._schedule_refresh()
        if self._is_successor:  # after the signals that have waited
            self._reactor.call_later(0, self._replace_adopted)
        else:
            self._fill()
        self._reactor.call_later(ASK_INTERVAL, self._ask_all)
        self._reactor.run()
        if self._failure is not None:
            raise OperatorError(self._failure)
        return self._ended_by

    # Workers

    def _spawn(self) -> None:
        """Fork a worker.  Raises OSError."""
        ours, theirs = socket.socketpair()
        slot = self._free_slots.pop()
        try:
            pid = fork(lambda: self._become_worker(slot, ours, theirs))
        except OSError:
            ours.close()
            self._free_slots.append(slot)
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        process = WorkerProcess(pid, slot, self._generation, self._setup.pipe, ours)
        self._take_on(process)

    def _take_on(self, process: WorkerProcess) -> None:
        self._workers[process.pid] = process
        self._reactor.watch(process.channel, READ, lambda events: self._on_report(process))

    def _adopt(self, handed: HandedWorker) -> None:
        """Supervise a worker that the program before us has forked."""
        channel = socket.socket(fileno=handed.channel)
        channel.setblocking(False)
        generation = self._generation - handed.leaving
        process = WorkerProcess(handed.pid, handed.slot, generation, self._setup.pipe, channel)
        process.ready = True
        process.leaving = handed.leaving
        self._take_on(process)

    def _replace_adopted(self) -> None:
        """Have workers of our own in place of adopted ones: by a reload."""
        self._reap()  # who has died while the program was being replaced
        if self._listening:
            self._reload()
            self._fill_later(BACKOFF_MIN)  # if that has failed, and some are missing

    def _fail(self, message: str) -> None:
        """End, because the daemon cannot start."""
        self._failure = message
        self._end(signal.SIGKILL)

    def _become_worker(self, slot: int, ours: socket.socket, theirs: socket.socket) -> None:
        """What the child does after the fork."""
        self._reactor.close()  # only our copy of the descriptors: nothing may be unregistered
        for sock in (ours, *self._signals, *(w.channel for w in self._workers.values())):
            sock.close()
        self._pool.let_go()
        for other in self._workers.values():
            if other.pipe.K is not self._setup.pipe.K:
                wipe(other.pipe.K)
        worker.run(self._setup._replace(slot=self._counters.slot(slot)), theirs)

    def _on_report(self, process: WorkerProcess) -> None:
        try:
            data = process.channel.recv(64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the worker is gone: SIGCHLD says how
            self._reactor.unwatch(process.channel)
            return
        process.unanswered = 0
        if process.ready:
            return
        process.ready = True
        present = [w for w in self._workers.values() if w.generation == self._generation]
        if len(present) < self._setup.workers or not all(w.ready for w in present):
            return
        for old in self._workers.values():
            if old.generation != self._generation and not old.leaving:
                self._dismiss(old, "drain")
        if self._on_ready is not None:
            on_ready, self._on_ready = self._on_ready, None
            on_ready()
        self._reload_if_wanted()

    def _dismiss(self, process: WorkerProcess, how: str) -> None:
        process.leaving = True
        process.tell({"do": how})

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            process = self._workers.pop(pid, None)
            if process is not None:
                self._bury(process, status)
        if not self._listening and not self._workers:
            self._reactor.stop()

    def _bury(self, process: WorkerProcess, status: int) -> None:
        self._reactor.unwatch(process.channel)
        process.channel.close()
        self._nudge()
        if process.slot is not None:
            self._counters.fold(process.slot)
            self._free_slots.append(process.slot)
        pipes = (self._setup.pipe, *(w.pipe for w in self._workers.values()))
        if all(process.pipe.K is not pipe.K for pipe in pipes):
            wipe(process.pipe.K)
        if process.leaving or not self._listening:
            return
        how = describe_status(status)
        if self._on_ready is not None:
            self._fail(f"A worker could not start ({how})")
        elif (
            not process.ready
            and process.generation == self._generation
            and self._has_older(process)
        ):
            self._log.warn(f"A new worker could not start ({how}): the old ones stay")
            self._abandon_generation()
        else:
            self._log.warn(f"Worker {process.pid} died ({how}); starting another")
            self._respawn(process)

    def _nudge(self) -> None:
        """Wake a worker: for a connection for which the system had woken one that is dead."""
        if self._setup.nudge >= 0:
            with suppress(BlockingIOError):  # as full as can be: they are as good as woken
                os.eventfd_write(self._setup.nudge, 1)

    def _respawn(self, process: WorkerProcess) -> None:
        """Have another in its place: at once, or in a while if this one has not lived long."""
        if process.ready and time.monotonic() - process.born >= STABLE:
            self._backoff = BACKOFF_MIN
            self._fill_later(0)
        elif self._refill is None:
            self._fill_later(self._backoff)
            self._backoff = min(2 * self._backoff, BACKOFF_MAX)

    def _fill_later(self, delay: float) -> None:
        if self._refill is not None:
            self._refill.cancel()
        self._refill = self._reactor.call_later(delay, self._fill)

    def _fill(self) -> None:
        """Bring the present generation to its full number; if the system refuses, later."""
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        if not self._listening:
            return
        present = sum(w.generation == self._generation for w in self._workers.values())
        try:
            for _ in range(self._setup.workers - present):
                self._spawn()
        except OSError as error:
            message = f"Cannot start a worker: {describe(error)}"
            if self._on_ready is not None:  # whoever waits for us to be ready should know
                self._reactor.call_later(0, lambda: self._fail(message))
            else:
                self._log.warn(message)
                self._fill_later(BACKOFF_MAX)

    # Watchdog

    def _ask_all(self) -> None:
        """Ask all workers for a sign of life, and end those that have given none for long.

        If we come late ourselves, the machine is busy, or has slept: that counts for nobody.
        """
        now = time.monotonic()
        late = now - self._asked_at >= 2 * ASK_INTERVAL
        self._asked_at = now
        for process in self._workers.values():
            if late:
                process.unanswered = 0
            elif process.unanswered == UNANSWERED_MAX:
                self._log.warn(f"Worker {process.pid} does not answer: killing it")
                os.kill(process.pid, signal.SIGKILL)
            process.ask()
        self._reactor.call_later(ASK_INTERVAL, self._ask_all)

    # Reload

    def _has_older(self, process: WorkerProcess) -> bool:
        return any(
            w.generation < process.generation and not w.leaving for w in self._workers.values()
        )

    def _reload(self) -> None:
        """Start a generation with the key and target of now; a mistake leaves all as it is.

        While one is on its way to take over, others wait, and are then done as one.
        """
        if self._reloading or self._is_taking_over():
            self._reload_again = True
            return
        if not self._has_room("Reload"):
            return
        self._log.reopen()
        try:
            K = self._setup.pipe.K if self._pool.read_key is None else self._pool.read_key()
        except OperatorError as error:
            for line in error.lines:
                self._log.warn(line)
            self._log.warn("Reload failed: the old key stays in force")
            return
        self._reloading = True
        self._look_up(lambda targets: self._start_generation(K, targets))

    def _start_generation(self, K: bytearray | memoryview, targets: list[SocketAddress]) -> None:
        self._reloading = False
        if self._has_room("Reload"):  # the lookup took its time
            self._setup = self._setup._replace(pipe=self._setup.pipe._replace(K=K, targets=targets))
            self._generation = self._generations
            self._generations += 1
            self._fill()
        self._reload_if_wanted()

    def _is_taking_over(self) -> bool:
        """Workers of the present generation are not ready, and older ones are still in charge."""
        return any(
            w.generation == self._generation and not w.ready and self._has_older(w)
            for w in self._workers.values()
        )

    def _reload_if_wanted(self) -> None:
        if self._reload_again and self._listening:
            self._reload_again = False
            self._reload()

    def _has_room(self, purpose: str) -> bool:
        """There are slots for one more generation."""
        if len(self._free_slots) >= self._setup.workers:
            return True
        self._log.warn(f"{purpose} refused: too many workers of earlier reloads are still draining")
        return False

    def _abandon_generation(self) -> None:
        """Go back to the last generation, with its key and target."""
        older = [w for w in self._workers.values() if w.generation < self._generation]
        for process in self._workers.values():
            if process.generation == self._generation and not process.leaving:
                self._dismiss(process, "stop")
        last = max((w for w in older if not w.leaving), key=lambda w: w.generation)
        self._generation = last.generation
        self._setup = self._setup._replace(pipe=last.pipe)
        self._fill()  # some of them may have died meanwhile
        self._reload_if_wanted()

    # Upgrade

    def _upgrade(self) -> None:
        """Have a new image of the program rehearse and then take our place; or stay as we are."""
        if self._rehearsing:
            self._rehearse_again = True
            return
        if not self._has_room("Upgrade"):
            return
        try:
            rehearse(self._reactor, self._pool.command, self._handover(), self._on_rehearsed)
        except OSError as error:
            self._on_rehearsed([describe(error)])
        else:
            self._rehearsing = True

    def _on_rehearsed(self, complaints: list[str]) -> None:
        self._rehearsing = False
        if self._rehearse_again:  # the program may have changed since
            self._rehearse_again = False
            self._upgrade()
        elif not complaints:
            self._pass_on()
        else:
            for line in complaints:
                self._log.warn(line.removeprefix(f"{self._log.name}: "))
            self._log.warn("Upgrade failed: nothing has changed")

    def _pass_on(self) -> None:
        """Become the new image, once no generation is on its way and no signal is left to handle.

        Signals that come from now on wait for it.
        """
        if not self._listening:
            return
        block_signals()
        try:
            if self._has_unfinished_business():
                self._reactor.call_later(UPGRADE_RETRY, self._pass_on)
            else:
                pass_on(self._pool.command, self._handover(), self._setup.pipe.K)
        except OSError as error:
            self._on_rehearsed([f"Cannot execute {self._pool.command[0]}: {describe(error)}"])
        finally:
            unblock_signals()

    def _has_unfinished_business(self) -> bool:
        try:
            self._signals[0].recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return (
                bool(self._raised)
                or self._reloading
                or any(
                    not (w.leaving or (w.ready and w.generation == self._generation))
                    for w in self._workers.values()
                )
            )
        return True

    def _handover(self) -> Handover:
        workers = [
            HandedWorker(w.pid, w.slot, w.leaving, w.channel.fileno())
            for w in self._workers.values()
        ]
        return self._pool.hand_over(self._setup.pipe, workers, self._counters)

    # Names

    def _schedule_refresh(self) -> None:
        if not is_literal(self._pool.target) and self._pool.resolve_interval != float("inf"):
            delay = self._pool.resolve_interval
            self._refresh = self._reactor.call_later(max(delay, 0.1), self._refresh_targets)

    def _refresh_targets(self) -> None:
        if self._listening:
            self._look_up(self._use_targets)

    def _look_up(self, use: Callable[[list[SocketAddress]], None]) -> None:
        """Look the target up again; the old addresses stay in use if that fails."""

        def done(addresses: list[SocketAddress], errors: tuple[str, ...]) -> None:
            for line in errors:
                self._log.warn(line)
            if self._listening:
                use(addresses or self._setup.pipe.targets)
                if self._refresh is not None:
                    self._refresh.cancel()
                self._schedule_refresh()

        try:
            look_up(self._reactor, self._pool.target, self._setup.forget, done)
        except OSError as error:
            done([], (f"Cannot look up the target: {describe(error)}",))

    def _use_targets(self, targets: list[SocketAddress]) -> None:
        if targets != self._setup.pipe.targets:
            self._setup = self._setup._replace(pipe=self._setup.pipe._replace(targets=targets))
            for process in self._workers.values():
                process.tell({"do": "targets", "addresses": encode_addresses(targets)})

    # Signals

    def _on_signals(self, events: int) -> None:
        self._signals[0].recv(4096)
        raised, self._raised = self._raised, []
        for number in raised:
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP and self._listening:
                self._reload()
            elif number == signal.SIGUSR1:
                self._log.warn(self._counters.summary())
            elif number == signal.SIGUSR2 and self._listening:
                self._upgrade()
            elif number == signal.SIGTERM:
                self._stop_or_hurry()
            elif number == signal.SIGINT:
                self._ended_by = signal.SIGINT
                self._end(None)

    def _stop_or_hurry(self) -> None:
        """SIGTERM: drain; and the second time, stop."""
        if self._listening:
            self._close_listener()
            for process in self._workers.values():
                self._dismiss(process, "drain")
            self._reactor.call_later(self._pool.shutdown_timeout, self._hurry)
            self._reap()
        else:
            self._end(None)

    def _hurry(self) -> None:
        """Connections have had the time that they were given."""
        if self._ending:
            return
        left = self._counters.total(Field.ACTIVE)
        self._log.warn(f"Shutdown timeout: connections are reset ({left})")
        self._end(None)

    def _end(self, kill: int | None) -> None:
        """End all workers now; what they carry is reset."""
        self._ending = True
        self._close_listener()
        for process in self._workers.values():
            self._dismiss(process, "stop")
            if kill is not None:
                os.kill(process.pid, kill)
        self._reactor.call_later(KILL_AFTER, self._kill_all)
        self._reap()

    def _kill_all(self) -> None:
        for process in self._workers.values():
            os.kill(process.pid, signal.SIGKILL)

    def _close_listener(self) -> None:
        if self._listening:
            self._listening = False
            self._pool.close_listener()
