"""Forking: a child that runs one function and ends."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable

from spiped.lean_typing import NoReturn
from spiped.process.signals import HANDLED, forget_handlers


def fork(child: Callable[[], int | None]) -> int:
    """Run ``child`` in a process of its own; what it returns is the exit status.  Returns its id.

    The child begins with the handled signals blocked and at their defaults; it calls
    `unblock_signals` when it has installed what handlers it wants.  Raises OSError.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        pid = os.fork()
        if pid == 0:
            _run(child)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _run(child: Callable[[], int | None]) -> NoReturn:
    status = 1
    try:
        forget_handlers()
        status = child() or 0
    except BaseException:
        sys.stderr.write(present_traceback())
        sys.stderr.flush()
    finally:
        os._exit(status)


def present_traceback() -> str:
    """The exception that is being handled, as the interpreter tells it.

    Needs no module that could be out of reach by now.
    """
    before, sys.stderr = sys.stderr, io.StringIO()
    try:
        sys.__excepthook__(*sys.exc_info())
        return sys.stderr.getvalue()
    finally:
        sys.stderr = before
