"""What a plane can be told to connect to: targets that answer, refuse, or leave it waiting."""

from __future__ import annotations

import os
import select
import shutil
import socket
import stat
import tempfile
from contextlib import ExitStack

from spiped.net.address import SocketAddress
from spiped.service.listener import Listener, listen


class Target:
    """A listener.  Nobody is accepted before `take` is called."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.address = SocketAddress(sock.family, sock.getsockname())
        self._fillers: list[socket.socket] = []

    @property
    def contacted(self) -> bool:
        """Somebody has connected, and waits."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def take(self) -> socket.socket | None:
        """The first who has connected, and waits."""
        try:
            return self.sock.accept()[0]
        except BlockingIOError:
            return None

    def fill(self) -> Target:
        """Fill a UNIX listener's backlog, so that connecting to it has to be tried again."""
        while True:
            filler = socket.socket(self.sock.family)
            self._fillers.append(filler)
            filler.setblocking(False)
            try:
                filler.connect(self.address.sockaddr)
            except BlockingIOError:
                return self

    def make_room(self) -> None:
        """Undo `fill`."""
        for filler in self._fillers[:-1]:
            accepted = self.take()
            assert accepted is not None
            accepted.close()
            filler.close()

    def close(self) -> None:
        for each in (self.sock, *self._fillers):
            each.close()


class Network:
    """Makes targets of every kind."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._paths: list[str] = []
        self._directory: str | None = None

    def close(self) -> None:
        self._stack.close()

    def target(
        self, transport: str = "tcp", *, backlog: int = 16, buffers: int = 0, host: str = ""
    ) -> Target:
        """A listener; ``buffers``: what the sockets that it accepts may hold."""
        if transport == "unix":
            return self._listen(socket.AF_UNIX, self.path(), backlog, buffers)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return self._listen(family, (host or "127.0.0.1", 0), backlog, buffers)

    def _listen(self, family: int, place: object, backlog: int, buffers: int) -> Target:
        sock = self._stack.enter_context(socket.socket(family))
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is written is sent
        limit_buffers(sock, buffers)
        sock.bind(place)
        sock.listen(backlog)
        target = Target(sock)
        self._stack.callback(target.close)
        return target

    def listener(self, transport: str = "tcp", host: str = "", keepalive: bool = True) -> Listener:
        """What a plane may accept from."""
        if transport == "unix":
            address = self.missing()
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            address = SocketAddress(family, (host or "127.0.0.1", 0))
        listener = listen(address, keepalive)
        self._stack.callback(listener.close)
        return listener

    def pair(self, transport: str) -> tuple[socket.socket, socket.socket]:
        """Two connected sockets, the second accepted: the names of the two are unique."""
        target = self.target(transport)
        near = socket.socket(target.sock.family)
        near.connect(target.address.sockaddr)
        accepted = target.take()
        assert accepted is not None
        target.close()
        return near, accepted

    def path(self) -> str:
        """The name of a file that is not there."""
        if self._directory is None:
            self._directory = tempfile.mkdtemp(prefix="spiped-")
            self._stack.callback(shutil.rmtree, self._directory)
        self._paths.append(os.path.join(self._directory, str(len(self._paths))))
        return self._paths[-1]

    def missing(self) -> SocketAddress:
        """There is no such UNIX socket."""
        return SocketAddress(socket.AF_UNIX, self.path())

    def refusing(self) -> SocketAddress:
        """Nobody listens there, and nobody else may."""
        sock = self._stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        return SocketAddress(sock.family, sock.getsockname())

    def silent(self) -> SocketAddress:
        """Whoever connects to it hears nothing: its backlog is full."""
        target = self.target(backlog=0)
        self.crowd(target)
        return target.address

    def crowd(self, target: Target) -> None:
        """Fill a TCP listener's backlog."""
        while True:
            client = self._stack.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect(target.address.sockaddr)
            except TimeoutError:
                return

    def full(self) -> Target:
        """A UNIX listener that makes whoever connects try again, until it makes room."""
        return self.target("unix", backlog=0).fill()


def limit_buffers(sock: socket.socket, buffers: int) -> None:
    if buffers:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)


def opposite_end(sock: socket.socket) -> socket.socket:
    """Another handle of the socket of this process that is connected with ``sock``.

    The names of the two have to be unique: one is connected to a `Target` that accepted the other.
    """
    wanted = (sock.getpeername(), sock.getsockname())
    for fd in _sockets():
        candidate = socket.socket(fileno=os.dup(fd))
        try:
            if (candidate.getsockname(), candidate.getpeername()) == wanted:
                return candidate
        except OSError:  # it is not connected
            pass
        candidate.close()
    raise AssertionError("no such socket in this process")


def inheritable() -> set[int]:
    """The sockets that a program started by this process would have."""
    return {fd for fd in _sockets() if os.get_inheritable(fd)}


def _sockets() -> list[int]:
    return [fd for fd in map(int, os.listdir("/dev/fd")) if _is_socket(fd)]


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:  # it was the directory's
        return False
