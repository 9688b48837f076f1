"""What the service manager is told: how the daemon is (sd_notify(3)).

    ready -> reloading -> ready -> stopping

A message is one datagram, and nobody waits for it to be taken.
"""

from __future__ import annotations

import os
import socket
import time

from spiped.errors import describe
from spiped.observe.log.events import ManagerNotTold
from spiped.observe.log.log import Log
from spiped.observe.log.printable import printable

# What a service manager says to the process that it starts.  Children of ours have no business
# with it; the program that takes over by an upgrade has.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

WAITING_MAX = 16  # messages; if nobody takes them, the oldest are out of date


class ServiceManager:
    """Whoever has started the daemon, if it wants to be told; else nothing happens here."""

    def __init__(self, log: Log) -> None:
        """Take what the environment says, out of it."""
        self._log = log
        given = {name: os.environ.pop(name, None) for name in VARIABLES}
        self._variables = {name: value for name, value in given.items() if value is not None}
        self._sock: socket.socket | None = None
        self._address = ""
        self._waiting: list[bytes] = []
        self._is_deaf = False  # the last message could not be sent
        self._status = ""
        self.watchdog: float | None = None  # seconds, within which it wants a sign of life
        if given["NOTIFY_SOCKET"] is not None:
            self._begin(given["NOTIFY_SOCKET"])
            self._take_watchdog(given["WATCHDOG_USEC"], given["WATCHDOG_PID"])

    def _begin(self, address: str) -> None:
        if not address.startswith(("/", "@")):
            self._log.event(ManagerNotTold(f"NOTIFY_SOCKET={address}: not a UNIX socket"))
            return
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)

    def _take_watchdog(self, microseconds: str | None, pid: str | None) -> None:
        """Of another process's watchdog there is nothing for us (sd_watchdog_enabled(3))."""
        digits = (microseconds or "")[:20]
        if digits.isascii() and digits.isdigit() and pid in (None, str(os.getpid())):
            self.watchdog = int(digits) / 1e6 or None

    @property
    def is_there(self) -> bool:
        return self._sock is not None

    def variables(self) -> dict[str, str]:
        """What a program that takes our place has to find in its environment."""
        if "WATCHDOG_PID" in self._variables and self.watchdog is not None:
            return {**self._variables, "WATCHDOG_PID": str(os.getpid())}
        return self._variables

    def close(self) -> None:
        """Say nothing any more: for a child."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    # What there is to say

    def tell(self, *lines: str, status: str = "") -> None:
        """Send these assignments, and the status if there is a new one."""
        if status and status != self._status:
            self._status = status
            lines += (f"STATUS={printable(status)}",)
        if self._sock is None or not lines:
            return
        self._waiting.append("\n".join(lines).encode())
        del self._waiting[:-WAITING_MAX]
        self.flush()

    def tell_reloading(self, status: str) -> None:
        """A reload has begun; READY=1 has to follow."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", status=status)

    def flush(self) -> None:
        """Send what has not been taken yet."""
        while self._sock is not None and self._waiting:
            try:
                self._sock.sendto(self._waiting[0], self._address)
            except BlockingIOError:  # there is no room: later
                return
            except OSError as error:
                if not self._is_deaf:
                    named = f"NOTIFY_SOCKET={self._variables['NOTIFY_SOCKET']}"
                    self._log.event(ManagerNotTold(f"{named}: {describe(error)}"))
                self._is_deaf = True
                self._waiting.clear()
            else:
                self._is_deaf = False
                del self._waiting[0]
