"""What a daemon holds that others can see or want back: one object owns all of it.

It is acquired by `start`, handed over at an upgrade, let go of in every child, and given back at
the end, whatever the end.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from spiped.crypto import Backend
from spiped.crypto.key_file import KeyFile
from spiped.lean_typing import TYPE_CHECKING, Any
from spiped.net.address import SocketAddress
from spiped.observe.log.log import Log
from spiped.process.daemonize import Parent
from spiped.process.pid_file import PidFile
from spiped.sandbox import Sandbox
from spiped.service.listener import Listener
from spiped.service.service_manager import ServiceManager

if TYPE_CHECKING:
    from spiped.service.readiness import Readiness


class Holdings:
    """Log, key file, sandbox; and, once they have been acquired, parent, pid file and listener."""

    def __init__(
        self, crypto: Backend, log: Log, key_file: KeyFile, manager: ServiceManager
    ) -> None:
        self.crypto = crypto
        self.log = log
        self.key_file = key_file
        self.started = time.time()  # when the daemon was
        self.manager = manager
        self.sandbox: Sandbox | None = None
        self.parent: Parent | None = None  # who waits for our report,
        self.readiness: Readiness | None = None  # and who for a newline
        self.pid_file: PidFile | None = None
        self.listener: Listener | None = None
        self.status: list[Listener] = []  # where the status can be asked for
        self.control: Listener | None = None  # where we can be told what to do,
        self.control_uids: set[int] = set()  # and by whom
        self._in_child: list[Callable[[], None]] = []

    def on_child(self, release: Callable[[], None]) -> None:
        """Somebody else has something to let go of in every child that has no use for it."""
        self._in_child.append(release)

    def release_in_child(self) -> None:
        """Let go of what a worker has no use for; nothing is removed or reported."""
        self.log.close_in_child()
        if self.pid_file is not None:
            self.pid_file.close()
            self.pid_file = None
        if self.parent is not None:
            self.parent.close()
            self.parent = None
        if self.readiness is not None:
            self.readiness.close()
            self.readiness = None
        for listener in self.status:
            listener.sock.close()
        self.status = []
        if self.control is not None:
            self.control.sock.close()
            self.control = None
        for release in self._in_child:
            release()
        self.manager.close()

    def close_listener(self) -> None:
        """Listen no more; a successor may begin."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        if self.pid_file is not None:
            self.pid_file.allow_successor()

    def hand_over(self) -> dict[str, Any]:
        """What a new image of the program needs to have the same, as JSON has it."""
        assert self.listener is not None
        return {
            **_hand_over(self.listener),
            "status": [_hand_over(listener) for listener in self.status],
            "control": None if self.control is None else _hand_over(self.control),
            "control_uids": sorted(self.control_uids),
            "pid_file": None if self.pid_file is None else self.pid_file.fileno(),
            "log_file": self.log.file(),
            "started": self.started,
            "key_can_be_read": self.key_file.can_be_read_again,
        }

    def take_over(self, given: dict[str, Any], pid_file: str | None) -> None:
        """The reverse; what is missing there has not been held.  The log is `start`'s."""
        self.listener = _take_over(given)
        self.status = [_take_over(each) for each in given.get("status", [])]
        if given.get("control") is not None:
            self.control = _take_over(given["control"])
        self.control_uids = set(given.get("control_uids", []))
        if given.get("pid_file") is not None and pid_file is not None:
            self.pid_file = PidFile(pid_file, given["pid_file"])
        self.started = float(given.get("started", self.started))
        self.key_file.can_be_read_again = bool(given.get("key_can_be_read"))

    def give_back(self) -> None:
        """Remove our files, and erase all secrets."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        if self.pid_file is not None:
            self.pid_file.remove()
            self.pid_file = None
        for listener in self.status:
            listener.close()
        self.status = []
        if self.control is not None:
            self.control.close()
            self.control = None
        self.crypto.wipe_secrets()


def _hand_over(listener: Listener) -> dict[str, Any]:
    made = listener.made
    return {
        "listener": listener.sock.fileno(),
        "socket_file": None if made is None else [int(value) for value in made],
    }


def _take_over(given: dict[str, Any]) -> Listener:
    made = given.get("socket_file")
    sock = socket.socket(fileno=given["listener"])
    sock.setblocking(False)
    return Listener(
        SocketAddress(sock.family, sock.getsockname()),
        sock,
        None if made is None else os.stat_result(made),
    )
