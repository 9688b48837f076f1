"""Making, tuning and ending sockets.  Every socket is non-blocking and close-on-exec."""

from __future__ import annotations

import errno
import os
import socket
import sys

from spiped.lean_typing import Any, suppress
from spiped.net.address import SocketAddress

# Returned by accept() for what happened to that one connection, not to the listening socket: it is
# gone, the next one may be fine (accept(2), "Error handling").
CONNECTION_ERRORS = frozenset(
    {
        errno.ECONNABORTED,
        errno.EINTR,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.EPERM,
        errno.ETIMEDOUT,
    }
    | ({errno.ENONET} if hasattr(errno, "ENONET") else set())
)

IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); other systems refuse it

# Two C ints; `struct` would take a while to import.
LINGER_RESET = (1).to_bytes(4, sys.byteorder) + bytes(4)  # close() drops the unsent and resets
LINGER_GRACEFUL = bytes(8)  # close() sends the rest and a FIN


def accept(listener: socket.socket, keepalive: bool) -> tuple[socket.socket, Any]:
    """A connection, and the address of who made it.  Raises OSError if there is none."""
    accepted, address = listener.accept()
    accepted.setblocking(False)
    if sys.platform != "linux":  # there, the options of the listening socket are inherited
        tune(accepted, keepalive, not isinstance(address, tuple))
    return accepted, address


def start_connect(
    address: SocketAddress, bind: SocketAddress | None, keepalive: bool
) -> socket.socket:
    """A socket that is being connected: writable once that has succeeded or failed.

    Raises OSError if it failed at once; BlockingIOError if a UNIX listener's backlog is full, in
    which case the caller may try again later.
    """
    if bind is not None and bind.family != address.family:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        tune(sock, keepalive, address.is_unix)
        if bind is not None:
            _bind(sock, bind)
        status = sock.connect_ex(address.sockaddr)
        if status not in (0, errno.EINPROGRESS):
            raise OSError(status, os.strerror(status))
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, address: SocketAddress) -> None:
    """Give a socket its local address; without a port, connecting will choose one.

    Were it chosen now, nobody else could use it, whatever the target, also for a while after.
    """
    if not address.is_unix and address.sockaddr[1] == 0:
        with suppress(OSError):  # an older system
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    elif not address.is_unix:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address.sockaddr)


def tune(sock: socket.socket, keepalive: bool, is_unix: bool) -> None:
    """Let packets leave at once, dead peers be noticed, and closing mean a reset.

    Whatever ends the process, the peer then sees a reset: only a clean end of the connection takes
    that back, so that no failure looks like one.
    """
    options: list[tuple[int, int, int | bytes]] = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(keepalive)),
        (socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET),
    ]
    if not is_unix:
        options.append((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))
    for level, name, value in options:
        # EINVAL says that the peer is gone already: the relay will notice
        with suppress(OSError):
            sock.setsockopt(level, name, value)


def close_gracefully(sock: socket.socket) -> None:
    """Close; what was not sent yet is still sent, then a FIN."""
    _close(sock, LINGER_GRACEFUL)


def close_with_reset(sock: socket.socket) -> None:
    """Close so that the peer sees a reset (on a UNIX socket, which knows none, an ordinary end)."""
    _close(sock, LINGER_RESET)


def _close(sock: socket.socket, linger: bytes) -> None:
    with suppress(OSError):  # reset by the peer already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    with suppress(OSError):  # whatever it says, the descriptor is closed
        sock.close()


def take_error(sock: socket.socket) -> int:
    """The error number that is pending on a socket, 0 if there is none; or why nobody can tell.

    A hang-up without one is no failure: a UNIX peer has closed, perhaps with data still to be read.
    """
    try:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except OSError as error:
        return error.errno or errno.EIO


def peer_name(address: Any) -> str:
    """Who is at the other end, for messages; ``address`` is what `accept` returned.

    Of a UNIX socket that is a str, or bytes if the client has bound it to an abstract name.
    """
    return f"[{address[0]}]:{address[1]}" if isinstance(address, tuple) else "a local client"
