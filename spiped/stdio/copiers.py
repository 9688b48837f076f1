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

STDIN, STDOUT = 0, 1
CHUNK = 65536


class Copiers:
    """Two threads between the standard streams and a socket, and what went wrong in them."""

    def __init__(self, sock: socket.socket, on_failure: socket.socket) -> None:
        """``on_failure``: one byte is sent to it when a thread has failed."""
        self._sock = sock
        self._on_failure = on_failure
        self._output_done = _thread.allocate_lock()
        self.failure: str | None = None

    def start(self) -> None:
        self._output_done.acquire()
        _thread.start_new_thread(self._copy_input, ())
        _thread.start_new_thread(self._copy_output, ())

    def wait_for_output(self) -> None:
        """Wait until everything that was received has been written."""
        self._output_done.acquire()

    def _copy_input(self) -> None:
        while True:
            try:
                data = _read()
            except OSError as error:
                self._fail(f"Error reading: {describe(error)}")
                return
            with suppress(OSError):  # how the connection ended, the main thread knows
                if data:
                    self._sock.sendall(data)
                    continue
                self._sock.shutdown(socket.SHUT_WR)
            return

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
        with suppress(OSError):
            self._on_failure.send(b"!")


# Whoever else has a standard stream may have made it non-blocking.


def _read() -> bytes:
    while True:
        try:
            return os.read(STDIN, CHUNK)
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
