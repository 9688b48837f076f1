"""Two machines and the link between them: network namespaces, which nothing else can reach.

A socket belongs to the machine on which it was made, whoever uses it then:

    with link.near.entered():
        client = Peer.connect(...)

The namespaces have no names and end with the last socket or process in them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from json import dumps, loads
from pathlib import Path
from typing import Any

from tests.daemons import free_port, needs
from tests.helpers import ROOT, lack
from tests.link.emulator import Conditions, Done

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000

DELAYED_ACK = 0.25  # seconds; TCP confirms what it has received within 0.2

NAMESPACE = "/proc/thread-self/ns/net"  # of the thread that looks

libc = ctypes.CDLL(None, use_errno=True)


def _check(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Namespace:
    """A network namespace, in which there is nothing but the loopback interface."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            lack("only root can make network namespaces")
        home = os.open(NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.unshare(CLONE_NEWNET) != 0:
                lack("network namespaces are not allowed here")
            try:
                self._namespace = os.open(NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
                self._set_up()
            finally:
                _check(libc.setns(home, CLONE_NEWNET))
        finally:
            os.close(home)

    def _set_up(self) -> None:
        self._ip("link set lo up")

    def _ip(self, words: str) -> None:
        subprocess.run([needs("ip"), *words.split()], check=True)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread makes now, and programs that it starts, are on this machine."""
        home = os.open(NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(libc.setns(self._namespace, CLONE_NEWNET))
            yield
        finally:
            _check(libc.setns(home, CLONE_NEWNET))
            os.close(home)

    def set(self, **settings: int | str) -> None:
        """Settings of TCP, by their names below /proc/sys/net/ipv4."""
        with self.entered():
            for name, value in settings.items():
                Path("/proc/sys/net/ipv4", name).write_text(str(value))

    def close(self) -> None:
        os.close(self._namespace)


class Machine(Namespace):
    """A network namespace with one interface, whose other end is a descriptor."""

    def __init__(self, number: int, mtu: int) -> None:
        self.ipv4, self.ipv6 = f"10.99.0.{number}", f"fd99::{number}"
        self._mtu = mtu
        super().__init__()

    def _set_up(self) -> None:
        super()._set_up()
        self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(self.tap, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TAP | IFF_NO_PI))
        self._ip(f"link set wire mtu {self._mtu} up")
        self._ip(f"addr add {self.ipv4}/24 dev wire")
        if self._mtu >= 1280:
            self._ip(f"addr add {self.ipv6}/64 dev wire nodad")

    def address(self, family: int = 4) -> str:
        """An address of this machine at which nobody listens yet."""
        with self.entered():
            return f"[{self.ipv4 if family == 4 else self.ipv6}]:{free_port()}"

    def close(self) -> None:
        super().close()
        os.close(self.tap)


class Link:
    """Two machines, near and far, and the program between them."""

    def __init__(self, mtu: int = 1500, seed: int = 1) -> None:
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            lack("there are no TAP devices")
        self.near, self.far = Machine(1, mtu), Machine(2, mtu)
        self._conditions = Conditions()
        fds = (self.near.tap, self.far.tap)
        self._emulator = subprocess.Popen(
            [sys.executable, "-m", "tests.link.emulator", str(seed), *map(str, fds)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=fds,
        )

    def make(self, **conditions: Any) -> None:
        """From now on the link is like this."""
        self._conditions = Conditions(**conditions)
        self.done()

    def cut(self) -> None:
        self.make(longest=0)

    def mend(self) -> None:
        """Make it a perfect one."""
        self.make()

    def done(self) -> Done:
        """What has been done to frames so far."""
        assert self._emulator.stdin is not None
        assert self._emulator.stdout is not None
        self._emulator.stdin.write(dumps(asdict(self._conditions)).encode() + b"\n")
        self._emulator.stdin.flush()
        return Done(**loads(self._emulator.stdout.readline()))

    def rest(self) -> None:
        """Wait until nothing is under way any more, not even a confirmation."""
        before, done = None, self.done()
        while done != before:
            time.sleep(DELAYED_ACK)
            before, done = done, self.done()

    def close(self) -> None:
        assert self._emulator.stdin is not None
        assert self._emulator.stdout is not None
        self._emulator.stdin.close()
        self._emulator.wait()
        self._emulator.stdout.close()
        self.near.close()
        self.far.close()
