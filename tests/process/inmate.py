"""A program whose children enter the sandbox as a worker does, and try one thing each in it.

    python -m tests.process.inmate BACKEND

It prints, as JSON, what came of each attempt.  What they need (sockets, files) is there before they
enter.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import importlib
import json
import mmap
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from spiped.net.address import SocketAddress
from spiped.net.sockets import accept, start_connect, tune
from spiped.plane.pipe_settings import PipeSettings
from spiped.proto.terms import Role
from spiped.sandbox import Sandbox

Attempt = Callable[[], Any]

libc = ctypes.CDLL(None, use_errno=True)

PTRACE_TRACEME = 0
PR_SET_DUMPABLE = 4
PROT_RWX = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
X86_64 = platform.machine() == "x86_64"
GETPPID_X32 = 0x40000000 | 110
NOT_YET_A_CALL = 4000


def check(status: int | None) -> None:
    """Raise what a function of the C library has refused."""
    if status in (-1, None):
        raise OSError(ctypes.get_errno(), "refused")


def listener() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


# Where connections of a worker may go
TARGET = listener()
ELSEWHERE = listener()
LOCAL = socket.socket(socket.AF_UNIX)
LOCAL_PATH = f"{os.getcwd()}/local"
LOCAL.bind(LOCAL_PATH)
LOCAL.listen()
FILE = os.open("file", os.O_RDWR | os.O_CREAT)
PAGE = mmap.mmap(-1, mmap.PAGESIZE)
PAGE_ADDRESS = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(PAGE)))


def tcp(sock: socket.socket) -> SocketAddress:
    return SocketAddress(socket.AF_INET, sock.getsockname())


UNIX = SocketAddress(socket.AF_UNIX, LOCAL_PATH)
ANY = SocketAddress(socket.AF_INET, ("127.0.0.1", 0))


def connect(address: SocketAddress, bind: SocketAddress | None = None) -> None:
    with start_connect(address, bind, keepalive=True) as sock:
        sock.setblocking(True)
        sock.getpeername()


def accept_one() -> None:
    TARGET.setblocking(False)
    with start_connect(tcp(TARGET), None, keepalive=True):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                accepted, _ = accept(TARGET, keepalive=True)
            except BlockingIOError:
                continue
            tune(accepted, keepalive=True, is_unix=False)
            accepted.close()
            return


def send_a_datagram() -> None:
    TARGET.sendto(b"x", ("127.0.0.1", 9))


def count_up_under_a_lock() -> None:
    fcntl.lockf(FILE, fcntl.LOCK_EX)
    fcntl.lockf(FILE, fcntl.LOCK_UN)


def fail_loudly() -> None:
    try:
        raise RuntimeError("what has happened")
    except RuntimeError:
        sys.excepthook(*sys.exc_info())


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def send_a_signal() -> None:
    os.kill(os.getppid(), signal.SIGWINCH)


def gain_memory() -> None:
    assert len(bytearray(64 << 20)) == 64 << 20


ATTEMPTS: dict[str, Attempt] = {
    # what a worker does
    "accept": accept_one,
    "connect to the target": lambda: connect(tcp(TARGET)),
    "write to an open file": lambda: os.write(FILE, b"x"),
    "lock": count_up_under_a_lock,
    "allocate": gain_memory,
    "draw randomness": lambda: os.urandom(32),
    "sleep": lambda: time.sleep(0.001),
    "tell the time": lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    "print a traceback": fail_loudly,
    "raise a signal": lambda: signal.raise_signal(signal.SIGWINCH),
    # what it does not
    "open a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "make a file": lambda: os.open("new", os.O_WRONLY | os.O_CREAT),
    "list a directory": lambda: os.listdir("/"),
    "remove a file": lambda: os.unlink("file"),
    "execute": lambda: os.execv("/bin/true", ["true"]),
    "fork": fork,
    "trace": lambda: check(libc.ptrace(PTRACE_TRACEME, 0, 0, 0)),
    "send a signal": send_a_signal,
    "change identity": lambda: os.setuid(os.getuid()),
    "allow dumps": lambda: check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)),
    "make memory executable": lambda: check(libc.mprotect(PAGE_ADDRESS, len(PAGE), PROT_RWX)),
    "map executable memory": lambda: mmap.mmap(-1, mmap.PAGESIZE, prot=PROT_RWX),
    "make a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "make a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "make a datagram socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "make a UNIX socket": lambda: socket.socket(socket.AF_UNIX),
    "connect elsewhere": lambda: connect(tcp(ELSEWHERE)),
    "bind": lambda: connect(tcp(TARGET), ANY),
    "listen": lambda: TARGET.listen(),
    "send a datagram": send_a_datagram,
    "set another socket option": lambda: TARGET.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
    ),
    "use the calls of x32": lambda: check(libc.syscall(GETPPID_X32)),
    "use a call of the future": lambda: check(libc.syscall(NOT_YET_A_CALL)),
    # what only some do
    "connect to a UNIX target": lambda: connect(UNIX),
    "connect from an address": lambda: connect(tcp(TARGET), ANY),
}


def enter(backend: str, attempt: str) -> None:
    crypto = importlib.import_module(f"spiped.crypto.{backend}")
    target = UNIX if attempt == "connect to a UNIX target" else tcp(TARGET)
    bind = ANY if attempt == "connect from an address" else None
    pipe = PipeSettings(Role.S, bytearray(32), [target], bind=bind)
    sandbox = Sandbox(crypto)
    sandbox.give_up_gaining()
    sandbox.enter(pipe)


def outcome(backend: str, attempt: str) -> str:
    """What comes of an attempt, in a process of its own: "done", an error, or its end."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writable, sys.stderr.fileno())
        enter(backend, attempt)
        try:
            ATTEMPTS[attempt]()
        except OSError as error:
            os.write(writable, errno.errorcode[error.errno or 0].encode())
        else:
            os.write(writable, b"done")
        os._exit(0)
    os.close(writable)
    with open(readable) as said:
        text = said.read()
    _, status = os.waitpid(pid, 0)
    return f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else text


if __name__ == "__main__":
    signal.signal(signal.SIGWINCH, signal.SIG_IGN)
    print(json.dumps({attempt: outcome(sys.argv[1], attempt) for attempt in ATTEMPTS}))
