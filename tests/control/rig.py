"""A daemon with a control socket, and clients of that."""

from __future__ import annotations

import json
import select
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.daemons import PATIENCE, POLL, Daemon, Stage, ours, wait_until

Answer = dict[str, Any]


class Client:
    """A connection to a control socket, driven by the test."""

    def __init__(self, path: Path | str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(path))
        self._received = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> Client:
        self.sock.sendall(data)
        return self

    def finish(self) -> Client:
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def receive(self) -> Answer | None:
        """The next answer; None at the end."""
        while b"\n" not in self._received:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self._received, "the end is within a line"
                return None
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        assert line.isascii()
        assert line.decode().isprintable()
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def ask(self, request: str) -> Answer:
        answer = self.send(request.encode() + b"\n").receive()
        assert answer is not None, f"no answer to {request}"
        return answer

    def follow(self) -> Client:
        """Ask for events."""
        assert self.ask("events") == {"ok": True}
        return self

    def has_news(self) -> bool:
        """There is something to read."""
        return bool(self._received) or bool(select.select([self.sock], [], [], 0)[0])

    def wait_for(self, event: str) -> Answer:
        """Read events until there is one of this name."""
        while True:
            found = self.receive()
            assert found is not None, f"the end, and no {event}"
            if found.get("event") == event:
                return found


class Controlled:
    """A daemon with a control socket."""

    def __init__(self, daemon: Daemon, path: Path, log: Path) -> None:
        self.daemon = daemon
        self.path = path
        self.log_file = log

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def connect(self) -> Client:
        return Client(self.path)

    def ask(self, request: str) -> Answer:
        with self.connect() as client:
            return client.ask(request)

    def connections(self) -> list[dict[str, Any]]:
        found = self.ask("show connections limit=0")["connections"]
        assert isinstance(found, list)
        return found


def controlled(
    stage: Stage, role: str = "-d", target: str | None = None, *options: str, **how: Any
) -> Controlled:
    """Start a daemon before an echo, or before another target."""
    path, log = stage.directory / "control", stage.directory / "log"
    words = ["--control", str(path), "--log-file", str(log), *options]
    if "--workers" not in options:
        words += ["--workers", "2"]
    daemon = stage.spiped(role, target or stage.echo().address, *words, **how)
    found = Controlled(daemon, path, log)
    wait_until(lambda: found.ask("show")["ready"], "it is ready")
    return found


def ask_again(path: Path, request: str) -> Answer:
    """Ask, across an upgrade."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(AssertionError, OSError), Client(path) as client:
            answer = client.ask(request)
            if answer.get("reason") != "again":
                return answer
        time.sleep(POLL)
    raise AssertionError(f"no answer to {request}")


def ctl(stage: Stage, path: Path | str, *words: str) -> Any:
    """Run `spipedctl` to its end."""
    return stage.run(ours("spipedctl"), "-s", str(path), *words, text=True)
