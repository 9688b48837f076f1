"""From the options to a running supervisor (DESIGN.md, "Processes").

    resolve -> read the key -> bind -> daemonize -> drop privileges -> fork workers -> ready

Everything that can fail does so before the process that the operator started has returned, except
with ``-D``, which asks for the contrary.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

from spiped import daemon, process
from spiped.config import DaemonOptions
from spiped.crypto import Backend, select
from spiped.errors import LookupFailed, OperatorError, describe
from spiped.key import read_key
from spiped.net.address import resolve
from spiped.net.pipe import Pipe
from spiped.net.plane import choose_plane
from spiped.net.sockets import Listener, listen
from spiped.observe.counters import Counters
from spiped.observe.log import FileSink, Log, SyslogSink
from spiped.prepare import make_pipe, resolve_bind, resolve_one
from spiped.proto.role import Role
from spiped.sandbox import Sandbox
from spiped.supervisor import Pool, Supervisor
from spiped.worker import Setup

RESOLVE_RETRY = 1.0  # seconds between attempts with -D
GENERATIONS = 8  # of workers that may be there at once: the present one and draining ones


def launch(name: str, options: DaemonOptions) -> int:
    """Run the daemon to its end; returns the exit status.  Raises OperatorError."""
    for number in (signal.SIGHUP, signal.SIGUSR1):  # until there is something to reload or count
        signal.signal(number, signal.SIG_IGN)
    process.keep_streams_open()
    crypto, warnings = select()
    log = Log(name, options.verbose)
    for warning in warnings:
        log.warn(warning)
    if os.getpid() == 1:
        log.warn("Running as process 1: its signals are handled, orphans are reaped")
    return Launch(name, options, crypto, log).run()


class Launch:
    """What has been acquired so far, so that it can be given back."""

    def __init__(self, name: str, options: DaemonOptions, crypto: Backend, log: Log) -> None:
        self._name = name
        self._options = options
        self._crypto = crypto
        self._make_plane = choose_plane(crypto)
        self._log = log
        self._parent: daemon.Parent | None = None
        self._pid_file: daemon.PidFile | None = None
        self._listener: Listener | None = None
        self._key_is_file = False
        self._sandbox: Sandbox | None = None

    def run(self) -> int:
        options = self._options
        identity = None if options.user is None else daemon.look_up_identity(options.user)
        background = not options.foreground
        process.allow_locked_memory()
        try:
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
            process.forbid_core_dumps(self._crypto)
            self._give_up_privileges()
            ended_by = self._supervise(pipe)
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
        role = Role.S if options.decrypt else Role.C
        pipe = make_pipe(options.pipe, role, self._crypto, targets, bind, self._log)
        key_file = options.pipe.key_file
        self._key_is_file = key_file != "-" and os.path.isfile(key_file)
        self._listener = listen(source, options.pipe.keepalive)
        return pipe

    def _go_to_background(self) -> None:
        self._parent = daemon.daemonize(self._name, self._crypto.wipe_secrets)
        self._pid_file = daemon.PidFile(self._options.pid_file)
        if self._options.log_file is not None:
            self._log.sink = _open_log(self._options.log_file)
        elif self._options.syslog:
            self._log.sink = SyslogSink(self._name)

    def _give_up_privileges(self) -> None:
        """For good; and say what is missing of what workers should give up."""
        options = self._options
        if options.pipe.sandbox:
            self._sandbox = Sandbox(self._crypto)
            if self._sandbox.missing:
                self._log.warn(f"Warning: sandbox: {', '.join(self._sandbox.missing)}")
        self._log.debug(f"Sandbox of the workers: {self._sandbox or 'none'}")
        if not (self._crypto.secrets_are_locked() and process.may_lock(self._most_secrets())):
            self._log.warn("Warning: RLIMIT_MEMLOCK is too small to keep all secrets out of swap")

    def _most_secrets(self) -> int:
        """How much memory for secrets a process may come to need."""
        sockets = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limits = [limit for limit in (self._options.connections, sockets // 2) if limit > 0]
        return min(limits, default=0) * self._crypto.locked_per_connection

    def _supervise(self, pipe: Pipe) -> int | None:
        options = self._options
        assert self._listener is not None
        workers = options.workers or available_cpus()
        slots = 1 + workers * GENERATIONS
        counters = Counters(slots)
        setup = Setup(
            listener=self._listener.sock,
            pipe=pipe,
            make_plane=self._make_plane,
            workers=workers,
            limit=options.connections,
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
            let_go=self._let_go,
        )
        return Supervisor(pool, slots, self._on_ready).run()

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
        return read_key(self._crypto, self._options.pipe.key_file)[0]

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
