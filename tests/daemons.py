"""What tests of whole programs share: real daemons, real peers, and an end to all of them.

    def test_a_line_comes_back(stage):
        echo = stage.echo()
        server = stage.spiped("-d", echo.address)
        client = stage.spiped("-e", server.source, program=theirs("spiped"))
        with client.connect() as peer:
            peer.send(b"hello").finish()
            assert peer.read_to_end() == b"hello"

Addresses are written as for `spiped`: "[127.0.0.1]:port" or "/path".  Whatever a stage has started
it ends after the test, and shows what was said on stderr if the test failed.
"""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.helpers import lack

PATIENCE = 30.0  # seconds after which what should have happened counts as missing
POLL = 0.005  # seconds between two looks

KEY = bytes(range(32))

# Below the ports that the system gives to outgoing connections, so that none of those takes one
# between our looking and its being used.
PORTS = range(20000, 32000)

PORT_CHOICE = random.SystemRandom()


# Programs


def needs(program: str) -> str:
    """The path of a program, or the end of the test, which cannot do without."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        lack(f"{program} is not installed")
    return path


def ours(program: str) -> str:
    """The path of our `spiped` or `spipe`, as installed beside this Python."""
    path = Path(sysconfig.get_path("scripts")) / program
    assert path.exists(), f"{path} is missing: install this project first"
    return str(path)


def theirs(program: str) -> str:
    """The path of the system's `spiped` or `spipe`, the one written in C."""
    return needs(f"/usr/bin/{program}")


def without(*capabilities: str) -> list[str]:
    """The beginning of a command that runs without these privileges, even if we are root."""
    if os.geteuid() != 0:
        return []
    dropped = ",".join(f"-{capability}" for capability in capabilities)
    return [needs("setpriv"), f"--bounding-set={dropped}", "--"]


# Waiting


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Look until the condition holds; returns its value."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(POLL)
    return value


def is_listening(address: str) -> bool:
    """Somebody listens there.  Looks without connecting, which the listener would notice."""
    if address.startswith("/"):
        rows = Path("/proc/net/unix").read_text().splitlines()
        return any(row.split()[3] == "00010000" and row.endswith(f" {address}") for row in rows[1:])
    # the local port, no remote address, and the number of the state in which sockets listen
    row = re.compile(f":{int(address.rpartition(':')[2]):04X} 0+:0000 0A ")
    tables = filter(os.path.exists, ("/proc/net/tcp", "/proc/net/tcp6"))
    return any(row.search(Path(table).read_text()) for table in tables)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def family_of(pid: int) -> set[int]:
    """A process and all its descendants, those that there are."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return {pid, *(child.pid for child in process.children(recursive=True))}
    return set()


def is_status(pid: int) -> bool:
    """A child of a daemon is the one that tells the status."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).name() == "spiped: status"
    return False


@contextmanager
def asleep(pids: set[int]) -> Iterator[None]:
    """These processes do nothing meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for pid in pids:
            wait_until(
                lambda pid=pid: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "it sleeps"
            )
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


# Sockets


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    while True:
        port = PORT_CHOICE.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _socket_for(address: str) -> tuple[socket.socket, Any]:
    if address.startswith("/"):
        return socket.socket(socket.AF_UNIX), address
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.count(":") > 1 else socket.AF_INET
    return socket.socket(family), (host.strip("[]"), int(port))


class Peer:
    """One end of a connection, driven by the test."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)

    @classmethod
    def connect(cls, address: str) -> Peer:
        sock, sockaddr = _socket_for(address)
        peer = cls(sock)
        sock.connect(sockaddr)
        return peer

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, data: bytes) -> Peer:
        self.sock.sendall(data)
        return self

    def finish(self) -> Peer:
        """End our direction; the other one goes on."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # reset already, as reading will tell
                raise
        return self

    def receive(self, count: int) -> bytes:
        """Exactly that many bytes."""
        data = bytearray()
        while len(data) < count:
            piece = self.sock.recv(min(count - len(data), 1 << 18))
            assert piece, f"the stream ended after {len(data)} of {count} bytes"
            data += piece
        return bytes(data)

    def read_all(self) -> tuple[bytes, bool]:
        """Everything that comes, and whether a clean end was behind it, or else a reset."""
        data = bytearray()
        try:
            while piece := self.sock.recv(1 << 18):
                data += piece
        except ConnectionResetError:
            return bytes(data), False
        return bytes(data), True

    def read_to_end(self) -> bytes:
        """Everything that comes; a clean end must be behind it."""
        data, clean = self.read_all()
        assert clean, f"a reset, not a clean end, after {len(data)} bytes: {data[:64]!r}"
        return data

    def read_to_reset(self) -> bytes:
        """Everything that comes; a reset must be behind it."""
        data, clean = self.read_all()
        assert not clean, f"a clean end, not a reset, after {len(data)} bytes: {data[:64]!r}"
        return data

    def has_news(self) -> bool:
        """There is something to read, or the stream has ended."""
        self.sock.setblocking(False)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        finally:
            self.sock.settimeout(PATIENCE)
        return True

    def reset(self) -> None:
        """Close, and let the other end see a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


def echoes(peer: Peer, text: bytes = b"are you there?") -> bool:
    """What we send comes back."""
    return peer.send(text).receive(len(text)) == text


def is_echoed(address: str, text: bytes = b"are you there?") -> bool:
    """A new connection there brings back what is sent on it, and the end too."""
    try:
        with Peer.connect(address) as peer:
            return peer.send(text).finish().read_all() == (text, True)
    except (ConnectionResetError, BrokenPipeError):
        return False


def nothing_comes_back(address: str, data: bytes = b"") -> bool:
    """A connection there, on which data is sent, ends without an answer: cleanly or by a reset."""
    try:
        with Peer.connect(address) as peer:
            return peer.send(data).read_all()[0] == b""
    except (ConnectionResetError, BrokenPipeError):
        return True


class Listener:
    """A target whose connections the test accepts and drives itself."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sock, sockaddr = _socket_for(address)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(sockaddr)
        self.sock.listen(128)
        self.sock.settimeout(PATIENCE)

    def accept(self) -> Peer:
        return Peer(self.sock.accept()[0])

    def nobody_came(self) -> bool:
        """No connection is waiting to be accepted."""
        self.sock.setblocking(False)
        try:
            self.sock.accept()[0].close()
        except BlockingIOError:
            return True
        finally:
            self.sock.settimeout(PATIENCE)
        return False

    def close(self) -> None:
        self.sock.close()


class Echo(Listener):
    """A target that returns what it gets, and the end too; one thread for each connection."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.sock.settimeout(None)
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                peer = self.accept()
                self.connections += 1
                threading.Thread(target=self.converse, args=(peer,), daemon=True).start()

    def converse(self, peer: Peer) -> None:
        """What becomes of one connection."""
        peer.sock.settimeout(None)
        with peer, suppress(OSError):
            while data := peer.sock.recv(1 << 16):
                peer.send(data)
            peer.finish()

    def close(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread
        super().close()


# Daemons


class Program:
    """A program that is running, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes] | None, pid: int, stderr: Path) -> None:
        """``process`` is None if it is not our child."""
        self.process = process
        self.pid = pid
        self._stderr = stderr

    @property
    def said(self) -> str:
        """What has been written to stderr so far."""
        return self._stderr.read_text(errors="replace") if self._stderr.exists() else ""

    def wait_to_say(self, text: str) -> None:
        wait_until(lambda: text in self.said, f"it says {text!r}")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit status of a child of ours; negative if a signal ended it."""
        assert self.process is not None
        return self.process.wait(PATIENCE)

    @property
    def is_gone(self) -> bool:
        if self.process is not None:
            self.process.poll()
        return is_gone(self.pid)

    def end(self) -> None:
        """End it, with SIGTERM again and again, and see that nothing remains of it."""
        family = family_of(self.pid)

        def over() -> bool:
            if not self.is_gone:
                self.signal(signal.SIGTERM)
            return all(map(is_gone, family))

        try:
            wait_until(over, f"process {self.pid} and all that came of it are gone")
        finally:
            for pid in filter(lambda pid: not is_gone(pid), family):
                os.kill(pid, signal.SIGKILL)
            if self.process is not None:
                self.process.wait(PATIENCE)


class Daemon(Program):
    """A `spiped`, in the foreground or not."""

    def __init__(
        self,
        process: subprocess.Popen[bytes] | None,
        pid: int,
        stderr: Path,
        source: str,
        pid_file: Path | None = None,
    ) -> None:
        super().__init__(process, pid, stderr)
        self.source = source
        self.pid_file = pid_file

    def connect(self) -> Peer:
        return Peer.connect(self.source)

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers that there are now."""
        children = family_of(self.pid) - {self.pid}
        return sorted(pid for pid in children if not is_gone(pid) and not is_status(pid))

    def wait_until_gone(self) -> None:
        wait_until(lambda: self.is_gone, "the daemon is gone")


class Stage:
    """Where one test takes place: starts what it needs, and clears everything away."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env: dict[str, str] = {}  # for all programs, in addition to ours
        self.key = self.write("key", KEY)
        self._programs: list[tuple[Program, list[str]]] = []
        self._listeners: list[Listener] = []
        self._executor: ThreadPoolExecutor | None = None
        self._names = 0

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def write(self, name: str, content: bytes) -> str:
        """A file with this content."""
        path = self.directory / name
        path.write_bytes(content)
        path.chmod(0o600)  # it may be a key
        return str(path)

    def path(self, suffix: str) -> Path:
        """A path where nothing is yet."""
        self._names += 1
        return self.directory / f"{self._names}.{suffix}"

    def address(self, transport: str = "tcp") -> str:
        """An address at which nobody listens yet; transport: tcp, tcp6 or unix."""
        if transport == "unix":
            return str(self.path("sock"))
        return f"[{'::1' if transport == 'tcp6' else '127.0.0.1'}]:{free_port()}"

    def listener(self, transport: str = "tcp") -> Listener:
        return self.on_stage(Listener(self.address(transport)))

    def echo(self, transport: str = "tcp") -> Echo:
        return self.on_stage(Echo(self.address(transport)))

    def on_stage(self, listener: Any) -> Any:
        """Close a listener after the test."""
        self._listeners.append(listener)
        return listener

    def spiped(
        self,
        role: str,
        target: str,
        *options: str,
        source: str | None = None,
        key: str | None = None,
        program: str | None = None,
        background: bool = False,
        beginning: Sequence[str] = (),
        **how: Any,
    ) -> Daemon:
        """A `spiped` that listens: ours unless ``program`` is another's; a daemon if asked to.

        ``beginning``: the words of a command that starts it.  ``how``: as for Popen.
        """
        source = source or self.address("unix" if target.startswith("/") else "tcp")
        words = [*beginning, program or ours("spiped"), role, "-s", source, "-t", target]
        words += ["-k", key or self.key, *options]
        pid_file = self.path("pid") if background else None
        words += ["-F"] if pid_file is None else ["-p", str(pid_file)]
        process, stderr = self._start(words, **how)
        try:
            if pid_file is not None:
                assert process.wait(PATIENCE) == 0, "it did not become a daemon"
            else:
                # ours takes signals when it has a worker as well
                is_ours = words[len(beginning)] == ours("spiped")
                wait_until(
                    lambda: (
                        process.poll() is not None
                        or (
                            (not is_ours or family_of(process.pid) > {process.pid})
                            and is_listening(source)
                        )
                    ),
                    "it listens",
                )
                assert process.poll() is None, "it ended at once"
        except BaseException:
            sys.stderr.write(stderr.read_text(errors="replace"))
            process.kill()
            process.wait()
            raise
        if pid_file is not None:
            return self.adopt(pid_file, source, stderr)
        daemon = Daemon(process, process.pid, stderr, source)
        self._programs.append((daemon, words))
        return daemon

    def adopt(self, pid_file: Path, source: str = "", stderr: Path | None = None) -> Daemon:
        """The daemon that has written this pid file, which the test has started by itself."""
        pid = int(pid_file.read_text())
        daemon = Daemon(None, pid, stderr or self.path("stderr"), source, pid_file)
        self._programs.append((daemon, psutil.Process(pid).cmdline()))
        return daemon

    def start(self, *words: str, **how: Any) -> Program:
        """Any other program; ``how``: as for Popen."""
        process, stderr = self._start(words, **how)
        program = Program(process, process.pid, stderr)
        self._programs.append((program, list(words)))
        return program

    def _start(self, words: Sequence[str], **options: Any) -> tuple[subprocess.Popen[bytes], Path]:
        stderr = self.path("stderr")
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | options
        with stderr.open("wb") as file:
            process = subprocess.Popen(
                words,
                env={**os.environ, **self.env},
                **{"cwd": self.directory, "stderr": file} | options,
            )
        return process, stderr

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, without input unless ``options``, as for run(), have some."""
        if not {"input", "stdin"} & options.keys():
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(
            words,
            env={**os.environ, **self.env},
            **{"cwd": self.directory, "capture_output": True, "timeout": PATIENCE} | options,
        )

    def meanwhile(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function in a thread; the future's result() joins it."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=64)
        return self._executor.submit(function, *arguments)

    def clear(self) -> None:
        """End and close everything."""
        for listener in self._listeners:
            listener.close()
        for program, words in reversed(self._programs):
            print(f"{' '.join(words)}: on stderr:\n{program.said}", file=sys.stderr)
            program.end()
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as stage:
        yield stage
