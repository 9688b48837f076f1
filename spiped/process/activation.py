"""Sockets that somebody else has opened for this process: socket activation, inherited descriptors.

A service manager says which there are in variables that are for one process (sd_listen_fds(3)).
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat

from spiped.errors import OperatorError, describe
from spiped.lean_typing import NamedTuple, NoReturn, suppress

# What the variables are, the first of which says whom they are for
VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")

FIRST = 3  # the descriptor of the first socket
MOST = 4096  # sockets that are looked for
UNNAMED = "unknown"  # what systemd calls a socket without a name

FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class Passed(NamedTuple):
    """What a service manager has passed to this process."""

    sockets: list[tuple[str, int]]  # by name and descriptor
    why_none: str = ""  # if there are none


def take_passed() -> Passed:
    """See what has been passed, and take the variables away: they are not for our children.

    No program that is executed inherits the sockets.
    """
    given = {name: os.environ.pop(name, None) for name in VARIABLES}
    pid, count = given["LISTEN_PID"], given["LISTEN_FDS"]
    if pid is None or count is None:
        return Passed([], "no service manager has passed sockets (LISTEN_FDS)")
    if pid != str(os.getpid()):
        return Passed([], f"sockets have been passed to process {pid}, and this is {os.getpid()}")
    if not (count.isascii() and count.isdigit() and 0 < int(count[:20]) <= MOST):
        return Passed([], f"LISTEN_FDS={count} is no number of sockets")
    fds = range(FIRST, FIRST + int(count))
    names = (given["LISTEN_FDNAMES"] or "").split(":")
    names = [name or UNNAMED for name in names] + [UNNAMED] * len(fds)
    for fd in fds:
        with suppress(OSError):  # it is closed, as whoever needs it will find
            os.set_inheritable(fd, False)
    return Passed(list(zip(names, fds, strict=False)))


def by_name(passed: Passed, name: str, option: str) -> int:
    """The descriptor of the socket that has this name.

    ``option``: what to call it in messages.  Raises OperatorError.
    """
    found = [fd for given, fd in passed.sockets if given == name]
    if not passed.sockets:
        raise OperatorError(f"{option}: {passed.why_none}")
    if not found:
        names = ", ".join(sorted({given for given, _ in passed.sockets}))
        raise OperatorError(f"{option}: no socket of this name has been passed, but: {names}")
    if len(found) > 1:
        raise OperatorError(
            f"{option}: {len(found)} sockets have this name;"
            " give each a FileDescriptorName= of its own"
        )
    return found[0]


def listening_socket(fd: int, option: str) -> socket.socket:
    """The socket behind a descriptor, which somebody else has opened, bound and made listen.

    ``option``: what to call it in messages.  Raises OperatorError.
    """

    def refuse(reason: str) -> NoReturn:
        raise OperatorError(f"{option}: descriptor {fd} {reason}")

    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        refuse("is not open")
    if not stat.S_ISSOCK(mode):
        refuse("is not a socket")
    try:
        sock = socket.socket(fileno=_above_the_streams(fd))
    except OSError as error:
        refuse(f"cannot be used: {describe(error)}")
    if sock.family not in FAMILIES:
        refuse("is neither a TCP nor a UNIX socket")
    if sock.type != socket.SOCK_STREAM:
        refuse("is not a stream socket (ListenStream=)")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        refuse("does not listen (a socket unit needs Accept=no)")
    sock.setblocking(False)
    return sock


def _above_the_streams(fd: int) -> int:
    """The descriptor, which no program inherits; in place of a standard stream, which gets nothing.

    Whoever closes the socket closes it then.
    """
    if fd > 2:
        os.set_inheritable(fd, False)
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, fd)
    os.close(null)
    return moved
