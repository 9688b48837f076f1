"""A service manager, as a daemon sees it: a socket to be told at, and sockets that it passes."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from typing import NamedTuple

from tests.daemons import Stage, wait_until

CREDENTIALS = struct.Struct("iii")  # pid, uid, gid (unix(7))


class Message(NamedTuple):
    """What has been told at once: by whom, when, and the assignments."""

    sender: int
    at: float  # time.monotonic()
    told: dict[str, str]


class Manager:
    """Takes what daemons tell it, as systemd does: with the credentials of the sender."""

    def __init__(self, stage: Stage, *, abstract: bool = False, reads: bool = True) -> None:
        path = str(stage.path("notify"))
        self.address = f"@{path}" if abstract else path
        self.messages: list[Message] = []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock.bind(f"\0{path}" if abstract else path)
        stage.on_stage(self)
        stage.env["NOTIFY_SOCKET"] = self.address
        if reads:
            self.read()

    def read(self) -> None:
        """Take messages, from now on."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):  # closed
            while True:
                self.take()

    def take(self) -> None:
        data, ancillary, _, _ = self.sock.recvmsg(8192, socket.CMSG_SPACE(CREDENTIALS.size))
        if not data:
            raise OSError
        sender, _, _ = CREDENTIALS.unpack(ancillary[0][2])
        lines = data.decode().splitlines()
        told = dict(line.split("=", 1) for line in lines)
        assert len(told) == len(lines), data
        self.messages.append(Message(sender, time.monotonic(), told))

    def all(self, name: str) -> list[Message]:
        return [message for message in self.messages if name in message.told]

    def has(self, name: str, value: str = "1", at_least: int = 1) -> bool:
        found = [message for message in self.all(name) if message.told[name] == value]
        return len(found) >= at_least

    def wait_for(self, name: str, value: str = "1", at_least: int = 1) -> Message:
        """The last message of this kind, once there are so many."""
        wait_until(lambda: self.has(name, value, at_least), f"{name}={value} is told")
        return [message for message in self.all(name) if message.told[name] == value][-1]

    @property
    def status(self) -> str:
        """The last one."""
        statuses = [message.told["STATUS"] for message in self.all("STATUS")]
        return statuses[-1] if statuses else ""

    def wait_for_status(self, text: str) -> None:
        wait_until(lambda: text in self.status, f"the status is {text!r}")

    def close(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self.sock.close()


# Puts sockets where the next program looks for them, and executes it in the same process.
PASS = """
import os, sys
fds, variables, words = sys.argv[1], sys.argv[2], sys.argv[3:]
for place, fd in enumerate(fds.split(), 3):
    os.dup2(int(fd), place)
    os.close(int(fd))
for variable in variables.splitlines():
    name, value = variable.split("=", 1)
    os.environ[name] = str(os.getpid()) if value == "$$" else value
os.execv(words[0], words)
"""


def passing(*fds: int, **variables: str) -> list[str]:
    """The beginning of a command to which these descriptors are passed, from 3 on.

    The program has to be started with them (``pass_fds``), and they are `high`.  ``variables`` are
    LISTEN_..., in addition to those that a service manager always sets, or in their place.
    """
    given = {"LISTEN_PID": "$$", "LISTEN_FDS": str(len(fds)), **variables}
    lines = [f"{name}={value}" for name, value in given.items()]
    return [sys.executable, "-c", PASS, " ".join(map(str, fds)), "\n".join(lines)]


def listening(stage: Stage, address: str) -> socket.socket:
    """What a service manager has opened."""
    low = socket.socket(socket.AF_UNIX if address.startswith("/") else socket.AF_INET)
    host, _, port = address.rpartition(":")
    low.bind(address if address.startswith("/") else (host.strip("[]"), int(port)))
    low.listen(128)
    return high(stage, low)


def high(stage: Stage, sock: socket.socket) -> socket.socket:
    """The same socket, under a number that is in nobody's way."""
    with sock:
        fd = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 50)
    moved = socket.socket(fileno=fd)
    stage.on_stage(moved)
    return moved
