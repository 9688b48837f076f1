"""The listening socket, and its file if it is a UNIX one."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable

from spiped.errors import OperatorError, describe
from spiped.lean_typing import suppress
from spiped.net.address import SocketAddress
from spiped.net.sockets import tune
from spiped.process.file_lock import lock
from spiped.process.own_file import remove_if_same

# How many clients may wait to be accepted; the system cuts it to its own limit.
BACKLOG = 4096

# Seconds that another program may take to listen at a path of the same directory.
LOCK_WAIT = 2.0


class Listener:
    """A socket to listen on, which all workers share."""

    def __init__(
        self,
        address: SocketAddress,
        sock: socket.socket,
        made: os.stat_result | None = None,
        mode: int | None = None,
        may_replace: Callable[[str], bool] | None = None,
    ) -> None:
        """``made``: what the file was when it was made, if there is one.

        ``mode``: of the file that is to be made; None: as the umask says.  ``may_replace``: whether
        a socket on which somebody listens may give way to ours; None: none may.
        """
        self.address = address
        self.sock = sock
        self.made = made
        self._mode = mode
        self._may_replace = may_replace or (lambda path: False)

    def listen(self) -> None:
        """Listen.  Raises OperatorError."""
        try:
            if self.address.is_unix:
                self.made = _listen_at_path(
                    self.sock, self.address.sockaddr, self._mode, self._may_replace
                )
            else:
                self.sock.listen(BACKLOG)
        except OSError as error:
            self.close()
            raise _refusal(self.address, error) from error

    def close(self) -> None:
        """Close the socket and remove its file, if it is still there, still ours, and we may."""
        self.sock.close()
        if self.made is not None:
            remove_if_same(self.address.sockaddr, self.made)
        self.made = None


def bind(
    address: SocketAddress,
    keepalive: bool,
    mode: int | None = None,
    may_replace: Callable[[str], bool] | None = None,
) -> Listener:
    """A socket that has this address and does not listen yet, so that clients are refused.

    A UNIX socket gets its address only when it listens: whoever finds its file before takes it for
    one that is left over.  Raises OperatorError.
    """
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:
        raise OperatorError(f"Error creating socket: {describe(error)} ({address})") from error
    try:
        sock.setblocking(False)
        tune(sock, keepalive, address.is_unix)
        if not address.is_unix:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address.sockaddr)
    except OSError as error:
        sock.close()
        raise _refusal(address, error) from error
    return Listener(address, sock, mode=mode, may_replace=may_replace)


def adopt(sock: socket.socket, keepalive: bool) -> Listener:
    """A socket that somebody else has opened, and that listens already; its file is theirs."""
    address = SocketAddress(sock.family, sock.getsockname())
    tune(sock, keepalive, address.is_unix)
    return Listener(address, sock)


def listen(
    address: SocketAddress,
    keepalive: bool,
    mode: int | None = None,
    may_replace: Callable[[str], bool] | None = None,
) -> Listener:
    """A listening socket at ``address``.  Raises OperatorError."""
    listener = bind(address, keepalive, mode, may_replace)
    listener.listen()
    return listener


def _refusal(address: SocketAddress, error: OSError) -> OperatorError:
    return OperatorError(f"Error binding socket: {describe(error)} ({address})")


def _listen_at_path(
    sock: socket.socket, path: str, mode: int | None, may_replace: Callable[[str], bool]
) -> os.stat_result:
    """Listen at a path, in place of a socket on which nobody listens any more.

    The directory is locked meanwhile: of several daemons that start at once, one would else remove
    the socket of another, which has its file and does not listen yet.
    """
    directory = _lock(os.path.dirname(path))
    try:
        _remove_stale(path)
        if may_replace(path):
            os.unlink(path)
        umask = None if mode is None else os.umask(0o777 & ~mode)
        try:
            sock.bind(path)
        finally:
            if umask is not None:
                os.umask(umask)
        made = os.lstat(path)
        sock.listen(BACKLOG)
    finally:
        if directory is not None:
            os.close(directory)
    return made


def _lock(path: str) -> int | None:
    """A descriptor of a directory that we have locked; None if we may not open it.

    Others may keep the lock for longer than a start may take: then there is none.
    """
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return None
    with suppress(OSError):
        lock(directory, LOCK_WAIT)
    return directory


def _remove_stale(path: str) -> None:
    """Remove a UNIX socket on which nobody listens: what is left of a program that was killed."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)
