"""From the options to a running supervisor (DESIGN.md, "Processes").

    read the key -> look names up -> listen -> daemonize -> drop privileges -> fork workers -> ready

Everything that can fail does so before the process that the operator started has returned, except
with ``-D``, which asks for the contrary.  Signals wait, but for SIGTERM and SIGINT where the start
may have to wait for something itself.  An upgrade begins behind all that: everything is there.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

from spiped import __version__
from spiped.crypto import Backend, select
from spiped.crypto.key_file import KeyFile
from spiped.crypto.sizes import KEY_BYTES
from spiped.errors import REFUSALS, LookupFailed, OperatorError, as_operator_error
from spiped.lean_typing import TYPE_CHECKING, Any, NamedTuple, suppress
from spiped.net.address import (
    SocketAddress,
    decode_addresses,
    is_literal,
    leads_back,
    resolve,
)
from spiped.net.reactor import Reactor
from spiped.observe.counters import Counters
from spiped.observe.log.common import Remark, SeveralAddresses
from spiped.observe.log.events import (
    Crashed,
    FewDescriptors,
    NamesNotFound,
    ReadinessUnheard,
    RunningAsProcess1,
    SandboxChosen,
    SandboxIncomplete,
    SecretsNotLocked,
    SocketsUnused,
    SourceIsTarget,
    Started,
    Upgraded,
    UpgradeOutOfReach,
)
from spiped.observe.log.key_warnings import key_warnings
from spiped.observe.log.log import Log
from spiped.options.settings import DaemonOptions
from spiped.options.values import BY_NUMBER, is_inherited
from spiped.plane.choose import choose_plane
from spiped.plane.interface import PlaneMaker
from spiped.plane.limits import Limits
from spiped.plane.pipe_settings import PipeSettings
from spiped.process import descriptors, identity, pid_file
from spiped.process.cpus import available_cpus
from spiped.process.daemonize import daemonize
from spiped.process.fork import present_traceback
from spiped.process.secrecy import allow_locked_memory, forbid_core_dumps, lockable
from spiped.process.signals import Signals, Stopped, die_of, stoppable
from spiped.process.streams import detach_streams, keep_streams_open
from spiped.process.title import name_process
from spiped.proto.terms import Role
from spiped.sandbox import Sandbox
from spiped.service import handover, key_keeper, upgrade
from spiped.service.holdings import Holdings
from spiped.service.listener import adopt, bind, listen
from spiped.service.service_manager import ServiceManager
from spiped.service.supervisor import Supervisor, SupervisorSettings
from spiped.service.targets import Answer, look_up
from spiped.service.worker_set import SetSettings

if TYPE_CHECKING:
    from spiped.service.publication import About
    from spiped.service.readiness import Readiness
    from spiped.status.page import Page

RESOLVE_RETRY = 1.0  # seconds between attempts with -D

# Microseconds that a service manager grants for one attempt: longer than the helper may take
LOOK_UP_EXTENSION = 90_000_000

# What a supervisor has open besides one channel for each worker, and a worker besides its
# connections, with something to spare for a look-up and for a first connection.
OWN_DESCRIPTORS = 20

CONTROL_DESCRIPTORS = 70  # more, with a control socket: `control.server.CLIENTS_MAX`, and some


def run(log: Log, options: DaemonOptions) -> int:
    """Run the daemon to its end; returns the exit status.  Raises OperatorError."""
    try:
        inheritance = handover.receive()
        if inheritance is None or not inheritance.is_rehearsal:  # whose text the daemon reads
            log.use_level(options.log_level)
            log.use_format(options.log_format)
            if options.name != options.source:  # the operator has named it
                log.use_pipe(options.name)
        keep_streams_open()
        # before anything else can have taken the number of a descriptor that is missing
        inherited = _inherit(log, options) if inheritance is None else None
        readiness = _readiness(options) if inheritance is None else None
        workers = options.workers or available_cpus()
        _allow_descriptors(options, workers)
        crypto, warnings = select()
        for warning in warnings:
            log.event(Remark(warning))
        start = Start(options, workers, crypto, log)
        if inheritance is None:
            return start.begin(inherited, readiness)
        if inheritance.is_rehearsal:
            return start.rehearse(inheritance)
        return start.take_over(inheritance)
    except REFUSALS as error:
        raise as_operator_error(error) from error


def _inherit(log: Log, options: DaemonOptions) -> socket.socket | None:
    """The source, if somebody else has opened it; all other sockets that were passed are closed."""
    if not is_inherited(options.source) and "LISTEN_FDS" not in os.environ:
        return None
    from spiped.process.activation import by_name, listening_socket, take_passed  # few need it

    passed = take_passed()
    sock = None
    if is_inherited(options.source):
        kind, _, which = options.source.partition(":")
        option = f"-s {options.source}"
        fd = int(which) if f"{kind}:" == BY_NUMBER else by_name(passed, which, option)
        sock = listening_socket(fd, option)
    unused = [(name, fd) for name, fd in passed.sockets if sock is None or fd != sock.fileno()]
    for _, fd in unused:
        with suppress(OSError):  # it was not open
            os.close(fd)
    if unused:
        log.event(SocketsUnused(", ".join(name for name, _ in unused)))
    return sock


def _readiness(options: DaemonOptions) -> Readiness | None:
    if options.ready_fd is None:
        return None
    from spiped.service.readiness import Readiness  # few need it

    return Readiness(options.ready_fd)


def _descriptors_wanted(options: DaemonOptions) -> int | None:
    """How many a worker may come to need; None: any number."""
    return OWN_DESCRIPTORS + 2 * options.connections if options.connections else None


def _allow_descriptors(options: DaemonOptions, workers: int) -> None:
    needed = OWN_DESCRIPTORS + 2 * workers  # a reload has two of each
    needed += CONTROL_DESCRIPTORS if options.control is not None else 0
    wanted = _descriptors_wanted(options)
    descriptors.raise_limit(None if wanted is None else max(wanted, needed))
    descriptors.require(needed)


class _Addresses(NamedTuple):
    """What the operator's addresses stand for; empty: not known yet."""

    source: list[SocketAddress]
    targets: list[SocketAddress]
    bind: list[SocketAddress]


class Start:
    """Acquires what the daemon holds, and gives it to a supervisor."""

    def __init__(self, options: DaemonOptions, workers: int, crypto: Backend, log: Log) -> None:
        self._options = options
        self._workers = workers
        self._crypto = crypto
        self._log = log
        self._make_plane: PlaneMaker = choose_plane(crypto)
        self._manager = ServiceManager(log)
        self._holdings = Holdings(crypto, log, KeyFile(options.pipe.key), self._manager)
        self._holdings.sandbox = Sandbox(crypto) if options.pipe.sandbox else None
        self._page: Page | None = None  # of the status server
        self._in_background = False
        self._is_detached = False  # from the standard streams

    # Three ways to begin

    def begin(self, inherited: socket.socket | None, readiness: Readiness | None) -> int:
        """Be a new daemon; ``inherited``: listens at the source."""
        if inherited is not None:
            self._holdings.listener = adopt(inherited, self._options.pipe.keepalive)
        self._holdings.readiness = readiness
        if os.getpid() == 1:
            if not self._options.foreground:
                raise OperatorError("Process 1 cannot go to the background: use -F")
            self._log.event(RunningAsProcess1())
        return self._guard(lambda: self._supervise(self._prepare(), None))

    def rehearse(self, inheritance: handover.Inheritance) -> int:
        """See whether we could take over from the program that runs.

        What an upgrade reads again is read; names are not looked up, since those of now will do.
        """
        forbid_core_dumps(self._crypto)
        if inheritance.document.get("key_can_be_read"):
            self._holdings.key_file.can_be_read_again = True
            self._holdings.key_file.read_again(self._crypto)
        self._load_page()
        self._load_modules()
        # what a supervisor cannot do without; new workers it can do without for a while
        Reactor(), Signals(), self._make_counters([])
        self._crypto.wipe_secrets()
        os.write(1, upgrade.READY)
        return 0

    def take_over(self, inheritance: handover.Inheritance) -> int:
        """Be the daemon that this process has been before, with all that it had."""
        given = inheritance.document
        forbid_core_dumps(self._crypto)
        self._in_background = not self._options.foreground
        self._is_detached = True
        return self._guard(lambda: self._supervise(self._adopt(given), given))

    def _adopt(self, given: handover.Document) -> PipeSettings:
        options = self._options
        self._holdings.take_over(given, options.pid_file)
        self._holdings.control_uids.add(os.geteuid())
        self._page = self._load_page()
        if given.get("log_file") is not None and options.log_file is not None:
            self._log.use_file(options.log_file, given["log_file"])
        elif options.syslog and not options.foreground:
            self._log.use_syslog(options.name)
        K = self._crypto.secret_memory(KEY_BYTES)
        key_keeper.fetch(given["key"], K)
        self._log.event(Upgraded(__version__))
        bind = decode_addresses(given.get("bind", []))
        return self._pipe(K, decode_addresses(given["targets"]), bind[0] if bind else None)

    # The steps of the first

    def _prepare(self) -> PipeSettings:
        options, holdings = self._options, self._holdings
        background = not options.foreground
        user = None if options.user is None else identity.look_up_identity(options.user)
        if background and options.pid_file is not None:
            pid_file.check(options.pid_file)
        allow_locked_memory()
        key = self._read_key()
        self._page = self._load_page()
        self._load_modules()
        addresses = self._look_up_first()
        if addresses.source and holdings.listener is None:
            self._bind(addresses.source)
            if self._are_known(addresses):
                self._listen()
        if background:
            self._go_to_background()
        elif options.log_file is not None:
            self._log.use_file(options.log_file)
        name_process(self._log.name)  # while that is ours to do
        if not self._are_known(addresses):
            if background:
                self._report_ready()  # -D: nobody waits for a name service
            addresses = self._wait_for_names()
            if holdings.listener is None:
                self._bind(addresses.source)
            if not is_inherited(options.source):
                self._listen()
        assert holdings.listener is not None
        for target in addresses.targets:
            if leads_back(holdings.listener.address, target):
                self._log.event(SourceIsTarget(str(target)))
        self._listen_for_status(user)
        self._listen_for_control(user)
        if user is not None:
            self._become(user)
        bind = self._first(addresses.bind, options.pipe.bind) if options.pipe.bind else None
        return self._pipe(key, addresses.targets, bind)

    def _become(self, user: identity.Identity) -> None:
        for warning in identity.drop_privileges(user):
            self._log.event(Remark(warning))
        for path, access in ((sys.executable, os.X_OK), (__file__, os.R_OK)):
            if not os.access(path, access):
                self._log.event(UpgradeOutOfReach(self._options.user or "", path))
                return

    def _read_key(self) -> memoryview:
        with stoppable():
            key = self._holdings.key_file.read_first(self._crypto)
        for warning in key_warnings(self._options.pipe.key, key):
            self._log.event(warning)
        return key.K

    def _bind(self, addresses: list[SocketAddress]) -> None:
        source = self._first(addresses, self._options.source)
        self._holdings.listener = bind(source, self._options.pipe.keepalive)

    def _listen(self) -> None:
        assert self._holdings.listener is not None
        self._holdings.listener.listen()

    def _first(self, addresses: list[SocketAddress], text: str) -> SocketAddress:
        if len(addresses) > 1:
            self._log.event(SeveralAddresses(text, str(addresses[0])))
        return addresses[0]

    def _go_to_background(self) -> None:
        holdings, options = self._holdings, self._options
        holdings.parent = daemonize(
            self._log.name,
            self._let_go_in_parent,
            lambda child: self._manager.tell(f"MAINPID={child}"),
        )
        self._in_background = True
        if options.pid_file is not None:
            holdings.pid_file = pid_file.PidFile.create(options.pid_file)
        if options.log_file is not None:
            self._log.use_file(options.log_file)
        elif options.syslog:
            self._log.use_syslog(options.name)

    def _let_go_in_parent(self) -> None:
        """What the process that waits for the daemon does first."""
        self._crypto.wipe_secrets()
        if self._holdings.listener is not None:
            self._holdings.listener.sock.close()
        if self._holdings.readiness is not None:
            self._holdings.readiness.close()

    # Status

    def _load_page(self) -> Page | None:
        if not self._options.status:
            return None
        from spiped.status import require

        require()
        # slow to import, perhaps not there, and perhaps out of reach once privileges are dropped
        from spiped.service import publication, status_server  # noqa: F401
        from spiped.status.page import load

        return load()

    def _listen_for_status(self, user: identity.Identity | None) -> None:
        for text in self._options.status:
            try:
                address = self._first(resolve(text), text)
                listener = listen(address, keepalive=False, mode=STATUS_MODE)
            except OperatorError as error:
                raise OperatorError(f"--status {text}: {error.lines[0]}") from error
            self._holdings.status.append(listener)
            if user is not None and listener.made is not None:
                identity.give_to(address.sockaddr, user)

    def _load_modules(self) -> None:
        """Import what few need, while we may: the user of -u can perhaps not read it."""
        if self._about() is not None:
            import spiped.service.publication
        if self._options.control is not None:
            import spiped.control.client
            import spiped.control.server
            import spiped.options.in_force  # noqa: F401

    # Control

    def _listen_for_control(self, user: identity.Identity | None) -> None:
        if self._options.control is None:
            return
        from spiped.control.client import is_leaving  # few need it

        path = os.path.abspath(self._options.control)
        holdings = self._holdings
        holdings.control_uids = {0, os.geteuid()}
        if user is not None and user.uid is not None:
            holdings.control_uids.add(user.uid)
        try:
            address = resolve(path)[0]
            holdings.control = listen(
                address, keepalive=False, mode=CONTROL_MODE, may_replace=is_leaving
            )
            if user is not None:
                identity.give_to(path, user)
        except OperatorError as error:
            raise OperatorError(f"--control {path}: {error.lines[0]}") from error

    def _config(self) -> list[dict[str, Any]]:
        if self._options.control is None:
            return []
        from spiped.options.in_force import in_force  # few need it

        unauthenticated = _limits(self._options).unauthenticated if self._options.decrypt else None
        return in_force(
            self._options._replace(workers=self._workers, max_unauthenticated=unauthenticated)
        )

    def _about(self) -> About | None:
        options = self._options
        if not options.status and options.control is None:
            return None
        from spiped.service.publication import About  # slow to import

        limits = _limits(options)
        return About(
            pipe=options.name,
            mode="decrypt" if options.decrypt else "encrypt",
            source=options.source,
            target=options.pipe.target,
            key=self._holdings.key_file.name,
            limit=limits.connections,
            unauthenticated_limit=limits.unauthenticated,
            started=self._holdings.started,
        )

    # Names

    def _look_up_first(self) -> _Addresses:
        """Before going to the background: all addresses, or with -D those that are literal."""
        options = self._options
        texts = self._address_texts()
        literal = [is_literal(text) or not text for text in texts]
        if options.wait_for_dns:
            return self._resolve_literals(
                [t if ok else "" for t, ok in zip(texts, literal, strict=True)]
            )
        if all(literal):
            return self._resolve_literals(texts)
        answers = self._ask(texts)
        for answer in answers:
            if answer.failure is not None:
                raise answer.failure
        return _Addresses(*(answer.addresses for answer in answers))

    def _address_texts(self) -> list[str]:
        """Source, target, and from where to connect; "" is not to be looked up."""
        options = self._options
        source = "" if is_inherited(options.source) else options.source
        return [source, options.pipe.target, options.pipe.bind or ""]

    def _are_known(self, addresses: _Addresses) -> bool:
        texts = self._address_texts()
        return all(found or not text for text, found in zip(texts, addresses, strict=True))

    def _resolve_literals(self, texts: Sequence[str]) -> _Addresses:
        source, target, bind = texts
        return _Addresses(
            resolve(source) if source else [],
            resolve(target) if target else [],
            resolve(bind, port_optional=True) if bind else [],
        )

    def _wait_for_names(self) -> _Addresses:
        """With -D: ask until all names stand for something; each reason is told once."""
        texts = self._address_texts()
        told: set[str] = set()
        while True:
            self._manager.tell(
                f"EXTEND_TIMEOUT_USEC={LOOK_UP_EXTENSION}",
                status="Waiting until all names are known",
            )
            answers = self._ask(texts)
            failures = [answer.failure for answer in answers if answer.failure is not None]
            if not failures:
                return _Addresses(*(answer.addresses for answer in answers))
            for failure in failures:
                if not isinstance(failure, LookupFailed):  # time will not mend it
                    raise failure
                if failure.line not in told:
                    told.add(failure.line)
                    self._log.event(NamesNotFound(failure.line))
            with stoppable():
                time.sleep(RESOLVE_RETRY)

    def _ask(self, texts: Sequence[str]) -> list[Answer]:
        """Look names up, and wait for the answer, during which SIGTERM and SIGINT take effect."""
        found: list[Answer] = []
        asked = [text for text in texts if text]
        optional = [i == 2 for i, text in enumerate(texts) if text]  # a port, of -b
        reactor = Reactor()

        def take(answers: list[Answer]) -> None:
            found.extend(answers)
            reactor.stop()

        helper = look_up(reactor, asked, self._crypto, take, port_optional=optional)
        try:
            with stoppable():
                reactor.run()
        finally:
            if helper is not None:
                helper.bury()
            reactor.close()
        return [found.pop(0) if text else Answer([]) for text in texts]

    # What all come to

    def _pipe(
        self, K: memoryview, targets: list[SocketAddress], bind: SocketAddress | None
    ) -> PipeSettings:
        options = self._options
        return PipeSettings(
            role=Role.S if options.decrypt else Role.C,
            K=K,
            targets=targets,
            bind=bind,
            weak=options.pipe.no_pfs,
            require_pfs=options.pipe.require_pfs,
            keepalive=options.pipe.keepalive,
            timeout=options.pipe.timeout,
            idle_timeout=options.idle_timeout,
        )

    def _supervise(self, pipe: PipeSettings, given: handover.Document | None) -> int | None:
        """Supervise to the end; returns the signal that has ended the daemon, if one has."""
        options = self._options
        name_process(self._log.name)
        forbid_core_dumps(self._crypto)
        self._give_up_privileges()
        inherited = [] if given is None else given["counters"]
        counters = self._make_counters(inherited)
        supervisor = Supervisor(
            Reactor(),
            Signals(),
            self._holdings,
            counters,
            SupervisorSettings(
                about=self._about(),
                page=self._page,
                config=self._config(),
                workers=SetSettings(
                    name=options.name,
                    key_name=self._holdings.key_file.name,
                    target=options.pipe.target,
                    workers=self._workers,
                    limits=_limits(options),
                    make_plane=self._make_plane,
                    wake=_eventfd(),
                    detach=not options.foreground,
                    drain_timeout=options.drain_timeout,
                ),
                resolve_interval=options.resolve_interval,
                shutdown_delay=options.shutdown_delay,
                shutdown_timeout=options.shutdown_timeout,
            ),
            self,
        )
        if given is None:
            return supervisor.run(pipe)
        return supervisor.take_over(pipe, given["workers"])

    def _make_counters(self, inherited: Sequence[Any]) -> Counters:
        entries = min(self._options.connections or ENTRIES, ENTRIES)
        return Counters(1 + 2 * self._workers, inherited, entries)

    def _give_up_privileges(self) -> None:
        """For good; and say what is missing of what workers should give up."""
        log, options = self._log, self._options
        sandbox = self._holdings.sandbox
        if sandbox is not None:
            sandbox.give_up_gaining()
            if sandbox.missing:
                log.event(SandboxIncomplete(", ".join(sandbox.missing)))
        log.event(SandboxChosen("none" if sandbox is None else str(sandbox)))
        wanted = _descriptors_wanted(options)
        if wanted is not None and descriptors.limit() < wanted:
            log.event(FewDescriptors(options.connections, wanted, descriptors.limit()))
        needed, limit = self._most_secrets(), lockable()
        if limit < needed or not self._crypto.secrets_are_locked():
            log.event(SecretsNotLocked(-(-needed // 1024), limit // 1024))

    def _most_secrets(self) -> int:
        """How much memory for secrets a process may come to need."""
        sockets = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limits = [limit for limit in (self._options.connections, sockets // 2) if limit > 0]
        return min(limits, default=0) * self._crypto.locked_per_connection

    # Readiness, failure, end

    def on_ready(self) -> None:
        """All workers are ready."""
        options = self._options
        self._log.event(
            Started(__version__, options.name, options.source, options.pipe.target, self._workers)
        )
        if self._holdings.readiness is not None:
            reason = self._holdings.readiness.tell()
            if reason:
                self._log.event(ReadinessUnheard(options.ready_fd or 0, reason))
            self._holdings.readiness = None
        self._report_ready()

    def _report_ready(self) -> None:
        """Whoever waits for the daemon may go on."""
        if self._in_background and not self._is_detached:
            self._is_detached = True
            detach_streams()
        if self._holdings.parent is not None:
            # who is the main process until then, and alone may say that we are it
            self._holdings.parent.report_ready(wait=self._manager.is_there)
            self._holdings.parent = None

    def _guard(self, work: Callable[[], int | None]) -> int:
        """Do the work of a daemon, and end in order whatever comes of it.

        Returns the exit status.  Raises OperatorError in the process that the operator started.
        """
        ended_by: int | None = None
        try:
            ended_by = work()
        except Stopped as stopped:
            ended_by = stopped.number
        except (OperatorError, *REFUSALS) as error:
            refusal = as_operator_error(error)
            self._manager.tell(status=f"Failed: {refusal.lines[0]}")
            if not self._in_background:
                raise refusal from error
            self._report_failure(refusal)
            return 1
        except Exception:
            self._log.event(Crashed("the supervisor", os.getpid(), present_traceback()))
            return 1
        finally:
            self._holdings.give_back()
        if self._holdings.parent is not None:
            self._report_failure(
                OperatorError("Told to end before it was ready", "Failed to daemonize")
            )
        if ended_by == signal.SIGINT and os.getpid() != 1:
            die_of(signal.SIGINT)
        return 0

    def _report_failure(self, error: OperatorError) -> None:
        """Say why the daemon ends, also to who waits for it."""
        self._log.refusal(error)
        if self._holdings.parent is not None:
            if not self._log.is_stderr:
                self._log.use_stderr()
                self._log.refusal(error)
            self._holdings.parent.report_failure()
            self._holdings.parent = None


# Of the control socket: the owner may, and root
CONTROL_MODE = 0o600

# Of a UNIX socket at which the status can be asked for: owner and group may
STATUS_MODE = 0o660

# Connections of a worker that others can see, at most
ENTRIES = 16384


def _limits(options: DaemonOptions) -> Limits:
    """Of `-n`, a quarter is kept for those who hold the key."""
    unauthenticated = options.max_unauthenticated
    if unauthenticated is None:
        unauthenticated = -(-options.connections * 3 // 4) if options.decrypt else 0
    return Limits(options.connections, unauthenticated, options.max_unauthenticated_per_source)


def _eventfd() -> int:
    """A descriptor by which workers wake each other; -1 if the system has none."""
    if hasattr(os, "eventfd"):
        with suppress(OSError):
            return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    return -1
