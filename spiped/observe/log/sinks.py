"""Where lines go: to standard error, to a file, or to the system log.  None of them ever waits."""

from __future__ import annotations

import os
import select
import socket
import time

from spiped.descriptor_names import names_own_descriptor
from spiped.lean_typing import Protocol, suppress

SYSLOG_MAX = 4095
SYSLOG_FACILITY = 1 << 3  # user
SYSLOG_PATHS = ("/dev/log", "/var/run/log", "/var/run/syslog")  # where systems have it


class Sink(Protocol):
    """Where lines go."""

    def write(self, level: int, name: str, line: str) -> None:
        """Take one line, of the program with this name, or lose it."""


class StderrSink:
    """Standard error, which others may have open as well."""

    def write(self, level: int, name: str, line: str) -> None:
        with suppress(OSError):  # its reader is gone; that must not end anything
            # It cannot be made non-blocking, because others share it.
            if _is_writable(2):
                os.write(2, f"{name}: {line}\n".encode(errors="surrogateescape"))


def _is_writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


class FileSink:
    """A file, appended to; every line is one write, so that programs do not mix theirs."""

    def __init__(self, path: str, fd: int | None = None) -> None:
        """Open the file, unless it is open already.  Raises OSError."""
        self.path = path
        self._is_stream = names_own_descriptor(path)
        self._fd = _open(path) if fd is None else fd

    def fileno(self) -> int:
        return self._fd

    def reopen(self) -> None:
        """Go on with the file that has the name now: logs are rotated, but streams are not.

        Raises OSError if there can be none; then the old one stays in use.
        """
        if self._is_stream:
            return
        fd = _open(self.path)
        os.close(self._fd)
        self._fd = fd

    def write(self, level: int, name: str, line: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with suppress(OSError):  # the disk is full, or nobody reads a named pipe
            os.write(self._fd, f"{stamp} {name}: {line}\n".encode(errors="surrogateescape"))


def _open(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    return os.open(path, flags, 0o640)


class SyslogSink:
    """The system log (RFC 3164): facility user, and the level of the event as its priority.

    A line has the process id, and the name of the pipe, since several may run.  Not by the C
    library, which waits when the log daemon hangs.
    """

    def __init__(self, pipe: str) -> None:
        self._pipe = pipe
        self._sock: socket.socket | None = None
        self._connect()

    @property
    def is_connected(self) -> bool:
        """There is a log daemon."""
        return self._sock is not None

    def write(self, level: int, name: str, line: str) -> None:
        stamp = time.strftime("%b %e %H:%M:%S")
        tag = f"<{SYSLOG_FACILITY | level}>{stamp} {name}[{os.getpid()}]"
        data = f"{tag}: {self._pipe}: {line[:SYSLOG_MAX]}"
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
