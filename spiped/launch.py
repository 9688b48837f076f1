"""From the options to a running supervisor (DESIGN.md, "Start").

    resolve -> read the key -> bind -> daemonize -> drop privileges -> fork workers -> ready

Everything that can fail does so before the process that the operator started has returned, except
with ``-D``, which asks for the contrary.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import NamedTuple

from spiped import daemon
from spiped.config import DaemonOptions
from spiped.crypto import select
from spiped.errors import LookupFailed, OperatorError, describe
from spiped.key import read_key
from spiped.net.address import SocketAddress, resolve
from spiped.net.sockets import listen
from spiped.observe.counters import Counters
from spiped.observe.log import FileSink, Log, SyslogSink
from spiped.prepare import make_pipe, resolve_bind, resolve_one
from spiped.proto.handshake import Role
from spiped.supervisor import Pool, Supervisor
from spiped.worker import Setup

RESOLVE_RETRY = 1.0  # seconds between attempts with -D
GENERATIONS = 8  # of workers that may be there at once: the present one and draining ones


class Addresses(NamedTuple):
    source: SocketAddress
    targets: list[SocketAddress]
    bind: SocketAddress | None


def launch(name: str, options: DaemonOptions) -> int | None:
    """Run the daemon to its end.  Returns the signal to die of, if any; raises OperatorError."""
    daemon.keep_streams_open()
    crypto, warnings = select()
    log = Log(name, options.verbose)
    for warning in warnings:
        log.warn(warning)
    identity = None if options.user is None else daemon.look_up_identity(options.user)
    if os.getpid() == 1:
        log.warn("Running as process 1: signals are handled, orphans are reaped")

    early = options.wait_for_dns and not options.foreground
    parent, pid_file = _go_to_background(name, options, log) if early else (None, None)
    if parent is not None:
        parent.report_ready()
    try:
        addresses = resolve_all(options, log)
        role = Role.S if options.decrypt else Role.C
        pipe = make_pipe(options.pipe, role, crypto, addresses.targets, addresses.bind, log)
        listener = listen(addresses.source)
        made = os.stat(addresses.source.sockaddr) if addresses.source.is_unix else None
        if not early and not options.foreground:
            parent, pid_file = _go_to_background(name, options, log)
        elif options.log_file is not None and options.foreground:
            log.sink = _open_log(options.log_file)
    except OperatorError:
        if pid_file is not None:
            pid_file.remove()
        raise

    def on_listener_closed() -> None:
        if made is not None:
            daemon.remove_if_same(addresses.source.sockaddr, made)

    def on_ready() -> None:
        if not options.foreground:
            daemon.detach_streams()
        if parent is not None and not early:
            parent.report_ready()

    try:
        if identity is not None:
            for warning in daemon.drop_privileges(identity):
                log.warn(warning)
        daemon.name_process(name)
        daemon.forbid_core_dumps(crypto)
        workers = options.workers or available_cpus()
        slots = 1 + workers * GENERATIONS
        counters = Counters(slots)
        setup = Setup(
            listener=listener,
            pipe=pipe,
            crypto=crypto,
            limit=options.connections,
            counters=counters,
            slot=counters.slot(0),
            log=log,
            detach=not options.foreground,
        )
        pool = Pool(
            workers=workers,
            setup=setup,
            target=options.pipe.target,
            resolve_interval=options.resolve_interval,
            read_key=None
            if options.pipe.key_file == "-"
            else lambda: read_key(crypto, options.pipe.key_file)[0],
            on_listener_closed=on_listener_closed,
        )
        return Supervisor(pool, slots, on_ready).run()
    except OperatorError as error:
        on_listener_closed()
        for line in error.lines:
            log.warn(line)
        if parent is not None and not early:
            parent.report_failure()
        sys.exit(1)
    finally:
        if pid_file is not None:
            pid_file.remove()


def _go_to_background(
    name: str, options: DaemonOptions, log: Log
) -> tuple[daemon.Parent, daemon.PidFile]:
    parent = daemon.daemonize(name)
    try:
        pid_file = daemon.PidFile(options.pid_file)
        if options.log_file is not None:
            log.sink = _open_log(options.log_file)
        elif options.syslog:
            log.sink = SyslogSink(name)
    except OperatorError as error:
        for line in error.lines:
            log.warn(line)
        parent.report_failure()
        sys.exit(1)
    return parent, pid_file


def _open_log(path: str) -> FileSink:
    try:
        return FileSink(path)
    except OSError as error:
        raise OperatorError(f"--log-file {path}: {describe(error)}") from error


def resolve_all(options: DaemonOptions, log: Log) -> Addresses:
    """Look up all addresses; with ``-D``, until that succeeds.  Raises OperatorError."""
    while True:
        try:
            return Addresses(
                resolve_one(options.source, log),
                resolve(options.pipe.target),
                resolve_bind(options.pipe.bind, log),
            )
        except LookupFailed as error:
            if not options.wait_for_dns:
                raise
            for line in error.lines:
                log.warn(line)
            time.sleep(RESOLVE_RETRY)


def available_cpus() -> int:
    """How many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    import psutil  # slow to import, and only needed where the system call is missing

    return psutil.cpu_count() or 1


def die_of(number: int) -> None:
    """End as the signal would have ended us."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
