"""What a process does to itself (standard streams, name, secrecy), and how it forks."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable

from spiped.crypto import Backend
from spiped.errors import OperatorError
from spiped.light import NoReturn, suppress

# The signals that the supervisor handles, and that its children therefore may not inherit.
HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)


def fork(child: Callable[[], None]) -> int:
    """Run ``child`` in a process of its own, which ends when it returns.  Returns its id.

    The child begins with the handled signals blocked and at their defaults; it calls
    `unblock_signals` when it has installed what handlers it wants.
    """
    block_signals()
    try:
        pid = os.fork()
        if pid == 0:
            _run(child)
    finally:
        unblock_signals()
    return pid


def block_signals() -> None:
    """Let the handled signals wait; they do so also while another program takes our place."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def _run(child: Callable[[], None]) -> NoReturn:
    status = 1
    try:
        signal.set_wakeup_fd(-1)  # the parent's
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        child()
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())  # needs no module that could be out of reach by now
        sys.stderr.flush()
    finally:
        os._exit(status)


def detach_streams() -> None:
    """Connect the standard streams to nothing: whoever started us may want to see them closed."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def name_process(name: str) -> None:
    """Let `ps` and `start-stop-daemon --name` see this name, and not the interpreter's."""
    with suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(name)


def forbid_core_dumps(crypto: Backend) -> None:
    """No core file may hold our keys, and no process of the same user may look at them."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    crypto.forbid_dumps()


def require_descriptors(count: int) -> None:
    """Raise OperatorError if the system lets us have fewer."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < count:
        raise OperatorError(f"Too few file descriptors: {count} are needed, `ulimit -n` is {limit}")


def allow_locked_memory() -> None:
    """Raise what may be locked in memory as far as we may."""
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    for limit in (resource.RLIM_INFINITY, hard):
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
            return


def may_lock(length: int) -> bool:
    """So much memory may be locked."""
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return soft == resource.RLIM_INFINITY or length <= soft


def keep_streams_open() -> None:
    """If a standard stream is closed, connect it to nothing, so that no socket takes its number.

    `sys.stdin` stays None, so that a key that is to come from there is missing, and not empty.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:  # EBADF
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
