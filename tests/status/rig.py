"""Clients of the status server, and ways to have one."""

from __future__ import annotations

import http.client
import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spiped.net.address import resolve
from spiped.net.reactor import READ, Reactor
from spiped.observe.facts import Facts
from spiped.observe.view import View
from spiped.service.listener import listen
from spiped.status.page import load
from spiped.status.routes import Routes
from spiped.status.server import Server
from tests.daemons import Peer
from tests.helpers import ROOT
from tests.status.example import Daemon, Scenario, counters_for


class Answer:
    """One response, as a client sees it."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self) -> str:
        return self.body.decode()

    def __eq__(self, other: object) -> bool:
        """All but the date is the same."""
        return isinstance(other, Answer) and self._essence() == other._essence()

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:60]!r}>"

    def _essence(self) -> Any:
        headers = [(name, value) for name, value in self.headers.items() if name != "Date"]
        return self.status, headers, self.body


def read_answer(peer: Peer, method: str = "GET") -> Answer:
    """The next response on a connection on which one request is answered at a time."""
    response = http.client.HTTPResponse(peer.sock, method=method)
    response.begin()
    return Answer(response)


def parse(stream: bytes, *methods: str) -> list[Answer]:
    """The responses in a stream that has ended, to requests with these methods (default: GET)."""

    class Stream(io.BytesIO):
        """What HTTPResponse wants of a socket; not closed by the one who has read enough."""

        def makefile(self, mode: str) -> Stream:
            return self

        def close(self) -> None: ...

    file = Stream(stream)
    answers = []
    wanted = list(methods)
    while file.tell() < len(stream):
        method = wanted.pop(0) if wanted else "GET"
        response = http.client.HTTPResponse(file, method=method)  # type: ignore[arg-type]
        response.begin()
        answers.append(Answer(response))
    return answers


def request(
    target: str = "/ready", *headers: str, method: str = "GET", version: str = "1.1"
) -> bytes:
    """The bytes of a request; a Host is added if none is given."""
    lines = [f"{method} {target} HTTP/{version}", *headers]
    if not any(header.lower().startswith("host:") for header in headers):
        lines.append("Host: localhost")
    return "\r\n".join([*lines, "", ""]).encode()


def ask(address: str, target: str = "/ready", *headers: str, method: str = "GET") -> Answer:
    """Ask once, on a connection of its own."""
    with Peer.connect(address) as peer:
        peer.send(request(target, *headers, "Connection: close", method=method))
        answer = read_answer(peer, method)
        assert peer.read_to_end() == b""
        return answer


def exchange(address: str, sent: bytes) -> list[Answer]:
    """Send all of this, and our end; the answers to it."""
    with Peer.connect(address) as peer:
        return parse(peer.send(sent).finish().read_to_end())


class Status:
    """A status process that `tests.status.serve` has forked."""

    def __init__(self, process: subprocess.Popen[str], pid: int, addresses: list[str]) -> None:
        self.process = process
        self.pid = pid
        self.addresses = addresses
        self.tcp = addresses[0]

    @property
    def port(self) -> int:
        return int(self.tcp.rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def order(self, line: str) -> None:
        """Have the example do something (`tests.status.serve`); it has been done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> tuple[int, str]:
        """End it as a supervisor does; its exit status, and what it has said."""
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        said = self.process.stderr.read()
        return self.process.wait(30), said


@contextmanager
def serving(*addresses: str, **options: Any) -> Iterator[Status]:
    """A status process over an example; options as for `tests.status.serve`."""
    words = [sys.executable, "-m", "tests.status.serve", *addresses]
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        word, pid = process.stdout.readline().split()
        assert word == "ready"
        yield Status(process, int(pid), list(addresses))
    finally:
        assert process.stdin is not None
        if not process.stdin.closed:
            process.stdin.close()
        if process.stderr is not None and not process.stderr.closed:
            sys.stderr.write(process.stderr.read())  # shown if the test has failed
        process.wait(30)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def server(*addresses: str, connections: int = 10) -> Iterator[None]:
    """A server in a thread of this process, for tests that change its limits."""
    listeners = [listen(resolve(address)[0], keepalive=True) for address in addresses]
    scenario = Scenario(connections=connections)
    counters, facts = counters_for(scenario), Facts()
    Daemon(scenario, counters, facts)
    reactor = Reactor()
    routes = Routes(View(counters, facts), load())
    served = Server(reactor, [each.sock for each in listeners], routes)
    ours, theirs = socket.socketpair()
    failed: list[BaseException] = []

    def on_end(events: int) -> None:
        reactor.unwatch(theirs)
        served.stop(reactor.stop)

    def run() -> None:
        try:
            reactor.run()
        except BaseException as error:
            failed.append(error)

    reactor.watch(theirs, READ, on_end)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ours.close()
        thread.join()
        reactor.close()
        theirs.close()
        for listener in listeners:
            listener.close()
        assert failed == []
