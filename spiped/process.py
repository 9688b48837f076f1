"""Forking, such that no signal is lost or taken for another process's."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

# The signals that the supervisor handles, and that its children therefore may not inherit.
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def fork(child: Callable[[], None]) -> int:
    """Run ``child`` in a process of its own, which ends when it returns.  Returns its id.

    The child begins with the handled signals blocked and at their defaults; it calls
    `unblock_signals` when it has installed what handlers it wants.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        pid = os.fork()
        if pid == 0:
            _run(child)
    finally:
        unblock_signals()
    return pid


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
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
