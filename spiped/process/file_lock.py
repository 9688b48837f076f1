"""Locks of files (flock(2)), which last for as long as a descriptor is open."""

from __future__ import annotations

import errno
import fcntl
import time

RETRY = 0.02  # seconds

# What systems say where a file system knows no locks
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def lock(fd: int, patience: float) -> bool:
    """Lock a file; False if others have it locked for so many seconds.

    On a file system without locks, nothing is locked, and that is no failure.  Raises OSError.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(RETRY)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return True
        else:
            return True


def unlock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)
