"""The supervisor: keeps the daemon running until it is told to end.  No traffic passes through it.

    start -> serve (-> lame duck) -> drain -> stop

It turns signals into reloads, upgrades and the end; its workers are the worker set's business.
"""

from __future__ import annotations

import enum
import gc
import os
import signal
import time

from spiped.errors import OperatorError
from spiped.lean_typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from spiped.net.reactor import READ, Reactor
from spiped.observe.counters import Counters
from spiped.observe.log.events import (
    LameDuck,
    Reloaded,
    ShutdownTimedOut,
    Stopped,
    Stopping,
    StoppingAtOnce,
    Totals,
)
from spiped.observe.log.kinds import DEBUG, INFO, LEVELS, counted
from spiped.observe.slot import Field
from spiped.plane.interface import Wanted
from spiped.plane.pipe_settings import PipeSettings
from spiped.process.signals import Signals
from spiped.service.generation import Generation, State
from spiped.service.handover import Document
from spiped.service.holdings import Holdings
from spiped.service.reload import Reload
from spiped.service.target_state import TargetState
from spiped.service.targets import Targets
from spiped.service.upgrade import Upgrade
from spiped.service.worker_process import ASK_INTERVAL, Killing
from spiped.service.worker_set import BACKOFF_MIN, SetSettings, WorkerSet

if TYPE_CHECKING:
    from spiped.control.commands import ReloadState
    from spiped.control.server import Server
    from spiped.observe.view import View
    from spiped.service.publication import About, Now, Publication
    from spiped.service.status_server import StatusServer
    from spiped.status.page import Page

KILL_AFTER = 2.0  # seconds that workers have to stop when they are told to

LOOK_INTERVAL = 2.0  # seconds from look to look at the target's state, and at our own

# Microseconds that a service manager grants us, again at every look, while we drain
EXTENSION = 30_000_000


TOO_LATE = "The daemon has been told to end"


class Phase(enum.Enum):
    """How far the daemon has come."""

    STARTING = "starting"  # no generation has served yet
    SERVING = "serving"
    LAME_DUCK = "lame_duck"  # clients should go elsewhere, and are still accepted
    DRAINING = "draining"  # nobody is accepted any more
    STOPPING = "stopping"  # connections are reset


class SupervisorSettings(NamedTuple):
    about: About | None  # None: nobody is to look at the daemon
    page: Page | None  # of the status server; None: there is to be none
    config: list[dict[str, Any]]  # the options in force, as the control socket shows them
    workers: SetSettings
    resolve_interval: float  # seconds; infinite: never
    shutdown_delay: float  # seconds that clients are still accepted
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
        self._manager = holdings.manager
        self.phase = Phase.STARTING
        self._reloading = False  # as the service manager has been told
        self._last_reload: dict[str, Any] | None = None  # as docs/status.md has it
        self._failure: str | None = None
        self._ended_by: int | None = None
        self._set = WorkerSet(reactor, signals, holdings, counters, settings.workers, self)
        self._reload = Reload(holdings, self._set, settings.workers.name)
        self._upgrade = Upgrade(
            reactor,
            signals,
            holdings,
            self._set,
            counters,
            lambda: self._is_up,
            self._let_clients_go,
        )
        self._upgrades = False  # an upgrade has been asked for, and no reload since then
        self._targets = Targets(
            reactor,
            holdings.crypto,
            self._log,
            settings.workers.target,
            settings.resolve_interval,
            self._reload.on_new_targets,
        )
        self.target_state = TargetState(
            counters, self._log, settings.workers.name, settings.workers.target
        )
        self._publication: Publication | None = None
        self._is_to_be_published = False
        self._generation = 0  # as it was published last
        if settings.about is not None:
            from spiped.service.publication import Publication  # slow to import

            self._publication = Publication(counters, self._log, settings.about, self._now)
            holdings.on_child(self._publication.facts.close)
        self._status_server = self._make_status_server()
        self._is_watched = False  # somebody reads all events
        self._view: View | None = None
        self._control = self._make_control()

    def _make_status_server(self) -> StatusServer | None:
        settings = self._settings
        if settings.page is None or self._publication is None:
            return None
        from spiped.service.status_server import StatusServer  # as above

        server = StatusServer(
            self._reactor,
            self._signals,
            self._holdings,
            self._counters,
            self._publication.facts,
            settings.page,
            detach=settings.workers.detach,
        )
        self._holdings.on_child(server.close_in_child)
        return server

    def _make_control(self) -> Server | None:
        if self._holdings.control is None or self._publication is None:
            return None
        from spiped.control.commands import Commands  # as above
        from spiped.control.server import Server
        from spiped.observe.view import View

        self._view = View(self._counters, self._publication.facts)
        server = Server(
            self._reactor,
            self._holdings.control.sock,
            self._holdings.control_uids,
            Commands(self, self._view, self._settings.config),
            self,
            self._log,
        )
        self._holdings.on_child(server.close_in_child)
        return server

    def _let_clients_go(self) -> None:
        if self._control is not None:
            self._control.let_go()

    @property
    def is_ready(self) -> bool:
        """Clients should come here: for balancers, which ask before they send some."""
        return self.phase is Phase.SERVING and self._set.is_answering

    @property
    def _is_up(self) -> bool:
        return self.phase in (Phase.STARTING, Phase.SERVING)

    @property
    def _is_over(self) -> bool:
        """Nobody is accepted any more."""
        return self.phase in (Phase.DRAINING, Phase.STOPPING)

    @property
    def log_level(self) -> str:
        """The name of the level from which on events are shown."""
        return next(name for name, level in LEVELS.items() if level == self._log.level)

    def set_log_level(self, name: str | None) -> None:
        """Show events of this level, and above it, from now on; None: as by default."""
        self._log.use_level(name)
        self._want()

    def _want(self) -> None:
        """Have workers tell of what the log shows."""
        shows = self._log.shows
        watched = self._is_watched
        self._set.want(
            Wanted(
                clean=watched or shows(INFO),
                left=watched or shows(DEBUG),
                begun=watched or shows(DEBUG),
            )
        )

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
        self.phase = Phase.SERVING
        self._counters.slot(0).add(Field.UPGRADES, 1)
        self._begin(pipe)
        self._set.adopt(pipe, given["generations"], given["begun"])
        self._reactor.call_later(0, self._replace_adopted)  # after the signals that have waited
        return self._supervise()

    def _begin(self, pipe: PipeSettings) -> None:
        self._signals.catch()
        self._reactor.watch(self._signals, READ, self._on_signals)
        gc.collect()
        gc.freeze()  # what is there now stays: workers need not look at it, nor copy its pages
        gc.enable()  # which `entry` has postponed
        self._targets.begin(pipe.targets)
        self._want()
        self._reactor.call_later(ASK_INTERVAL, self._set.watch)
        self._reactor.call_later(LOOK_INTERVAL, self._look)
        self._feed_watchdog()
        if self._publication is not None:
            self._publication.write()
        if self._status_server is not None:
            self._status_server.start()

    def _supervise(self) -> int | None:
        self._reactor.run()
        if self._failure is None:
            self._log.event(Stopped())
        if self._control is not None:
            self._control.close()
        if self._failure is not None:
            raise OperatorError(self._failure)
        return self._ended_by

    def _replace_adopted(self) -> None:
        self._reap()  # who has died while the program was being replaced
        if self._is_up:
            self._request_reload()
            # if that has failed, and some of them are missing
            self._reactor.call_later(BACKOFF_MIN, self._set.fill)

    # What the worker set tells

    def on_serving(self, generation: Generation) -> None:
        if self._is_over:
            return
        if self.phase is Phase.STARTING:
            self.phase = Phase.SERVING
            self._lifecycle.on_ready()
            self._manager.tell("READY=1", status=self._status)
        else:
            draining = [g for g in self._set.generations if g.state is State.DRAINING]
            count = sum(len(g.workers) for g in draining)
            self._log.event(Reloaded(self._settings.workers.name, generation.number, count))
        self._settle_reload()

    def on_start_failed(self, reason: str, generation: Generation) -> None:
        if self.phase is Phase.STARTING:  # whoever waits for us to be ready should know
            self._failure = f"A worker could not start ({reason})"
            self._stop()
            self._set.kill()
        elif not self._is_over:
            self._settle_reload(reason)

    def on_changed(self) -> None:
        self._publish()

    def on_empty(self) -> None:
        if self._is_over:
            self._reactor.stop()

    # Reloads, as the service manager is told of them

    def _request_reload(self) -> None:
        self._reloading = True
        self._upgrades = False
        if self.phase is Phase.SERVING:
            self._manager.tell_reloading(self._status)
        self._reload.request(self._targets)
        self._end_reload()

    def _settle_reload(self, failure: str = "") -> None:
        """A generation has taken over, or could not; another may follow at once."""
        self._reload.on_settled(failure)
        self._end_reload()

    def _end_reload(self) -> None:
        if self._set.coming is None and self._reloading:
            self._reloading = False
            self._note_reload()
            if self.phase is Phase.SERVING:
                self._manager.tell("READY=1", status=self._status)
        self._manager.tell(status=self._status)
        self._publish()

    def _note_reload(self) -> None:
        failure = self._reload.failure
        self._last_reload = {"at": time.time(), "error": failure}
        self._counters.slot(0).add(Field.RELOADS_FAILED if failure else Field.RELOADS, 1)

    # Signals

    def _on_signals(self, events: int) -> None:
        for number in self._signals.take():
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP and self._is_up:
                self._request_reload()
            elif number == signal.SIGHUP:  # it is too late for more
                self._log.reopen()
            elif number == signal.SIGUSR1:
                self._log.event(self._totals())
            elif number == signal.SIGUSR2 and self._is_up:
                self.request_upgrade()
            elif number == signal.SIGTERM:
                self._leave_or_stop()
            elif number == signal.SIGINT:
                self.stop()

    # What the control socket asks for (`control.commands.Daemon`)

    @property
    def state(self) -> str:
        return self.phase.value

    @property
    def reload_state(self) -> ReloadState:
        from spiped.control.commands import ReloadState  # as above

        if self._upgrades:
            return ReloadState(True, self._upgrade.is_under_way, self._upgrade.failure)
        was_asked = self._reloading or self._last_reload is not None
        return ReloadState(was_asked, self._reloading, self._reload.failure)

    def request_reload(self) -> str:
        if not self._is_up:
            return TOO_LATE
        self._request_reload()
        return ""

    def request_upgrade(self) -> str:
        if not self._is_up:
            return TOO_LATE
        self._upgrades = True
        self._upgrade.request()
        return ""

    def reopen_log(self) -> str:
        return self._log.reopen()

    def leave(self) -> None:
        if self._is_up:
            self._leave_or_stop()

    def stop(self) -> None:
        self._ended_by = signal.SIGINT
        self._stop_at_once()

    def kill(self, worker: int, number: int) -> Killing | None:
        found = [process for process in self._set.workers if process.serial == worker]
        return found[0].kill_connection(number) if found else None

    def watch_connections(self, *, watched: bool) -> None:
        self._is_watched = watched
        self._want()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._set.bury(pid, status)
            if self._status_server is not None:
                self._status_server.bury(pid, status)

    def _totals(self) -> Totals:
        total = self._counters.total
        return Totals(
            total(Field.ACTIVE),
            total(Field.ACCEPTED),
            total(Field.ESTABLISHED),
            total(Field.SEALED),
            total(Field.OPENED),
        )

    # How the daemon is

    def _look(self) -> None:
        """See from time to time what has changed, and let the service manager know."""
        self.target_state.look()
        if self._publication is not None:
            self._publication.sample()
            if self._view is not None:
                self._view.look()
            self._publish()
        extension = () if self._is_up else (f"EXTEND_TIMEOUT_USEC={EXTENSION}",)
        self._manager.tell(*extension, status=self._status)
        self._manager.flush()
        self._reactor.call_later(LOOK_INTERVAL, self._look)

    def _feed_watchdog(self) -> None:
        """We turn; and if a worker answers as well, the daemon does its work."""
        if self._manager.watchdog is None:
            return
        if self._set.is_answering:
            self._manager.tell("WATCHDOG=1")
        self._reactor.call_later(
            min(self._manager.watchdog / 2, LOOK_INTERVAL), self._feed_watchdog
        )

    def _publish(self) -> None:
        """Let others see what has changed, as soon as all of it has."""
        if self._publication is not None and not self._is_to_be_published:
            self._is_to_be_published = True
            self._reactor.call_later(0, self._publish_now)

    def _publish_now(self) -> None:
        assert self._publication is not None
        self._is_to_be_published = False
        self._publication.write()

    def _now(self) -> Now:
        from spiped.service.publication import Now  # as above

        if self._set.in_charge is not None:  # of what drains, the last one that was
            self._generation = self._set.in_charge.number
        return Now(
            state=self.phase.value,
            ready=self.is_ready,
            generation=self._generation,
            last_reload=self._last_reload,
            addresses=list(map(str, self._targets.known)),
            resolved=self._targets.resolved,
            target_error=self._targets.error,
            target_state=self.target_state.word,
            generations=self._set.generations,
        )

    @property
    def _status(self) -> str:
        """One line for people."""
        connections = self._counters.total(Field.ACTIVE)
        if self.phase is Phase.SERVING:
            in_charge = self._set.in_charge
            workers = 0 if in_charge is None else len(in_charge.workers)
            return f"Serving: {workers} workers{self._remarks()}"
        if self.phase is Phase.LAME_DUCK:
            return f"Leaving: clients are still accepted; {connections} connections"
        if self.phase is Phase.DRAINING:
            return f"Stopping: {counted(connections, 'connection is left', 'connections are left')}"
        return "Starting" if self.phase is Phase.STARTING else "Stopping: connections are reset"

    def _remarks(self) -> str:
        """What is not as it always is while the daemon serves."""
        draining = [g for g in self._set.generations if g.state is State.DRAINING]
        older = sum(len(generation.workers) for generation in draining)
        remarks = [
            (self._reloading, "reloading"),
            (self._reload.failure != "", "the last reload failed, see the log"),
            (older > 0, counted(older, "older worker drains", "older workers drain")),
            (self.target_state.is_down, "the target is down"),
        ]
        return "".join(f"; {text}" for holds, text in remarks if holds)

    # The end

    def _leave_or_stop(self) -> None:
        """SIGTERM: stop in order; and the second time, at once."""
        if self.phase is Phase.SERVING and self._settings.shutdown_delay > 0:
            self._leave()
        elif self._is_up:
            self._drain()
        else:
            self._stop_at_once()

    def _leave(self) -> None:
        """Be not ready at once, and listen until whoever sends clients has noticed."""
        delay = self._settings.shutdown_delay
        self._log.event(LameDuck(delay))
        self._reactor.call_later(delay, self._end_leaving)
        self._enter(Phase.LAME_DUCK)

    def _end_leaving(self) -> None:
        if self.phase is Phase.LAME_DUCK:
            self._drain()

    def _drain(self) -> None:
        """Accept nobody any more; connections may go on until they end."""
        self._log.event(Stopping(self._counters.total(Field.ACTIVE)))
        self._stop_asking()
        self._holdings.close_listener()
        self._reactor.call_later(self._settings.shutdown_timeout, self._time_out)
        self._enter(Phase.DRAINING)
        self._set.drain()

    def _stop_asking(self) -> None:
        """Do without what children were to report."""
        self._targets.stop()
        self._upgrade.stop()

    def _time_out(self) -> None:
        """Connections have had the time that they were given."""
        if self.phase is Phase.DRAINING:
            self._log.event(ShutdownTimedOut(self._counters.total(Field.ACTIVE)))
            self._stop()

    def _stop_at_once(self) -> None:
        if self.phase is not Phase.STOPPING:
            self._log.event(StoppingAtOnce(self._counters.total(Field.ACTIVE)))
        self._stop()

    def _stop(self) -> None:
        """End all workers now; what they carry is reset."""
        self._stop_asking()
        self._holdings.close_listener()
        self._reactor.call_later(KILL_AFTER, self._set.kill)
        self._enter(Phase.STOPPING)
        self._set.stop()

    def _enter(self, phase: Phase) -> None:
        """Go on to one of the phases that lead to the end."""
        stopping = () if not self._is_up else ("STOPPING=1",)
        self.phase = phase
        self._manager.tell(*stopping, f"EXTEND_TIMEOUT_USEC={EXTENSION}", status=self._status)
        self._publish()
