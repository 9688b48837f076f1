"""Where lines go: to standard error, to a file, or to the system log.  None of them ever waits.

Lines are printable text; a sink adds what its place is used to.
"""

from __future__ import annotations

import os
import select
import socket
import time

from spiped.descriptor_names import names_own_descriptor
from spiped.lean_typing import Protocol, suppress
from spiped.observe.log.kinds import NOTICE, WARNING

# Bytes of a line.  A pipe that can be written to takes so many at once (PIPE_BUF), and so does
# every log daemon, with what stands in front.
LINE_MAX = 3900

SYSLOG_FACILITY = 1 << 3  # user
SYSLOG_PATHS = ("/dev/log", "/var/run/log", "/var/run/syslog")  # where systems have it


class Sink(Protocol):
    """Where lines go."""

    level: int  # from which on events are shown here, unless the operator says otherwise

    def beginning(self, name: str, pipe: str) -> str:
        """What a line of text begins with here; ``pipe``: its name, or "" if it has none."""

    def write(self, priority: int, line: str) -> bool:
        """Take one line, of this priority (RFC 5424); False if it is lost."""

    def close(self) -> None:
        """Have no way there any more."""


def _label(name: str, pipe: str) -> str:
    return f"{name}[{pipe}]" if pipe else name


class StderrSink:
    """Standard error, which others may have open as well; or the journal, if it is that."""

    def __init__(self) -> None:
        self._is_journal = _is_journal(2)
        # As in C's program, a start says nothing if there is nothing to complain about.
        self.level = NOTICE if self._is_journal else WARNING

    def beginning(self, name: str, pipe: str) -> str:
        if self._is_journal:  # which has the program's name already
            return f"{pipe}: " if pipe else ""
        return f"{_label(name, pipe)}: "

    def write(self, priority: int, line: str) -> bool:
        mark = f"<{priority}>" if self._is_journal else ""  # sd-daemon(3)
        with suppress(OSError):  # its reader is gone; that must not end anything
            # It cannot be made non-blocking, because others share it.
            if _is_writable(2):
                return _append(2, mark + line)
        return False

    def close(self) -> None:
        pass  # others have it as well


def _is_journal(fd: int) -> bool:
    """What is written there goes to systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    stream = os.environ.get("JOURNAL_STREAM")
    if stream is None:
        return False
    try:
        there = os.fstat(fd)
    except OSError:  # it is closed
        return False
    return stream == f"{there.st_dev}:{there.st_ino}"


def _is_writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


def _append(fd: int, line: str) -> bool:
    """Every line is one write, so that programs do not mix theirs.  Raises OSError."""
    data = _cut(line) + b"\n"
    return os.write(fd, data) == len(data)


def _cut(line: str) -> bytes:
    return line.encode()[:LINE_MAX].decode(errors="ignore").encode()


class FileSink:
    """A file, appended to."""

    level = NOTICE

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

    def beginning(self, name: str, pipe: str) -> str:
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {_label(name, pipe)}: "

    def write(self, priority: int, line: str) -> bool:
        with suppress(OSError):  # the disk is full, or nobody reads a named pipe
            return _append(self._fd, line)
        return False

    def close(self) -> None:
        os.close(self._fd)


def _open(path: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    return os.open(path, flags, 0o640)


class SyslogSink:
    """The system log (RFC 3164): facility user, and the level of the event as its priority.

    A line has the process id, and in text the name of the pipe, since several may run.  Not by the
    C library, which waits when the log daemon hangs.
    """

    level = NOTICE

    def __init__(self, name: str, pipe: str) -> None:
        self._name = name
        self._pipe = pipe
        self._sock: socket.socket | None = None
        self._connect()

    @property
    def is_connected(self) -> bool:
        """There is a log daemon."""
        return self._sock is not None

    def beginning(self, name: str, pipe: str) -> str:
        return f"{self._pipe}: "

    def write(self, priority: int, line: str) -> bool:
        stamp = time.strftime("%b %e %H:%M:%S")
        tag = f"<{SYSLOG_FACILITY | priority}>{stamp} {self._name}[{os.getpid()}]: "
        packet = tag.encode() + _cut(line)
        if self._sock is not None:
            try:
                return self._send(packet)
            except OSError:  # the log daemon has been restarted
                pass
        self._connect()
        with suppress(OSError):
            return self._send(packet)
        return False

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _send(self, packet: bytes) -> bool:
        """Raises OSError if nobody is there."""
        if self._sock is None:
            return False
        try:
            self._sock.send(packet)
        except BlockingIOError:  # the log daemon has no room for it
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
