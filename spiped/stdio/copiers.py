"""Two threads that copy between the standard streams and a socket.

The standard streams cannot take part in an event loop: a file is always ready, and a terminal's
mode belongs to everybody.
"""

from __future__ import annotations

import _thread
import os
import socket
from select import POLLIN, POLLOUT, poll

from spiped.errors import describe
from spiped.lean_typing import suppress
from spiped.process.aside import start_thread

STDIN, STDOUT = 0, 1
CHUNK = 65536
LAST_WORDS_MAX = 65536  # bytes that are still read when the program is told to end

# News; no signal has these numbers, which `signal.set_wakeup_fd` writes to the same socket.
FAILED, FINISHED = b"\xfe", b"\xff"


class Copiers:
    """Two threads between the standard streams and a socket, and what went wrong in them."""

    def __init__(self, sock: socket.socket, news: socket.socket) -> None:
        """``news``: one of the bytes above is sent to it when something has happened."""
        self._sock = sock
        self._news = news
        self._finish, self._finisher = os.pipe()
        self._output_done = _thread.allocate_lock()
        self.failure: str | None = None

    def start(self) -> None:
        """Raises OSError if the system lets us have no threads."""
        self._output_done.acquire()
        start_thread(self._copy_input)
        start_thread(self._copy_output)

    def finish_input(self) -> None:
        """Copy what can be read at this moment, and then end the stream; tells by `FINISHED`."""
        os.write(self._finisher, b"!")

    def hang_up(self) -> None:
        """Take nothing any more from the connection, and give it nothing."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def wait_for_output(self) -> None:
        """Wait until everything that was received has been written."""
        self._output_done.acquire()

    def _copy_input(self) -> None:
        left: int | None = None  # that may be read before the input is over; None: any number
        poller = poll()
        poller.register(STDIN, POLLIN)
        poller.register(self._finish, POLLIN)
        try:
            while left != 0:
                ready = dict(poller.poll(None if left is None else 0))
                if self._finish in ready and left is None:
                    left = LAST_WORDS_MAX
                    poller.unregister(self._finish)
                elif STDIN not in ready or not (data := _read(CHUNK if left is None else left)):
                    break
                else:
                    left = None if left is None else left - len(data)
                    self._sock.sendall(data)
        except ConnectionError:  # how the connection ended, the main thread knows
            return
        except OSError as error:
            self._fail(f"Error reading: {describe(error)}")
            return
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        if left is None:  # the input has ended by itself: whoever is told to end later, has done so
            _wait(self._finish, POLLIN)
        self._tell(FINISHED)

    def _copy_output(self) -> None:
        try:
            while data := self._receive():
                rest = memoryview(data)
                while rest:
                    rest = rest[_write(rest) :]
            _end_output()
        except OSError as error:
            self._fail(f"Error writing: {describe(error)}")
        finally:
            self._output_done.release()

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(CHUNK)
        except ConnectionError:  # how the connection ended, the main thread knows
            return b""

    def _fail(self, message: str) -> None:
        self.failure = self.failure or message
        self._tell(FAILED)

    def _tell(self, news: bytes) -> None:
        with suppress(OSError):
            self._news.send(news)


# Whoever else has a standard stream may have made it non-blocking.


def _read(room: int) -> bytes:
    while True:
        try:
            return os.read(STDIN, room)
        except BlockingIOError:
            _wait(STDIN, POLLIN)


def _write(data: memoryview) -> int:
    while True:
        try:
            return os.write(STDOUT, data)
        except BlockingIOError:
            _wait(STDOUT, POLLOUT)


def _wait(fd: int, event: int) -> None:
    poller = poll()
    poller.register(fd, event)
    poller.poll()


def _end_output() -> None:
    """Pass the end on if standard output is a socket; otherwise our own end will do that."""
    with suppress(OSError), socket.socket(fileno=os.dup(STDOUT)) as out:
        out.shutdown(socket.SHUT_WR)
