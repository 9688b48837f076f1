"""The other end of the control socket: asks a daemon, and waits for its answers."""

from __future__ import annotations

import errno
import json
import math
import os
import select
import socket
import time

from spiped.control.protocol import Answer, words_of
from spiped.errors import OperatorError, describe
from spiped.lean_typing import suppress
from spiped.net.address import UNIX_PATH_MAX

ANSWER_TIME = 30.0  # seconds that an answer may take which has nothing to wait for

PROBE_TIME = 2.0  # seconds that a daemon has to say how it is, to another one that starts

RETRY = 0.05  # seconds from one attempt to connect to the next


class NoDaemon(OperatorError):
    """Nobody listens there."""


class Ended(OperatorError):
    """The daemon has closed the connection where an answer should have been."""


class TooLate(OperatorError):
    """There is no answer in time."""


class Connection:
    """A connection to one daemon."""

    def __init__(self, path: str, patience: float = ANSWER_TIME) -> None:
        """Connect.  Raises OperatorError."""
        self.path = path
        self._received = b""
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        if len(os.fsencode(path)) > UNIX_PATH_MAX:
            raise OperatorError(f"{path}: the path is too long for a socket")
        deadline = time.monotonic() + patience
        while (error := self._sock.connect_ex(path)) == errno.EAGAIN:  # too many wait already
            if time.monotonic() >= deadline:
                raise TooLate(f"{path}: the daemon accepts nobody within {patience:g} s")
            time.sleep(RETRY)
        if error in (errno.ENOENT, errno.ECONNREFUSED):
            raise NoDaemon(f"{path}: no daemon is there: {os.strerror(error)}")
        if error != 0:
            raise OperatorError(f"{path}: {os.strerror(error)}")

    def close(self) -> None:
        self._sock.close()

    def send(self, words: list[str]) -> None:
        """Make a request."""
        line = " ".join(words).encode(errors="surrogateescape") + b"\n"
        # a daemon that has no place for us has closed already, and what it has said is there
        with suppress(OSError):
            self._sock.sendall(line)  # the system has room for much more than that

    def receive(self, patience: float = ANSWER_TIME) -> Answer:
        """The next answer, or event.  Raises OperatorError."""
        deadline = time.monotonic() + patience
        while b"\n" not in self._received:
            data = self._receive(deadline, patience)
            if not data:
                raise Ended(f"{self.path}: the daemon has closed the connection")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise OperatorError(f"{self.path}: this is no control socket of spiped")
        return answer

    def _receive(self, deadline: float, patience: float) -> bytes:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        left = deadline - time.monotonic()
        if not poll.poll(None if left == math.inf else max(0, min(left, 86400.0)) * 1000):
            if time.monotonic() >= deadline:
                raise TooLate(f"{self.path}: no answer within {patience:g} s")
            return self._receive(deadline, patience)
        try:
            return self._sock.recv(1 << 20)
        except ConnectionError:
            return b""
        except OSError as error:
            raise OperatorError(f"{self.path}: {describe(error)}") from error


def ask(path: str, words: list[str], patience: float = ANSWER_TIME) -> Answer:
    """Make one request; returns its answer.  Raises OperatorError."""
    connection = Connection(path, patience)
    try:
        connection.send(words)
        return connection.receive(patience)
    finally:
        connection.close()


def is_leaving(path: str) -> bool:
    """A daemon listens at this control socket that accepts no clients any more."""
    with suppress(OperatorError):
        return ask(path, words_of(b"show"), PROBE_TIME).get("state") in ("draining", "stopping")
    return False
