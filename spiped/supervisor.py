"""The supervisor: keeps the workers running.  No traffic ever passes through it.

    wait -> take signals and reports -> reap -> respawn

Workers come in generations: a reload starts a new one, with the new key and target, and drains the
old one as soon as the new one is ready.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import time
from collections.abc import Callable

from spiped import worker
from spiped.crypto import wipe
from spiped.errors import OperatorError, describe
from spiped.light import Any, NamedTuple, suppress
from spiped.net.address import SocketAddress, encode_addresses, is_literal
from spiped.net.pipe import Pipe
from spiped.net.reactor import READ, Reactor, Timer
from spiped.observe.counters import Counters
from spiped.process import HANDLED, fork
from spiped.resolver import Lookup
from spiped.worker import Setup

STABLE = 1.0  # seconds; a worker that dies younger than this is not replaced at once
BACKOFF_MIN, BACKOFF_MAX = 0.1, 10.0  # seconds until it is
KILL_AFTER = 2.0  # seconds that workers have to stop when they are told to


class Pool(NamedTuple):
    """What the supervisor runs: ``setup`` without the parts that differ from worker to worker."""

    setup: Setup
    target: str  # as the operator wrote it
    resolve_interval: float  # seconds; infinite: never
    read_key: Callable[[], memoryview] | None  # None: cannot be read again
    close_listener: Callable[[], None]
    let_go: Callable[[], None]  # of what children do not need


class WorkerProcess:
    """A worker, seen from the supervisor."""

    def __init__(
        self, pid: int, slot: int, generation: int, pipe: Pipe, channel: socket.socket
    ) -> None:
        self.pid = pid
        self.slot = slot
        self.generation = generation
        self.pipe = pipe  # what it was forked with
        self.channel = channel
        self.born = time.monotonic()
        self.ready = False
        self.leaving = False  # has been told to drain or to stop

    def tell(self, command: dict[str, Any]) -> None:
        """Send a command; a worker that is gone does not miss it."""
        with suppress(OSError):
            self.channel.sendall(json.dumps(command).encode() + b"\n")


class Supervisor:
    """Forks, watches and replaces workers until it is told to stop."""

    def __init__(self, pool: Pool, slots: int, on_ready: Callable[[], None]) -> None:
        self._pool = pool
        self._setup = pool.setup
        self._log = pool.setup.log
        self._counters: Counters = pool.setup.counters
        self._free_slots = list(range(slots - 1, 0, -1))  # slot 0 keeps what the dead have counted
        self._on_ready: Callable[[], None] | None = on_ready
        self._reactor = Reactor()
        self._workers: dict[int, WorkerProcess] = {}
        self._generation = 0  # the one that is to stay
        self._generations = 1  # how many there have been
        self._reloading = False  # the target is being looked up for it
        self._reload_again = False
        self._listening = True
        self._backoff = BACKOFF_MIN
        self._refresh: Timer | None = None
        self._failure: str | None = None
        self._ended_by: int | None = None
        wakeup, signalled = socket.socketpair()
        for end in (wakeup, signalled):
            end.setblocking(False)
        self._signals = (wakeup, signalled)

    def run(self) -> int | None:
        """Supervise until the end; returns the signal that the caller should die of, if any.

        Raises OperatorError if the workers cannot be started.
        """
        wakeup, signalled = self._signals
        signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, lambda number, frame: None)  # the wakeup descriptor queues it
        self._reactor.watch(wakeup, READ, self._on_signals)
        gc.collect()
        gc.freeze()  # what is there now stays: workers need not look at it, nor copy its pages
        self._fill()
        self._schedule_refresh()
        self._reactor.run()
        if self._failure is not None:
            raise OperatorError(self._failure)
        return self._ended_by

    # Workers

    def _spawn(self) -> None:
        """Fork a worker; if the system does not let us, try again later."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._retry_spawn(error)
            return
        slot = self._free_slots.pop()
        try:
            pid = fork(lambda: self._become_worker(slot, ours, theirs))
        except OSError as error:
            ours.close()
            self._free_slots.append(slot)
            self._retry_spawn(error)
            return
        finally:
            theirs.close()
        ours.setblocking(False)
        process = WorkerProcess(pid, slot, self._generation, self._setup.pipe, ours)
        self._workers[pid] = process
        self._reactor.watch(ours, READ, lambda events: self._on_report(process))

    def _retry_spawn(self, error: OSError) -> None:
        message = f"Cannot start a worker: {describe(error)}"
        if self._on_ready is not None:  # nor could we ever be ready: whoever waits should know
            self._reactor.call_later(0, lambda: self._fail(message))
            return
        self._log.warn(message)
        self._reactor.call_later(BACKOFF_MAX, self._fill)

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
        self._counters.fold(process.slot)
        self._free_slots.append(process.slot)
        pipes = (self._setup.pipe, *(w.pipe for w in self._workers.values()))
        if all(process.pipe.K is not pipe.K for pipe in pipes):
            wipe(process.pipe.K)
        if process.leaving or not self._listening:
            return
        how = _describe_status(status)
        if self._on_ready is not None:
            self._fail(f"A worker could not start ({how})")
        elif not process.ready and self._has_older(process):
            self._log.warn(f"Reload failed: a new worker could not start ({how})")
            self._abandon_generation()
        else:
            self._log.warn(f"Worker {process.pid} died ({how}); starting another")
            self._respawn(process)

    def _respawn(self, process: WorkerProcess) -> None:
        if process.ready and time.monotonic() - process.born >= STABLE:
            self._backoff = BACKOFF_MIN
            delay = 0.0
        else:
            delay = self._backoff
            self._backoff = min(2 * self._backoff, BACKOFF_MAX)
        self._reactor.call_later(delay, self._fill)

    def _fill(self) -> None:
        """Bring the present generation to its full number."""
        if not self._listening:
            return
        present = sum(w.generation == self._generation for w in self._workers.values())
        for _ in range(self._setup.workers - present):
            self._spawn()

    # Reload

    def _has_older(self, process: WorkerProcess) -> bool:
        return any(
            w.generation < process.generation and not w.leaving for w in self._workers.values()
        )

    def _reload(self) -> None:
        """Start a generation with the key and target of now; a mistake leaves all as it is.

        While the target is being looked up for one, others wait, and are then done as one.
        """
        if self._reloading:
            self._reload_again = True
            return
        if not self._has_room():
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
        if self._has_room():  # the lookup took its time
            self._setup = self._setup._replace(pipe=self._setup.pipe._replace(K=K, targets=targets))
            self._generation = self._generations
            self._generations += 1
            self._fill()
        if self._reload_again:
            self._reload_again = False
            self._reload()

    def _has_room(self) -> bool:
        """There are slots for one more generation."""
        if len(self._free_slots) >= self._setup.workers:
            return True
        self._log.warn("Reload refused: too many workers of earlier reloads are still draining")
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
            Lookup(self._reactor, self._pool.target, self._setup.forget, done)
        except OSError as error:
            done([], (f"Cannot look up the target: {describe(error)}",))

    def _use_targets(self, targets: list[SocketAddress]) -> None:
        if targets != self._setup.pipe.targets:
            self._setup = self._setup._replace(pipe=self._setup.pipe._replace(targets=targets))
            for process in self._workers.values():
                process.tell({"do": "targets", "addresses": encode_addresses(targets)})

    # Signals

    def _on_signals(self, events: int) -> None:
        for number in self._signals[0].recv(4096):
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP and self._listening:
                self._reload()
            elif number == signal.SIGUSR1:
                self._log.warn(self._counters.summary())
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
            self._reap()
        else:
            self._end(None)

    def _end(self, kill: int | None) -> None:
        """End all workers now; what they carry is reset."""
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


def _describe_status(status: int) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == getattr(signal, "SIGSYS", None):
        return "ended by the sandbox: it made a system call that it should not need"
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit status {os.WEXITSTATUS(status)}"
