"""What the daemon has to say."""

from __future__ import annotations

from spiped.lean_typing import Record
from spiped.observe.log.kinds import ASKED_FOR, DEBUG, ERROR, INFO, NOTICE, WARNING, event

# The start


@event(WARNING, "Running as process 1: its signals are handled, orphans are reaped")
class RunningAsProcess1(Record):
    """The daemon is the first process of a container."""


@event(
    WARNING,
    "Warning: {address} is both source (-s) and target (-t): connections go round in a circle",
)
class SourceIsTarget(Record):
    """Source and target are the same address."""

    address: str


@event(WARNING, "Warning: the service manager is not told how the daemon is: {reason}")
class ManagerNotTold(Record):
    """NOTIFY_SOCKET names a socket that cannot be used."""

    reason: str


@event(WARNING, "Warning: sockets were passed that -s does not name, and are closed: {names}")
class SocketsUnused(Record):
    """The service manager has opened sockets (LISTEN_FDS) that nobody will serve."""

    names: str


@event(WARNING, "Warning: --ready-fd {descriptor}: {reason}")
class ReadinessUnheard(Record):
    """Nobody has heard that the daemon is ready."""

    descriptor: int
    reason: str


@event(
    WARNING,
    "Warning: {user} (-u) may not use {path}; an upgrade (SIGUSR2) will not be possible",
)
class UpgradeOutOfReach(Record):
    """The user of -u cannot execute the program again."""

    user: str
    path: str


@event(
    WARNING,
    "Warning: {connections:connection (-n) needs|connections (-n) need} {needed} file descriptors,"
    " and the limit is {limit} (ulimit -n)",
)
class FewDescriptors(Record):
    """The limit of descriptors will be reached before that of connections."""

    connections: int
    needed: int
    limit: int


@event(WARNING, "Warning: sandbox: {missing}")
class SandboxIncomplete(Record):
    """This system lacks a part of the sandbox."""

    missing: str


@event(INFO, "Sandbox of the workers: {parts}")
class SandboxChosen(Record):
    """What workers give up."""

    parts: str


def _secrets_not_locked(event: SecretsNotLocked) -> str:
    if event.limit < event.needed:
        return (
            "Warning: RLIMIT_MEMLOCK is too small to keep all secrets out of swap:"
            f" {event.needed} KiB are needed, `ulimit -l` is {event.limit}"
        )
    return "Warning: the system locks no memory, so secrets may get into swap"


@event(WARNING, _secrets_not_locked)
class SecretsNotLocked(Record):
    """Secrets may get into swap space: so many KiB should be locked, and so many may be."""

    needed: int
    limit: int


@event(NOTICE, "Started: version {version}, {workers:worker|workers}, {source} to {target}")
class Started(Record):
    """All workers are ready."""

    version: str
    pipe: str
    source: str
    target: str
    workers: int


# Reload, upgrade, end


@event(
    NOTICE,
    "Reloaded: generation {generation} serves; {draining:older worker drains|older workers drain}",
)
class Reloaded(Record):
    """A new generation of workers has taken over."""

    pipe: str
    generation: int
    draining: int


@event(
    WARNING,
    "Drain timeout: connections of generation {generation} are reset"
    " ({workers:worker ends|workers end})",
)
class DrainTimedOut(Record):
    """Connections of before a reload or an upgrade have had the time that they were given."""

    generation: int
    workers: int


@event(ERROR, "Reload failed: the old key stays in force ({reason})")
class ReloadFailed(Record):
    """The key cannot be read."""

    pipe: str
    reason: str


@event(NOTICE, "Upgraded: this is version {version}")
class Upgraded(Record):
    """Another program has taken over in the same process; a reload follows."""

    version: str


@event(ERROR, "The new program says: {line}")
class UpgradeRefused(Record):
    """What a program says that cannot take over."""

    line: str


@event(ERROR, "Upgrade failed: nothing has changed")
class UpgradeFailed(Record):
    """The new program cannot take over; `refused` before it says why."""


@event(NOTICE, "Leaving: not ready any more; clients are still accepted for {seconds} s")
class LameDuck(Record):
    """SIGTERM, with --shutdown-delay: whoever sends clients here should stop that."""

    seconds: float


@event(
    NOTICE,
    "Stopping: "
    "{connections:connection may go on until it ends|connections may go on until they end}",
)
class Stopping(Record):
    """SIGTERM, or the end of --shutdown-delay: nobody is accepted any more."""

    connections: int


@event(WARNING, "Shutdown timeout: connections are reset ({connections})")
class ShutdownTimedOut(Record):
    """The end of --shutdown-timeout."""

    connections: int


@event(NOTICE, "Stopping at once: connections are reset ({connections})")
class StoppingAtOnce(Record):
    """SIGINT, or SIGTERM for the second time."""

    connections: int


@event(NOTICE, "Stopped")
class Stopped(Record):
    """The last worker has ended, and with it the daemon."""


@event(
    ASKED_FOR,
    "{active:connection|connections} now, {accepted} accepted, {established} established;"
    " {sealed_bytes} bytes encrypted, {opened_bytes} decrypted",
)
class Totals(Record):
    """What has been counted, on request."""

    active: int
    accepted: int
    established: int
    sealed_bytes: int
    opened_bytes: int


def _control_request(event: ControlRequest) -> str:
    about = f"connection from {event.peer}; " if event.peer else ""
    who = f"asked for by user {event.by_uid}, process {event.by_pid}"
    return f"Control: {event.what}: {event.result} ({about}{who})"


@event(ASKED_FOR, _control_request)
class ControlRequest(Record):
    """Somebody has used the control socket to change something; `peer` is that of a `kill`."""

    by_uid: int
    by_pid: int
    what: str
    result: str
    peer: str


# Workers


@event(WARNING, "Worker {worker} died ({how}); starting another")
class WorkerDied(Record):
    """The connections of this process have been reset."""

    worker: int
    how: str


@event(NOTICE, "Worker {worker} serves in place of one that died")
class WorkerReplaced(Record):
    """After `worker_died`: another one accepts connections."""

    worker: int


@event(WARNING, "Worker {worker} does not answer: killing it")
class WorkerHung(Record):
    """This process has done nothing for about ten seconds."""

    worker: int


@event(ERROR, "Cannot start a worker: {reason}")
class WorkerNotForked(Record):
    """The system refuses to make a process; it will be asked again."""

    reason: str


@event(WARNING, "The status process {process} died ({how}); starting another")
class StatusDied(Record):
    """Whoever was being told the status has to ask again; connections do not notice."""

    process: int
    how: str
    traceback: str


@event(ERROR, "Cannot start the process that tells the status: {reason}")
class StatusNotForked(Record):
    """The system refuses to make a process; it will be asked again."""

    reason: str


@event(ERROR, "A new worker could not start ({how}): the old ones stay")
class GenerationFailed(Record):
    """A worker of a new generation has ended before it was ready."""

    how: str


@event(ERROR, "Internal error in {who} (process {process}):")
class Crashed(Record):
    """A fault of this program: an exception that nothing handles.  In text, more lines follow."""

    who: str
    process: int
    traceback: str


# The target


@event(WARNING, "{reason} (trying again every second)")
class NamesNotFound(Record):
    """At the start with -D: an address could not be looked up."""

    reason: str


@event(WARNING, "{reason} (the addresses of before stay in use)")
class TargetsNotFound(Record):
    """The target's name cannot be looked up any more; the addresses of before stay in use."""

    reason: str


@event(NOTICE, "The target's name can be looked up again: {target}")
class TargetsFound(Record):
    """After `targets_not_found`."""

    target: str


@event(NOTICE, "The target {target} stands for other addresses now: {addresses}")
class TargetsChanged(Record):
    """New connections are made to these."""

    target: str
    addresses: str


@event(NOTICE, "The target {target} is down: no connection to it can be made")
class TargetDown(Record):
    """In the last two seconds connections to it have failed, and none has succeeded."""

    pipe: str
    target: str


@event(NOTICE, "The target {target} is up again")
class TargetUp(Record):
    """After `target_down`: a connection to it has succeeded."""

    pipe: str
    target: str


# Connections


@event(DEBUG, "connection from {peer} ({id}): begun")
class ConnectionBegun(Record):
    """A client has been accepted."""

    pipe: str
    id: str
    peer: str


def _ended(event: ConnectionEnded) -> str:
    what = event.cause if event.cause in ("ended", "killed") else "shut down"
    carried = f"{event.sealed_bytes} bytes encrypted, {event.opened_bytes} decrypted"
    return f"connection from {event.peer} ({event.id}): {what} after {event.seconds} s ({carried})"


@event(INFO, _ended, name="connection_ended")
class ConnectionEnded(Record):
    """A connection has come to its end in order, or has been ended by us."""

    pipe: str
    id: str
    peer: str
    key: str
    target: str
    sealed_bytes: int
    opened_bytes: int
    seconds: float
    cause: str


@event(WARNING, "connection from {peer} ({id}): {detail}", name="connection_ended")
class ConnectionFailed(Record):
    """A connection has failed."""

    pipe: str
    id: str
    peer: str
    key: str
    target: str
    sealed_bytes: int
    opened_bytes: int
    seconds: float
    cause: str
    side: str
    detail: str


@event(DEBUG, "connection from {peer} ({id}): left without being served", name="connection_ended")
class ConnectionLeft(Record):
    """A client has left without a byte: a probe, which only looks whether somebody listens."""

    pipe: str
    id: str
    peer: str
    key: str
    target: str
    sealed_bytes: int
    opened_bytes: int
    seconds: float
    cause: str


@event(WARNING, "Maximum number of connections ({limit}) reached: others wait until one ends")
class LimitReached(Record):
    """There are as many connections as there may be; more wait to be accepted."""

    pipe: str
    limit: int


@event(WARNING, "Cannot accept connections: {reason}")
class CannotAccept(Record):
    """The system has run out of something; accepting pauses for a moment."""

    pipe: str
    reason: str


@event(
    WARNING,
    "More connections come than can be computed within -o: {refused} refused; use more CPUs",
)
class Overloaded(Record):
    """Connections were refused at once, because they could not have been served in time."""

    pipe: str
    refused: int


@event(WARNING, "More connections failed than are listed: {detail}")
class MoreFailed(Record):
    """Connections that failed too fast to be logged one by one."""

    pipe: str
    number: int
    causes: str
    detail: str


@event(WARNING, "{number:more message like the last is|more messages like the last are} left out")
class Suppressed(Record):
    """Events that anybody can cause and that came too fast to be logged one by one."""

    number: int


# The log itself


@event(
    WARNING,
    "{number:message of a worker is lost: it|messages of a worker are lost: they} came too fast",
)
class EventsLost(Record):
    """More connections begin and end than the log can tell of."""

    pipe: str
    number: int
