"""From the options to a running supervisor (DESIGN.md, "Processes").

    resolve -> read the key -> bind -> daemonize -> drop privileges -> fork workers -> ready

Everything that can fail does so before the process that the operator started has returned, except
with ``-D``, which asks for the contrary.  An upgrade begins behind that: everything is there.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable

from spiped import __version__, daemon, handover, process
from spiped.config import DaemonOptions
from spiped.constants import KEY_BYTES
from spiped.crypto import Backend, select, wipe
from spiped.errors import LookupFailed, OperatorError, describe
from spiped.handover import HandedWorker, Handover, Inheritance
from spiped.key import read_key
from spiped.net.address import SocketAddress, decode_addresses, encode_addresses, resolve
from spiped.net.pipe import Pipe
from spiped.net.plane import choose_plane
from spiped.net.sockets import Listener, listen
from spiped.observe.counters import Counters
from spiped.observe.log import FileSink, Log, SyslogSink
from spiped.prepare import first_key, make_pipe, resolve_bind, resolve_one
from spiped.proto.role import Role
from spiped.sandbox import Sandbox
from spiped.supervisor import Pool, Supervisor
from spiped.worker import Setup

RESOLVE_RETRY = 1.0  # seconds between attempts with -D
GENERATIONS = 8  # of workers that may be there at once: the present one and draining ones

# What a supervisor has open besides one channel for each worker, and a worker besides its
# connections, with something to spare for a lookup and for a first connection.
OWN_DESCRIPTORS = 20


def launch(name: str, options: DaemonOptions) -> int:
    """Run the daemon to its end; returns the exit status.  Raises OperatorError."""
    inheritance = handover.receive()
    if inheritance is None:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)  # until there is something that they are about
    process.keep_streams_open()
    workers = options.workers or available_cpus()
    process.require_descriptors(OWN_DESCRIPTORS + 2 * workers)  # a reload has two of each
    crypto, warnings = select()
    log = Log(name, options.verbose)
    for warning in warnings:
        log.warn(warning)
    if os.getpid() == 1 and inheritance is None:
        log.warn("Running as process 1: its signals are handled, orphans are reaped")
    start = Launch(name, options, workers, crypto, log)
    if inheritance is None:
        return start.begin()
    if inheritance.is_rehearsal:
        return start.rehearse(inheritance)
    return start.take_over(inheritance)


class Launch:
    """What has been acquired so far, so that it can be given back, or handed over."""

    def __init__(
        self, name: str, options: DaemonOptions, workers: int, crypto: Backend, log: Log
    ) -> None:
        self._name = name
        self._options = options
        self._workers = workers
        self._crypto = crypto
        self._make_plane = choose_plane(crypto)
        self._log = log
        self._command = handover.own_command()
        self._parent: daemon.Parent | None = None
        self._pid_file: daemon.PidFile | None = None
        self._listener: Listener | None = None
        self._key_is_file = False
        self._sandbox: Sandbox | None = None

    # The beginning

    def begin(self) -> int:
        """Be a new daemon."""
        options = self._options
        identity = None if options.user is None else daemon.look_up_identity(options.user)
        background = not options.foreground
        process.allow_locked_memory()

        def prepare() -> Pipe:
            if background and options.wait_for_dns:
                self._go_to_background()
                self._report_ready()
            pipe = self._prepare()
            if background and not options.wait_for_dns:
                self._go_to_background()
            elif options.foreground and options.log_file is not None:
                self._log.sink = _open_log(options.log_file)
            process.name_process(self._name)  # while that is ours to do
            if identity is not None:
                for warning in daemon.drop_privileges(identity):
                    self._log.warn(warning)
            return pipe

        return self._run(prepare, None)

    def _prepare(self) -> Pipe:
        """Addresses, key and listening socket."""
        options = self._options
        if options.wait_for_dns:
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        while True:
            try:
                source = resolve_one(options.source, self._log)
                targets = resolve(options.pipe.target)
                bind = resolve_bind(options.pipe.bind, self._log)
                break
            except LookupFailed as error:
                if not options.wait_for_dns:
                    raise
                for line in error.lines:
                    self._log.warn(line)
                time.sleep(RESOLVE_RETRY)
        key_file = options.pipe.key_file
        K = first_key(self._crypto, key_file, self._log)
        self._key_is_file = key_file != "-" and os.path.isfile(key_file)
        self._listener = listen(source, options.pipe.keepalive)
        return self._make_pipe(K, targets, bind)

    def _make_pipe(
        self, K: memoryview, targets: list[SocketAddress], bind: SocketAddress | None
    ) -> Pipe:
        role = Role.S if self._options.decrypt else Role.C
        pipe = make_pipe(self._options.pipe, role, K, targets, bind)
        return pipe._replace(idle_timeout=self._options.idle_timeout)

    def _go_to_background(self) -> None:
        self._parent = daemon.daemonize(self._name, self._crypto.wipe_secrets)
        self._pid_file = daemon.PidFile(self._options.pid_file)
        if self._options.log_file is not None:
            self._log.sink = _open_log(self._options.log_file)
        elif self._options.syslog:
            self._log.sink = SyslogSink(self._name)

    # An upgrade

    def rehearse(self, inheritance: Inheritance) -> int:
        """See whether we could take over from the program that runs.

        What an upgrade reads again is read; names are not looked up, since those of now will do.
        """
        process.forbid_core_dumps(self._crypto)
        if inheritance.handover.key_is_file:
            wipe(self._read_key())
        os.write(1, handover.READY)
        return 0

    def take_over(self, inheritance: Inheritance) -> int:
        """Be the daemon that this process has been before, with all that it had."""
        process.forbid_core_dumps(self._crypto)
        given = inheritance.handover
        made = None if given.socket_file is None else os.stat_result(given.socket_file)
        path = None if made is None else self._options.source
        sock = socket.socket(fileno=given.listener)
        sock.setblocking(False)
        self._listener = Listener(sock, path, made)
        self._key_is_file = given.key_is_file
        if given.pid_file is not None:
            self._pid_file = daemon.PidFile(self._options.pid_file, given.pid_file)
        if given.log_file is not None and self._options.log_file is not None:
            self._log.sink = FileSink(self._options.log_file, given.log_file)
        elif self._options.syslog and not self._options.foreground:
            self._log.sink = SyslogSink(self._name)
        self._log.warn(f"Upgraded: this is version {__version__}")

        def prepare() -> Pipe:
            K = self._crypto.secret_memory(KEY_BYTES)
            K[:] = inheritance.K
            wipe(inheritance.K)
            bind = decode_addresses(given.bind)
            targets = decode_addresses(given.targets)
            return self._make_pipe(K, targets, bind[0] if bind else None)

        return self._run(prepare, given)

    def _hand_over(self, pipe: Pipe, workers: list[HandedWorker], counters: Counters) -> Handover:
        """What there is to be handed over."""
        assert self._listener is not None
        made = self._listener.made
        sink = self._log.sink
        return Handover(
            listener=self._listener.sock.fileno(),
            socket_file=None if made is None else [int(value) for value in made],
            pid_file=None if self._pid_file is None else self._pid_file.fileno(),
            log_file=sink.fileno() if isinstance(sink, FileSink) else None,
            counters=counters.fileno(),
            layout=handover.counter_layout(),
            key_is_file=self._key_is_file,
            targets=encode_addresses(pipe.targets),
            bind=encode_addresses([] if pipe.bind is None else [pipe.bind]),
            workers=workers,
        )

    # What both come to

    def _run(self, prepare: Callable[[], Pipe], given: Handover | None) -> int:
        """Get ready, and supervise to the end."""
        try:
            pipe = prepare()
            process.name_process(self._name)
            process.forbid_core_dumps(self._crypto)
            self._give_up_privileges()
            ended_by = self._supervise(pipe, given)
        except KeyboardInterrupt:  # before the supervisor takes signals
            ended_by = signal.SIGINT
        except OperatorError as error:
            if self._parent is None and self._pid_file is None:
                raise  # still the process that the operator started
            for line in error.lines:
                self._log.warn(line)
            if self._parent is not None:
                self._parent.report_failure()
            return 1
        finally:
            self._give_back()
        if ended_by is not None and os.getpid() != 1:
            signal.signal(ended_by, signal.SIG_DFL)
            os.kill(os.getpid(), ended_by)
        return 0

    def _give_up_privileges(self) -> None:
        """For good; and say what is missing of what workers should give up."""
        options = self._options
        if options.pipe.sandbox:
            self._sandbox = Sandbox(self._crypto)
            if self._sandbox.missing:
                self._log.warn(f"Warning: sandbox: {', '.join(self._sandbox.missing)}")
        if self._log.verbose:
            self._log.warn(f"Sandbox of the workers: {self._sandbox or 'none'}")
        if not (self._crypto.secrets_are_locked() and process.may_lock(self._most_secrets())):
            self._log.warn("Warning: RLIMIT_MEMLOCK is too small to keep all secrets out of swap")

    def _most_secrets(self) -> int:
        """How much memory for secrets a process may come to need."""
        sockets = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limits = [limit for limit in (self._options.limits.connections, sockets // 2) if limit > 0]
        return min(limits, default=0) * self._crypto.locked_per_connection

    def _supervise(self, pipe: Pipe, given: Handover | None) -> int | None:
        options = self._options
        assert self._listener is not None
        adopted = [] if given is None else given.workers
        counted_in = None if given is None else given.counters
        if given is not None and given.layout != handover.counter_layout():
            # another version counts other things: those are lost, and `-n` counts anew
            counted_in = None
            os.close(given.counters)
            adopted = [worker._replace(slot=None) for worker in adopted]
        counters = Counters(1 + self._workers * GENERATIONS, counted_in)
        setup = Setup(
            listener=self._listener.sock,
            nudge=os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) if hasattr(os, "eventfd") else -1,
            pipe=pipe,
            make_plane=self._make_plane,
            workers=self._workers,
            limits=options.limits,
            counters=counters,
            slot=counters.slot(0),
            log=self._log,
            detach=not options.foreground,
            confine=self._confine,
            forget=self._crypto.wipe_secrets,
        )
        pool = Pool(
            setup=setup,
            target=options.pipe.target,
            resolve_interval=options.resolve_interval,
            # what is no file, but a pipe or the like, has given all it had
            read_key=self._read_key if self._key_is_file else None,
            close_listener=self._listener.close,
            shutdown_timeout=options.shutdown_timeout,
            command=self._command,
            hand_over=self._hand_over,
            let_go=self._let_go,
        )
        on_ready = self._on_ready if given is None else None
        return Supervisor(pool, on_ready, adopted).run()

    def _confine(self, pipe: Pipe) -> None:
        """What a worker does before its first connection."""
        self._crypto.lock_secrets()
        if self._sandbox is not None:
            syslog = isinstance(self._log.sink, SyslogSink)
            self._sandbox.enter(pipe, syslog=syslog)

    def _let_go(self) -> None:
        """What a child does that works for us: it has no use for these."""
        if self._pid_file is not None:
            self._pid_file.close()
        if self._parent is not None:
            self._parent.close()

    def _read_key(self) -> memoryview:
        return read_key(self._crypto, self._options.pipe.key_file, may_wait=False)[0]

    def _on_ready(self) -> None:
        if not self._options.foreground:
            process.detach_streams()
        self._report_ready()

    def _report_ready(self) -> None:
        if self._parent is not None:
            self._parent.report_ready()
            self._parent = None

    def _give_back(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._pid_file is not None:
            self._pid_file.remove()
        self._crypto.wipe_secrets()


def _open_log(path: str) -> FileSink:
    try:
        return FileSink(path)
    except OSError as error:
        raise OperatorError(f"--log-file {path}: {describe(error)}") from error


def available_cpus() -> int:
    """How many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    import psutil  # slow to import, and only needed where the system call is missing

    return psutil.cpu_count() or 1
