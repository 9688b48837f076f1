"""Looking up names without waiting for it: a short-lived child process asks and reports.

A process and not a thread, because the supervisor forks workers at any time, and a process that
does may not have threads.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable

from spiped.errors import OperatorError
from spiped.light import suppress
from spiped.net.address import SocketAddress, decode_addresses, encode_addresses, resolve
from spiped.net.reactor import READ, Reactor
from spiped.process import fork, unblock_signals

TIME_LIMIT = 60  # seconds


class Lookup:
    """One lookup; calls ``on_done`` with the addresses, or with the lines that say why not.

    The child begins by calling ``forget``: it needs no secrets.
    Raises OSError if the system does not let us have the process.
    """

    def __init__(
        self,
        reactor: Reactor,
        address: str,
        forget: Callable[[], None],
        on_done: Callable[[list[SocketAddress], tuple[str, ...]], None],
    ) -> None:
        self._reactor = reactor
        self._on_done = on_done
        self._answer = b""
        self._sock, child_sock = socket.socketpair()
        try:
            fork(lambda: _answer(child_sock, address, forget))
        except OSError:
            self._sock.close()
            raise
        finally:
            child_sock.close()
        self._sock.setblocking(False)
        reactor.watch(self._sock, READ, self._on_readable)

    def _on_readable(self, events: int) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        self._answer += data
        if data:
            return
        self._reactor.unwatch(self._sock)
        self._sock.close()
        try:
            answer = json.loads(self._answer)
        except ValueError:
            self._on_done([], ("The process that looked up the target died",))
        else:
            self._on_done(decode_addresses(answer["addresses"]), tuple(answer["errors"]))


def _answer(sock: socket.socket, address: str, forget: Callable[[], None]) -> None:
    """The life of the child; ends by itself if the name service never answers."""
    forget()
    _close_all_but(sock)
    signal.alarm(TIME_LIMIT)
    unblock_signals()
    addresses: list[SocketAddress] = []
    errors: tuple[str, ...] = ()
    try:
        addresses = resolve(address)
    except OperatorError as error:
        errors = error.lines
    answer = {"addresses": encode_addresses(addresses), "errors": errors}
    with suppress(OSError):  # the supervisor is gone
        sock.sendall(json.dumps(answer).encode())


def _close_all_but(sock: socket.socket) -> None:
    """Let go of what was inherited: a lookup may outlive the daemon, the listening socket not."""
    fd = sock.fileno()
    os.closerange(3, fd)
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
