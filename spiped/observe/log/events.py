"""Every event that can be logged: its fields, how important it is, and how it reads as text.

An event says what happened, to whom, and what to do about it where that is not plain.  Each is
declared here, once: its class names the fields, and ``@event`` its level and its text.
"""

from __future__ import annotations

from collections.abc import Callable

from spiped.lean_typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Record

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

# Levels, by the numbers of syslog (RFC 5424, 6.2.1); ASKED_FOR is always shown.
ASKED_FOR, ERROR, WARNING, NOTICE, INFO, DEBUG = 1, 3, 4, 5, 6, 7


class Event(Protocol):
    """What the classes below have in common."""

    def _asdict(self) -> dict[str, Any]: ...


class Kind(NamedTuple):
    """What is declared of a class of events."""

    make: Callable[..., Any]
    fields: tuple[str, ...]
    level: int
    text: str | Callable[[Any], str]  # a template over the fields, or a function of the event


KINDS: dict[str, Kind] = {}  # by the name of the class


def event(level: int, text: str | Callable[[Any], str]) -> Callable[[type[T]], type[T]]:
    """Declare a class of events."""

    def declare(kind: type[T]) -> type[T]:
        fields: tuple[str, ...] = getattr(kind, "_fields")  # noqa: B009
        KINDS[kind.__name__] = Kind(kind, fields, level, text)
        return kind

    return declare


def level_of(event: Event) -> int:
    return KINDS[type(event).__name__].level


def name_of(event: Event) -> str:
    """For example ``worker_died``."""
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(event).__name__)
    return words[1:]


def text_of(event: Event) -> str:
    """The event for people: one line, or a line and more below it."""
    text = KINDS[type(event).__name__].text
    return text.format_map(event._asdict()) if isinstance(text, str) else text(event)


# The start


@event(WARNING, "{remark}")
class Remark(Record):
    """Something that the operator should know when the program starts."""

    remark: str


@event(ERROR, "{reason}")
class Refused(Record):
    """A line of an OperatorError: a mistake of the operator's, or a refusal of the system."""

    reason: str


@event(WARNING, "Running as process 1: its signals are handled, orphans are reaped")
class RunningAsProcess1(Record):
    pass


@event(WARNING, "Warning: the key file is empty: {path}")
class KeyFileEmpty(Record):
    path: str


@event(WARNING, "Warning: the key file has only {length} bytes; 32 random bytes are needed: {path}")
class KeyFileShort(Record):
    path: str
    length: int


@event(WARNING, "Warning: everybody on this machine may read the key file (chmod o-r): {path}")
class KeyFilePublic(Record):
    path: str


@event(
    WARNING,
    "Warning: {address} is both source (-s) and target (-t): connections go round in a circle",
)
class SourceIsTarget(Record):
    address: str


@event(WARNING, "Warning: there is no system log daemon; messages are lost until there is one")
class NoSyslog(Record):
    pass


@event(
    WARNING,
    "Warning: {user} (-u) may not use {path}; an upgrade (SIGUSR2) will not be possible",
)
class UpgradeOutOfReach(Record):
    user: str
    path: str


@event(WARNING, "Using the first of multiple addresses found for {address}: {chosen}")
class SeveralAddresses(Record):
    """An address to listen on, or to connect from, stands for several."""

    address: str
    chosen: str


@event(
    WARNING,
    "Warning: {connections} connections (-n) need {needed} file descriptors,"
    " and the limit is {limit} (ulimit -n)",
)
class FewDescriptors(Record):
    connections: int
    needed: int
    limit: int


@event(WARNING, "Warning: sandbox: {missing}")
class SandboxIncomplete(Record):
    missing: str


@event(INFO, "Sandbox of the workers: {parts}")
class SandboxChosen(Record):
    parts: str


@event(WARNING, "Warning: RLIMIT_MEMLOCK is too small to keep all secrets out of swap")
class SecretsNotLocked(Record):
    pass


@event(NOTICE, "Started: version {version}, {workers} workers, {source} to {target}")
class Started(Record):
    """All workers are ready."""

    version: str
    pipe: str
    source: str
    target: str
    workers: int


# Reload, upgrade, end


@event(NOTICE, "Reloaded: generation {generation} serves; {draining} older workers drain")
class Reloaded(Record):
    """A new generation of workers has taken over."""

    pipe: str
    generation: int
    draining: int


@event(
    WARNING,
    "Drain timeout: connections of generation {generation} are reset ({workers} workers end)",
)
class DrainTimedOut(Record):
    """Connections of before a reload or an upgrade have had the time that they were given."""

    generation: int
    workers: int


@event(ERROR, "Reload failed: the old key stays in force")
class ReloadFailed(Record):
    """The reasons have been logged before."""


@event(ERROR, "Cannot reopen the log file {path}: {reason}; writing on to the old one")
class LogNotReopened(Record):
    path: str
    reason: str


@event(NOTICE, "Upgraded: this is version {version}")
class Upgraded(Record):
    version: str


@event(ERROR, "The new program says: {line}")
class UpgradeRefused(Record):
    """What a program says that cannot take over."""

    line: str


@event(ERROR, "Upgrade failed: nothing has changed")
class UpgradeFailed(Record):
    """The reasons have been logged before."""


@event(NOTICE, "Stopping: {connections} connections may go on until they end")
class Draining(Record):
    """SIGTERM: nobody is accepted any more."""

    connections: int


@event(WARNING, "Shutdown timeout: connections are reset ({connections})")
class ShutdownTimedOut(Record):
    connections: int


@event(NOTICE, "Stopped")
class Stopped(Record):
    pass


@event(
    ASKED_FOR,
    "{active} connections now, {accepted} accepted, {established} established;"
    " {sealed_bytes} bytes encrypted, {opened_bytes} decrypted",
)
class Totals(Record):
    """What has been counted, on request."""

    active: int
    accepted: int
    established: int
    sealed_bytes: int
    opened_bytes: int


# Workers


@event(WARNING, "Worker {pid} died ({how}); starting another")
class WorkerDied(Record):
    pid: int
    how: str


@event(WARNING, "Worker {pid} does not answer: killing it")
class WorkerHung(Record):
    pid: int


@event(ERROR, "Cannot start a worker: {reason}")
class WorkerNotForked(Record):
    reason: str


@event(ERROR, "A new worker could not start ({how}): the old ones stay")
class GenerationFailed(Record):
    """A worker of a new generation has ended before it was ready."""

    how: str


@event(ERROR, "Internal error in {who} (process {pid}):\n{traceback}")
class Crashed(Record):
    """A fault of this program: an exception that nothing handles."""

    who: str
    pid: int
    traceback: str


# Names


@event(WARNING, "{reason} (trying again every second)")
class NamesNotFound(Record):
    """At the start with -D: an address could not be looked up."""

    reason: str


@event(WARNING, "{reason} (the addresses of before stay in use)")
class TargetsNotFound(Record):
    """The target's name could not be looked up again."""

    reason: str


# Connections


@event(
    INFO,
    "connection from {peer}: {cause} ({sealed_bytes} bytes encrypted, {opened_bytes} decrypted)",
)
class ConnectionEnded(Record):
    """A connection has come to its end in order, or has been ended by us."""

    pipe: str
    id: str
    peer: str
    cause: str
    sealed_bytes: int
    opened_bytes: int
    seconds: float


def _connection_failed(event: ConnectionFailed) -> str:
    what = f"connection from {event.peer}: {event.cause}"
    return f"{what}: {event.detail}" if event.detail else what


@event(WARNING, _connection_failed)
class ConnectionFailed(Record):
    pipe: str
    id: str
    peer: str
    cause: str
    side: str  # who has failed: client, target, or nobody
    detail: str
    sealed_bytes: int
    opened_bytes: int
    seconds: float


@event(WARNING, "Maximum number of connections ({limit}) reached")
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
    refused: int  # since it was last said


@event(WARNING, "More connections failed than are listed: {causes}")
class MoreFailed(Record):
    """Connections that failed too fast to be logged one by one."""

    pipe: str
    number: int
    causes: str  # each behind its number


@event(WARNING, "{number} more messages like the last are left out")
class Suppressed(Record):
    """Events that anybody can cause and that came too fast to be logged one by one."""

    number: int


# From one process to another


def encode(event: Event) -> dict[str, Any]:
    """An event in a form that JSON can carry."""
    return {"name": type(event).__name__, "fields": event._asdict()}


def decode(encoded: dict[str, Any]) -> Event:
    """The reverse of `encode`.  Raises ValueError for what is no event of ours."""
    kind, fields = KINDS.get(str(encoded.get("name"))), encoded.get("fields")
    if kind is None or not isinstance(fields, dict) or set(fields) != set(kind.fields):
        raise ValueError(f"no event: {encoded}")
    if not all(type(value) in (str, int, float) for value in fields.values()):
        raise ValueError(f"no fields of an event: {encoded}")
    event: Event = kind.make(**fields)
    return event
