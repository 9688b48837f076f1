"""Becoming a daemon, and what belongs to it: the pid file, and another identity."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from collections.abc import Callable

from spiped.errors import OperatorError, describe
from spiped.light import NamedTuple, suppress
from spiped.net.sockets import remove_if_same


class Parent:
    """The process that the operator started, as its child sees it: waiting for our report."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def report_ready(self) -> None:
        """Let the parent exit with status 0."""
        self._report(b"ready")

    def report_failure(self) -> None:
        """Let the parent exit with status 1; we have said why."""
        self._report(b"failed")

    def close(self) -> None:
        """Leave the report to others: a child of ours has none to make."""
        os.close(self._fd)

    def _report(self, message: bytes) -> None:
        with suppress(OSError):  # the parent has been killed: nobody waits
            os.write(self._fd, message)
        self.close()


def daemonize(name: str, let_go: Callable[[], None]) -> Parent:
    """Go on in a child process with a session of its own.

    Returns in the child.  The parent calls ``let_go``, waits for the child's report, and exits.
    """
    readable, writable = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork() == 0:
        os.close(readable)
        os.setsid()
        return Parent(writable)
    os.close(writable)
    let_go()
    report = os.read(readable, 64)
    if not report:
        sys.stderr.write(f"{name}: Unexpected EOF in pipe\n{name}: Failed to daemonize\n")
    sys.stderr.flush()
    os._exit(0 if report == b"ready" else 1)


class PidFile:
    """A file with the process id of the supervisor, without a newline, as scripts expect it."""

    def __init__(self, path: str, fd: int | None = None) -> None:
        """Create or truncate the file, unless it is open already.  Raises OperatorError."""
        self._path = path
        if fd is not None:
            self._fd = fd
            return
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            os.write(self._fd, str(os.getpid()).encode())
        except OSError as error:
            raise OperatorError(
                f"fopen({path}): {describe(error)}", "Failed to daemonize"
            ) from error

    def fileno(self) -> int:
        return self._fd

    def remove(self) -> None:
        """Remove the file if it is still ours; if we may not, empty it: the pid is stale."""
        remove_if_same(self._path, os.fstat(self._fd))
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
        self.close()

    def close(self) -> None:
        """Leave the file to others: a child of ours has no business with it."""
        os.close(self._fd)


class Identity(NamedTuple):
    """Whom to become; None leaves that part as it is."""

    uid: int | None
    gid: int | None


def look_up_identity(text: str) -> Identity:
    """What ``-u`` names: user, :group, or user:group.  A bare user brings its primary group."""
    user, colon, group = text.partition(":")
    if not text:
        raise OperatorError('Need to specify user and/or group: ""', "Failed to drop privileges")
    if colon and not group:
        raise OperatorError(f'Empty group name: "{text}"', "Failed to drop privileges")
    uid = gid = None
    if user:
        uid, gid = _look_up_user(user)
    if group:
        gid = _look_up_group(group)
    return Identity(uid, gid)


def _look_up_user(user: str) -> tuple[int, int | None]:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if not (user.isascii() and user.isdigit()):
            raise OperatorError(f"No such user: {user}", "Failed to drop privileges") from None
        try:
            entry = pwd.getpwuid(int(user))
        except (KeyError, OverflowError):
            return int(user), None
    return entry.pw_uid, entry.pw_gid


def _look_up_group(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if not (group.isascii() and group.isdigit()):
            raise OperatorError(f"No such group: {group}", "Failed to drop privileges") from None
        return int(group)


def drop_privileges(identity: Identity) -> list[str]:
    """Become somebody else, for good.  Returns warnings; raises OperatorError."""
    warnings = []
    try:
        try:
            os.setgroups([])
        except PermissionError:
            if os.getgroups():
                warnings.append("Warning: Failed to leave supplementary groups")
        if identity.gid is not None:
            os.setgid(identity.gid)
        if identity.uid is not None:
            os.setuid(identity.uid)
    except (OSError, OverflowError) as error:
        reason = describe(error) if isinstance(error, OSError) else str(error)
        raise OperatorError(f"-u: {reason}", "Failed to drop privileges") from error
    if identity.uid and os.getgid() == 0:
        warnings.append("Warning: the group is still 0: no group is known for this user")
    return warnings
