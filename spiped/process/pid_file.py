"""The pid file: the process id of the supervisor, without a newline, as scripts expect it.

It is locked for as long as the daemon serves, so that a second daemon with the same file is refused
and a successor, which may start while the daemon drains, is not.  Every daemon makes a file of its
own: what one does to its file later does not concern its successor's.
"""

from __future__ import annotations

import errno
import os
import stat

from spiped.errors import OperatorError, describe_open
from spiped.lean_typing import suppress
from spiped.process.file_lock import lock, unlock
from spiped.process.own_file import is_same, remove_if_same

# Never follows a link, which anybody could have laid for root, nor waits for a reader of a pipe
FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

ATTEMPTS = 10  # to make a file where others remove or make one at the same moment
LOCK_WAIT = 0.2  # seconds, in which others that start have looked at the file


class PidFile:
    """A pid file that is ours."""

    def __init__(self, path: str, fd: int) -> None:
        """Have one that is open; `create` makes one."""
        self._path = path
        self._fd = fd

    @classmethod
    def create(cls, path: str) -> PidFile:
        """Make the file, with our process id.  Raises OperatorError."""
        try:
            fd = _make(path)
        except OSError as error:
            raise _refusal(path, error) from error
        try:
            text = str(os.getpid()).encode()
            if os.write(fd, text) < len(text):
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        except OSError as error:
            with suppress(OSError):
                remove_if_same(path, os.fstat(fd))
            os.close(fd)
            raise _refusal(path, error) from error
        return cls(path, fd)

    def fileno(self) -> int:
        return self._fd

    def allow_successor(self) -> None:
        """Another daemon may have the name from now on: we serve nobody new."""
        with suppress(OSError):
            unlock(self._fd)

    def remove(self) -> None:
        """Remove the file if it is still ours; if we may not, empty it: the pid is stale."""
        made = os.fstat(self._fd)
        remove_if_same(self._path, made)
        if stat.S_ISREG(made.st_mode):
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
        self.close()

    def close(self) -> None:
        """Leave the file to others: a child of ours has no business with it."""
        os.close(self._fd)


def check(path: str) -> None:
    """Raise OperatorError if a daemon that serves has this pid file, or none can be made there."""
    try:
        fd = os.open(path, os.O_RDWR | FLAGS)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            _lock(fd, path)
    finally:
        os.close(fd)


def _make(path: str) -> int:
    """A descriptor of a new, locked file.  Raises OSError, or OperatorError if another has it."""
    for _ in range(ATTEMPTS):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | FLAGS, 0o666)
        except FileExistsError:
            with suppress(FileNotFoundError):  # it has gone meanwhile
                fd = os.open(path, os.O_RDWR | FLAGS)
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    return fd  # /dev/null, say: it is what it is
                _replace(path, fd)
            continue
        _lock(fd, path)
        if is_same(path, os.fstat(fd)):
            return fd
        os.close(fd)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _replace(path: str, fd: int) -> None:
    """Remove a file that no daemon holds any more; its lock keeps others from doing the same."""
    try:
        _lock(fd, path)
        if is_same(path, os.fstat(fd)):
            os.unlink(path)
    finally:
        os.close(fd)


def _lock(fd: int, path: str) -> None:
    if lock(fd, LOCK_WAIT):
        return
    pid = os.pread(fd, 20, 0)
    who = f"Another spiped (process {pid.decode()})" if pid.isdigit() else "Another process"
    raise OperatorError(f"{who} has this pid file: {path}", "Failed to daemonize")


def _refusal(path: str, error: OSError) -> OperatorError:
    is_link = error.errno == errno.ELOOP
    reason = "it is a symbolic link" if is_link else describe_open(error)
    return OperatorError(f"fopen({path}): {reason}", "Failed to daemonize")
