"""Crowds of clients that come back at once when they are dropped, each in a thread of its own."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import AbstractContextManager, nullcontext, suppress

from tests.daemons import Peer

TURN = 0.02  # seconds, at most, until the end of a crowd is noticed
GONE = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP


class Crowd:
    """So many clients of an address, who say ``word`` if there is one, and stay.

    ``answered``: how many of those that are there have heard something; ``returns``: how often one
    was dropped and has come back.  The thread may have to enter a network namespace (``where``).
    """

    def __init__(
        self,
        address: str,
        count: int,
        word: bytes = b"",
        where: AbstractContextManager[None] | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        self.count = count
        self.answered = self.returns = 0
        self._address = (host.strip("[]"), int(port))
        self._word = word
        self._where = where or nullcontext()
        self._poll = select.epoll()
        self._there: dict[int, socket.socket] = {}
        self._heard: set[int] = set()  # descriptors
        self._over = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """All of them leave."""
        self._over = True
        self._thread.join()

    def _run(self) -> None:
        with self._where:
            for _ in range(self.count):
                self._come()
            while not self._over:
                for fd, events in self._poll.poll(TURN, 256):
                    self._go_on(fd, events)
        for sock in self._there.values():
            Peer(sock).reset()
        self._poll.close()

    def _come(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(self._address)
        self._there[sock.fileno()] = sock
        self._poll.register(sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP)

    def _go_on(self, fd: int, events: int) -> None:
        sock = self._there[fd]
        with suppress(OSError):
            if not events & GONE and events & select.EPOLLOUT:
                self._poll.modify(fd, select.EPOLLIN | select.EPOLLRDHUP)
                if self._word:
                    sock.send(self._word)
                return
            if not events & GONE and sock.recv(4096):
                self._hear(fd)
                return
        self._poll.unregister(fd)
        if fd in self._heard:
            self._heard.remove(fd)
            self.answered -= 1
        del self._there[fd]
        sock.close()
        self.returns += 1
        self._come()

    def _hear(self, fd: int) -> None:
        if fd not in self._heard:
            self._heard.add(fd)
            self.answered += 1
