"""The supervisor: keeps the daemon running until it is told to end.  No traffic passes through it.

    start -> serve -> drain -> stop

It turns signals into reloads, upgrades and the end; its workers are the worker set's business.
"""

from __future__ import annotations

import enum
import gc
import os
import signal

from spiped.errors import OperatorError
from spiped.lean_typing import NamedTuple, Protocol
from spiped.net.reactor import READ, Reactor
from spiped.observe.counters import Counters
from spiped.observe.log.events import Draining, Reloaded, ShutdownTimedOut, Stopped, Totals
from spiped.observe.slot import Field
from spiped.plane.pipe_settings import PipeSettings
from spiped.process.signals import Signals
from spiped.service.generation import Generation, State
from spiped.service.handover import Document
from spiped.service.holdings import Holdings
from spiped.service.reload import Reload
from spiped.service.targets import Targets
from spiped.service.upgrade import Upgrade
from spiped.service.worker_process import ASK_INTERVAL
from spiped.service.worker_set import BACKOFF_MIN, SetSettings, WorkerSet

KILL_AFTER = 2.0  # seconds that workers have to stop when they are told to


class Phase(enum.Enum):
    """How far the daemon has come."""

    STARTING = "starting"  # no generation has served yet
    SERVING = "serving"
    DRAINING = "draining"  # nobody is accepted any more
    STOPPING = "stopping"  # connections are reset


class SupervisorSettings(NamedTuple):
    workers: SetSettings
    target: str  # as the operator wrote it
    resolve_interval: float  # seconds; infinite: never
    shutdown_timeout: float  # seconds that connections have to end; infinite: any


class Lifecycle(Protocol):
    """Who waits for the daemon to be ready."""

    def on_ready(self) -> None:
        """All workers are ready, for the first time."""


class Supervisor:
    """One daemon, from its first worker to its last."""

    def __init__(
        self,
        reactor: Reactor,
        signals: Signals,
        holdings: Holdings,
        counters: Counters,
        settings: SupervisorSettings,
        lifecycle: Lifecycle,
    ) -> None:
        self._reactor = reactor
        self._signals = signals
        self._holdings = holdings
        self._counters = counters
        self._settings = settings
        self._lifecycle = lifecycle
        self._log = holdings.log
        self._phase = Phase.STARTING
        self._failure: str | None = None
        self._ended_by: int | None = None
        self._set = WorkerSet(reactor, signals, holdings, counters, settings.workers, self)
        self._reload = Reload(holdings, self._set)
        self._upgrade = Upgrade(
            reactor, signals, holdings, self._set, counters, lambda: self._is_up
        )
        self._targets = Targets(
            reactor,
            holdings.crypto,
            self._log,
            settings.target,
            settings.resolve_interval,
            self._reload.on_new_targets,
        )

    @property
    def _is_up(self) -> bool:
        return self._phase in (Phase.STARTING, Phase.SERVING)

    def run(self, pipe: PipeSettings) -> int | None:
        """Start workers, and supervise until the end.

        Returns the signal that the caller should die of, if any.  Raises OperatorError if the
        workers cannot be started.
        """
        self._begin(pipe)
        self._set.begin(pipe)
        return self._supervise()

    def take_over(self, pipe: PipeSettings, given: Document) -> int | None:
        """Supervise the workers of the program before us, and replace them, by a reload."""
        self._phase = Phase.SERVING
        self._begin(pipe)
        self._set.adopt(pipe, given["generations"], given["begun"])
        self._reactor.call_later(0, self._replace_adopted)  # after the signals that have waited
        return self._supervise()

    def _begin(self, pipe: PipeSettings) -> None:
        self._signals.catch()
        self._reactor.watch(self._signals, READ, self._on_signals)
        gc.collect()
        gc.freeze()  # what is there now stays: workers need not look at it, nor copy its pages
        self._targets.begin(pipe.targets)
        self._reactor.call_later(ASK_INTERVAL, self._set.watch)

    def _supervise(self) -> int | None:
        self._reactor.run()
        if self._failure is not None:
            raise OperatorError(self._failure)
        self._log.event(Stopped())
        return self._ended_by

    def _replace_adopted(self) -> None:
        self._reap()  # who has died while the program was being replaced
        if self._is_up:
            self._reload.request(self._targets)
            # if that has failed, and some of them are missing
            self._reactor.call_later(BACKOFF_MIN, self._set.fill)

    # What the worker set tells

    def on_serving(self, generation: Generation) -> None:
        if not self._is_up:
            return
        if self._phase is Phase.STARTING:
            self._phase = Phase.SERVING
            self._lifecycle.on_ready()
        else:
            draining = [g for g in self._set.generations if g.state is State.DRAINING]
            count = sum(len(g.workers) for g in draining)
            self._log.event(Reloaded(self._settings.workers.name, generation.number, count))
        self._reload.on_settled()

    def on_start_failed(self, reason: str, generation: Generation) -> None:
        if self._phase is Phase.STARTING:  # whoever waits for us to be ready should know
            self._failure = f"A worker could not start ({reason})"
            self._stop()
            self._set.kill()
        elif self._is_up:
            self._reload.on_settled()

    def on_empty(self) -> None:
        if not self._is_up:
            self._reactor.stop()

    # Signals

    def _on_signals(self, events: int) -> None:
        for number in self._signals.take():
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP and self._is_up:
                self._reload.request(self._targets)
            elif number == signal.SIGUSR1:
                self._log.event(self._totals())
            elif number == signal.SIGUSR2 and self._is_up:
                self._upgrade.request()
            elif number == signal.SIGTERM:
                self._drain_or_stop()
            elif number == signal.SIGINT:
                self._ended_by = signal.SIGINT
                self._stop()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._set.bury(pid, status)

    def _totals(self) -> Totals:
        total = self._counters.total
        return Totals(
            total(Field.ACTIVE),
            total(Field.ACCEPTED),
            total(Field.ESTABLISHED),
            total(Field.SEALED),
            total(Field.OPENED),
        )

    # The end

    def _drain_or_stop(self) -> None:
        """SIGTERM: drain; and the second time, stop."""
        if not self._is_up:
            self._stop()
            return
        self._phase = Phase.DRAINING
        self._log.event(Draining(self._counters.total(Field.ACTIVE)))
        self._stop_asking()
        self._holdings.close_listener()
        self._reactor.call_later(self._settings.shutdown_timeout, self._time_out)
        self._set.drain()

    def _stop_asking(self) -> None:
        """Do without what children were to report."""
        self._targets.stop()
        self._upgrade.stop()

    def _time_out(self) -> None:
        """Connections have had the time that they were given."""
        if self._phase is Phase.DRAINING:
            self._log.event(ShutdownTimedOut(self._counters.total(Field.ACTIVE)))
            self._stop()

    def _stop(self) -> None:
        """End all workers now; what they carry is reset."""
        self._phase = Phase.STOPPING
        self._stop_asking()
        self._holdings.close_listener()
        self._reactor.call_later(KILL_AFTER, self._set.kill)
        self._set.stop()
