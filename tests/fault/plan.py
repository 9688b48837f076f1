"""The plan that the interposer follows: which call fails, how, how often, and for whom.

`Plan` is ``struct plan`` of interpose.c, in memory that this process and the daemon's share.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import mmap
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.helpers import lack

SOURCE = Path(__file__).with_name("interpose.c")


class Call(enum.IntEnum):
    """By the name of the system call; several functions of the C library may make one."""

    accept = 1
    socket = 2
    socketpair = 3
    connect = 4
    bind = 5
    getsockname = 6
    setsockopt = 7
    getsockopt = 8
    recv = 9
    send = 10
    shutdown = 11
    close = 12
    ioctl = 13
    fcntl = 14
    epoll_create1 = 15
    epoll_ctl = 16
    epoll_wait = 17
    getrandom = 18
    malloc = 19  # no system call, but it can fail like one


class Where(enum.IntEnum):
    ANYWHERE = 0
    LISTENER = 1
    ACCEPTED = 2  # the connection that the worker has accepted,
    CONNECTED = 3  # and the one that it has made for it
    CHANNEL = 4  # what a worker hears from the supervisor by


class How(enum.IntEnum):
    FAIL = 0
    FAIL_AFTER = 1  # the call is made, and what it gave is lost
    FAIL_DEAD = 2  # the connection is really gone
    SHORT = 3  # the call carries one byte
    PENDING = 4  # SO_ERROR holds the error


class Fault(NamedTuple):
    call: Call
    where: Where
    error: int = 0
    how: How = How.FAIL
    skip: int = 0  # calls that are let through first
    times: int = 1

    def __str__(self) -> str:
        what = "1 byte" if self.how is How.SHORT else errno.errorcode[self.error]
        words = [self.call.name, self.where.name.lower(), self.how.name.lower(), what]
        words += [f"x{self.times}"] if self.times > 1 else []
        words += [f"after {self.skip}"] if self.skip else []
        return " ".join(words)


class Plan(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint32)
        for name in (
            *("epoch", "call", "where", "how", "error", "skip", "times"),
            *("hits", "calls", "started", "buffer"),
        )
    ]


class Interposer:
    """The library, built, and a plan for one daemon that runs with `environment`."""

    def __init__(self, directory: Path) -> None:
        library = build(directory)
        path = directory / "plan"
        path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.plan = Plan.from_buffer(self._map)
        self.environment = {"LD_PRELOAD": str(library), "FAULT_PLAN": str(path)}

    def begin(self, buffer: int = 0) -> None:
        """Connections from now on are those that faults are meant for."""
        self.plan.epoch += 1
        self.plan.buffer = buffer

    def arm(self, fault: Fault) -> None:
        self.plan.hits = 0
        for field in ("where", "how", "error", "skip", "times"):
            setattr(self.plan, field, int(getattr(fault, field)))
        self.plan.call = fault.call  # from here on, it is in force

    def disarm(self) -> int:
        """How often the fault has been injected."""
        self.plan.call = 0
        return int(self.plan.hits)


def build(directory: Path) -> Path:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        lack("there is no C compiler")
    library = directory / "interpose.so"
    flags = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared")
    subprocess.run([compiler, *flags, str(SOURCE), "-o", str(library), "-ldl"], check=True)
    return library
