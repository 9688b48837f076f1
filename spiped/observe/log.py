"""Log lines: to stderr, to syslog, or to a file; and never more of them than somebody can read."""

from __future__ import annotations

import os
import select
import socket
import time

from spiped.light import Protocol, suppress

BURST = 10  # lines about peers that may come at once,
RATE = 1.0  # and how many a second after that
SYSLOG_MAX = 4095
SYSLOG_PRIORITY = 1 << 3 | 4  # facility user, priority warning
SYSLOG_PATHS = ("/dev/log", "/var/run/log", "/var/run/syslog")  # where systems have it


class Sink(Protocol):
    """Where lines go."""

    def write(self, line: str) -> None: ...


class StderrSink:
    def write(self, line: str) -> None:
        """Write, unless that would mean to wait for a reader.

        It cannot be made non-blocking, because others have it as well.
        """
        with suppress(OSError):  # its reader is gone; that must not end anything
            if _is_writable(2):
                os.write(2, (line + "\n").encode(errors="surrogateescape"))


def _is_writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


class FileSink:
    """A file, appended to; every line is one write, so that processes do not mix theirs."""

    def __init__(self, path: str, fd: int | None = None) -> None:
        """Open the file, unless it is open already.  Raises OSError."""
        self._path = path
        self._fd = _open(path) if fd is None else fd

    def fileno(self) -> int:
        return self._fd

    def reopen(self) -> None:
        """Go on with the file that has the name now, if there can be one: logs are rotated."""
        with suppress(OSError):
            fd = _open(self._path)
            os.dup2(fd, self._fd, inheritable=False)
            os.close(fd)

    def write(self, line: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with suppress(OSError):  # the disk is full, or nobody reads a named pipe
            os.write(self._fd, f"{stamp} {line}\n".encode(errors="surrogateescape"))


def _open(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    return os.open(path, flags, 0o640)


class SyslogSink:
    """The system's log: facility user, priority warning, no process id.

    Not by the C library, which waits when the log daemon hangs, and everybody else with it.
    """

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._sock: socket.socket | None = None
        # connected now, so that workers, which may reach little, inherit the connection
        self._connect()

    def write(self, line: str) -> None:
        message = line.removeprefix(f"{self._tag}: ")[:SYSLOG_MAX]
        stamp = time.strftime("%b %e %H:%M:%S")
        data = f"<{SYSLOG_PRIORITY}>{stamp} {self._tag}: {message}"
        packet = data.encode(errors="surrogateescape")
        if not self._send(packet):
            self._connect()  # the log daemon has been restarted
            self._send(packet)

    def _send(self, packet: bytes) -> bool:
        """False if nobody is there."""
        if self._sock is None:
            return False
        try:
            self._sock.send(packet)
        except BlockingIOError:  # the log daemon has no room for it: it is lost
            return True
        except OSError:
            return False
        return True

    def _connect(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        with suppress(OSError):  # there are no descriptors
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.setblocking(False)
            if any(sock.connect_ex(path) == 0 for path in SYSLOG_PATHS):
                self._sock = sock
            else:
                sock.close()


class Log:
    """A program's messages; each begins with its name."""

    def __init__(self, name: str, verbose: bool = False) -> None:
        self.name = name
        self.sink: Sink = StderrSink()
        self.verbose = verbose
        self._budget = float(BURST)
        self._budget_at = time.monotonic()
        self._suppressed = 0

    def reopen(self) -> None:
        """Open a log file anew; of other sinks there is nothing to reopen."""
        if isinstance(self.sink, FileSink):
            self.sink.reopen()

    def warn(self, message: str) -> None:
        """Something that the operator should know."""
        self.sink.write(f"{self.name}: {message}")

    def warn_about_peer(self, message: str) -> None:
        """Something that a peer did: anybody can cause these, so there is a limit to their rate."""
        now = time.monotonic()
        self._budget = min(BURST, self._budget + (now - self._budget_at) * RATE)
        self._budget_at = now
        if self._budget < 1:
            self._suppressed += 1
            return
        self._budget -= 1
        if self._suppressed:
            self.warn(f"{self._suppressed} similar messages suppressed")
            self._suppressed = 0
        self.warn(message)


def program_name(argv0: str, default: str) -> str:
    """What a program calls itself in its messages: as it was called, unless as a Python module."""
    name = os.path.basename(argv0)
    return name if name and not name.endswith(".py") else default
