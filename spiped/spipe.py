"""The command ``spipe``: connects the standard streams to a ``spiped -d``.

The standard streams cannot take part in an event loop (a file is always ready, and a terminal's
mode belongs to everybody), so two threads copy between them and one end of a socket pair, whose
other end is the plaintext side of an ordinary connection.
"""

from __future__ import annotations

import _thread
import os
import signal
import socket
import sys
from select import POLLIN, POLLOUT, poll

from spiped import options
from spiped.cli import PIPE_TABLE, pipe_options, run_command
from spiped.config import PipeOptions
from spiped.crypto import Backend, select
from spiped.errors import OperatorError, describe
from spiped.light import NoReturn, suppress
from spiped.net.address import resolve
from spiped.net.ending import Cause, Ending
from spiped.net.plane import choose_plane
from spiped.net.reactor import READ, Reactor
from spiped.observe.log import Log, program_name
from spiped.observe.slot import Slot
from spiped.prepare import first_key, make_pipe, resolve_bind
from spiped.process import forbid_core_dumps, keep_streams_open, name_process
from spiped.proto.role import Role
from spiped.sandbox import Sandbox

USAGE = """\
usage: spipe -t <target socket> -k <key file>
    [-b <bind address>] [-f | -g] [-j] [-o <connection timeout>] [--no-sandbox]
       spipe -v
"""

STDIN, STDOUT = 0, 1
CHUNK = 65536

MESSAGES = {
    Cause.CONNECT: "Could not connect",
    Cause.HANDSHAKE: "Handshake failed",
}


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


class Session:
    """One connection, from start to end, and the threads beside it."""

    def __init__(self, wanted: PipeOptions, crypto: Backend, log: Log) -> None:
        """Prepare everything.  Raises OperatorError."""
        targets = resolve(wanted.target)
        bind = resolve_bind(wanted.bind, log)
        K = first_key(crypto, wanted.key_file, log)
        pipe = make_pipe(wanted, Role.C, K, targets, bind)
        forbid_core_dumps(crypto)
        plain, outer = socket.socketpair()
        wakeup, waker = socket.socketpair()
        for end in (plain, waker):
            end.setblocking(False)
        # a signal may reach another thread, which does not wake the one that handles it
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self._plain = plain
        self._pipe = pipe
        self._reactor = Reactor()
        self._plane = choose_plane(crypto)(self._reactor, Slot())
        self._copiers = Copiers(outer, waker)
        self._ending: Ending | None = None
        self._wakeup = wakeup
        self._reactor.watch(wakeup, READ, self._on_failure)
        if wanted.sandbox:
            Sandbox(crypto).enter(pipe, threads=True)

    def run(self) -> str | None:
        """Run to the end; returns what to say about it if it was not a good one."""
        self._copiers.start()
        self._plane.carry(self._plain, self._pipe, self._on_end)
        self._reactor.run()
        assert self._ending is not None
        self._plane.close()
        if self._copiers.failure is None:
            self._copiers.wait_for_output()
        if self._copiers.failure is not None:
            return self._copiers.failure
        if self._ending.cause is Cause.CLEAN:
            return None
        message = MESSAGES.get(self._ending.cause, "Connection error")
        return f"{message}: {self._ending.detail or self._ending.cause.value}"

    def _on_failure(self, events: int) -> None:
        self._reactor.unwatch(self._wakeup)
        self._plane.abort_all()

    def _on_end(self, ending: Ending) -> None:
        self._ending = ending
        self._reactor.stop()


def main() -> NoReturn:
    name = program_name(sys.argv[0], "spipe")
    log = Log(name)

    def command() -> int:
        wanted = pipe_options(options.parse(sys.argv[1:], PIPE_TABLE))
        keep_streams_open()
        name_process(name)
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        crypto, warnings = select()
        for warning in warnings:
            log.warn(warning)

        def stop(number: int, frame: object) -> None:
            crypto.wipe_secrets()
            # the sockets are set to reset when they are closed without more ado, so the peer will
            # not take this for the end of the data
            os._exit(0)

        signal.signal(signal.SIGTERM, stop)
        try:
            message = Session(wanted, crypto, log).run()
        finally:
            crypto.wipe_secrets()
        if message is None:
            return 0
        raise OperatorError(message)

    status = run_command(name, USAGE, command)
    sys.stderr.flush()
    # and not by way of the interpreter's end, in which the threads, if they still wait for the
    # standard streams, would be unwound by a library that is loaded only then
    os._exit(status)


if __name__ == "__main__":
    main()
