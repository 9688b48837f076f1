"""The standard streams of a process that may be a daemon."""

from __future__ import annotations

import os
import sys


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


def detach_streams() -> None:
    """Connect the standard streams to nothing: whoever started us may want to see them closed."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)
