"""Reaching the target: several addresses, one time limit, every way to fail."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from spiped.net.address import SocketAddress
from spiped.net.connect import Connector
from spiped.net.ending import Cause, Ending
from spiped.net.pipe import Pipe
from spiped.net.reactor import Reactor
from spiped.proto.handshake import Role
from tests.net.rig import K, no_descriptor_leaks
from tests.net.test_reactor import run_until, turns

LONG = 3600.0  # seconds: what is waited for must not be a time limit
REFUSED = os.strerror(errno.ECONNREFUSED)


class Attempt:
    """A connector, and what has come of it."""

    def __init__(
        self,
        reactor: Reactor,
        targets: list[SocketAddress],
        timeout: float = LONG,
        bind: SocketAddress | None = None,
    ) -> None:
        self.sock: socket.socket | None = None
        self.failure: Ending | None = None
        pipe = Pipe(Role.C, K, targets, bind=bind, timeout=timeout)
        self.connector = Connector(reactor, pipe, self._on_connected, self._on_failed)
        targets.clear()  # what is in there when it starts is what counts
        self.connector.start()
        assert not self.over

    def _on_connected(self, sock: socket.socket) -> None:
        assert not self.over
        self.sock = sock

    def _on_failed(self, failure: Ending) -> None:
        assert not self.over
        self.failure = failure

    @property
    def over(self) -> bool:
        return self.sock is not None or self.failure is not None


class Network:
    """Targets of every kind, and a reactor."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.reactor = Reactor()

    def listener(self, backlog: int = 16) -> tuple[socket.socket, SocketAddress]:
        sock = self._stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        sock.listen(backlog)
        return sock, SocketAddress(sock.family, sock.getsockname())

    def unix_listener(self, path: Path, backlog: int) -> tuple[socket.socket, SocketAddress]:
        sock = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        sock.bind(str(path))
        sock.listen(backlog)
        return sock, SocketAddress(socket.AF_UNIX, str(path))

    def refusing(self) -> SocketAddress:
        """Nobody listens there, and nobody else may."""
        sock = self._stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        return SocketAddress(sock.family, sock.getsockname())

    def silent(self) -> SocketAddress:
        """Whoever connects to it hears nothing: its backlog is full."""
        _, address = self.listener(backlog=0)
        while True:
            client = self._stack.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect(address.sockaddr)
            except TimeoutError:
                return address

    def fill(self, address: SocketAddress) -> list[socket.socket]:
        """Fill a UNIX listener's backlog."""
        clients = []
        while True:
            client = self._stack.enter_context(socket.socket(address.family))
            client.setblocking(False)
            try:
                client.connect(address.sockaddr)
            except BlockingIOError:
                return clients
            clients.append(client)

    def attempt(self, *targets: SocketAddress, **options: object) -> Attempt:
        attempt = Attempt(self.reactor, list(targets), **options)  # type: ignore[arg-type]
        self._stack.callback(lambda: attempt.sock and attempt.sock.close())
        return attempt

    def wait_for(self, attempt: Attempt) -> Attempt:
        run_until(self.reactor, lambda: attempt.over)
        return attempt


@pytest.fixture
def network() -> Iterator[Network]:
    with no_descriptor_leaks(), ExitStack() as stack:
        network = Network(stack)
        stack.callback(network.reactor.close)
        yield network


def test_a_target_is_reached(network: Network) -> None:
    listener, address = network.listener()
    attempt = network.wait_for(network.attempt(address))
    assert attempt.sock is not None
    accepted, peer = listener.accept()
    accepted.close()
    assert attempt.sock.getsockname() == peer
    attempt.connector.cancel()  # too late, and harmless
    assert attempt.sock.fileno() >= 0


def test_a_unix_target_is_reached(network: Network, tmp_path: Path) -> None:
    _, address = network.unix_listener(tmp_path / "socket", 16)
    assert network.wait_for(network.attempt(address)).sock is not None


def test_a_refusal_is_reported_with_its_address(network: Network) -> None:
    address = network.refusing()
    attempt = network.wait_for(network.attempt(address))
    assert attempt.failure == (Cause.CONNECT, f"{address}: {REFUSED}", 0, 0)


def test_a_missing_unix_target_is_reported(network: Network, tmp_path: Path) -> None:
    address = SocketAddress(socket.AF_UNIX, str(tmp_path / "missing"))
    attempt = network.wait_for(network.attempt(address))
    reason = os.strerror(errno.ENOENT)
    assert attempt.failure == (Cause.CONNECT, f"{address}: {reason}", 0, 0)


def test_the_next_address_is_tried_when_one_refuses(network: Network) -> None:
    listener, address = network.listener()
    attempt = network.wait_for(network.attempt(network.refusing(), network.refusing(), address))
    assert attempt.sock is not None
    assert attempt.sock.getpeername() == listener.getsockname()


def test_the_first_address_that_answers_is_taken(network: Network) -> None:
    first, address = network.listener()
    second, other = network.listener()
    attempt = network.wait_for(network.attempt(address, other))
    assert attempt.sock is not None
    assert attempt.sock.getpeername() == first.getsockname()
    second.setblocking(False)
    with pytest.raises(BlockingIOError):
        second.accept()


def test_the_last_failure_is_the_one_that_is_reported(network: Network, tmp_path: Path) -> None:
    last = network.refusing()
    missing = SocketAddress(socket.AF_UNIX, str(tmp_path / "missing"))
    attempt = network.wait_for(network.attempt(missing, last))
    assert attempt.failure == (Cause.CONNECT, f"{last}: {REFUSED}", 0, 0)


def test_a_silent_address_does_not_hide_the_next(network: Network) -> None:
    """It gets its share of the time, and no more."""
    silent = network.silent()
    listener, address = network.listener()
    attempt = network.wait_for(network.attempt(silent, address, timeout=0.5))
    assert attempt.failure is None
    assert attempt.sock is not None
    assert attempt.sock.getpeername() == listener.getsockname()


@pytest.mark.parametrize("timeout", [0.0, 1e-9, 1e-300])
def test_a_time_limit_that_is_over_at_once_is_not_told_from_within_start(
    network: Network, timeout: float
) -> None:
    attempt = network.attempt(network.refusing(), timeout=timeout)  # which looks at that
    network.wait_for(attempt)
    assert attempt.failure is not None
    assert attempt.failure.cause is Cause.CONNECT_TIMEOUT


def test_the_time_is_up_when_nobody_answers(network: Network) -> None:
    silent = network.silent()
    attempt = network.wait_for(network.attempt(silent, silent, timeout=0.1))
    assert attempt.failure == (Cause.CONNECT_TIMEOUT, str(silent), 0, 0)


def test_without_a_limit_there_is_no_hurry(network: Network) -> None:
    listener, address = network.listener()
    attempt = network.wait_for(network.attempt(network.refusing(), address, timeout=float("inf")))
    assert attempt.sock is not None
    assert attempt.sock.getpeername() == listener.getsockname()


def test_a_full_unix_backlog_is_tried_again_until_there_is_room(
    network: Network, tmp_path: Path
) -> None:
    listener, address = network.unix_listener(tmp_path / "socket", 0)
    network.fill(address)
    attempt = network.attempt(address)
    turns(network.reactor, 10)
    assert not attempt.over
    listener.accept()[0].close()
    assert network.wait_for(attempt).sock is not None


def test_a_full_unix_backlog_is_tried_again_until_the_time_is_up(
    network: Network, tmp_path: Path
) -> None:
    _, address = network.unix_listener(tmp_path / "socket", 0)
    network.fill(address)
    attempt = network.wait_for(network.attempt(address, timeout=0.1))
    assert attempt.failure == (Cause.CONNECT_TIMEOUT, str(address), 0, 0)


def test_the_connection_comes_from_where_it_is_asked_to(network: Network) -> None:
    _, address = network.listener()
    bind = SocketAddress(socket.AF_INET, ("127.0.0.2", 0))
    attempt = network.wait_for(network.attempt(address, bind=bind))
    assert attempt.sock is not None
    assert attempt.sock.getsockname()[0] == "127.0.0.2"


def test_a_place_that_is_taken_fails_the_attempt(network: Network) -> None:
    """With a port of one's own, there is one connection to a target at a time."""
    _, address = network.listener()
    bind = network.refusing()._replace(sockaddr=("127.0.0.2", network.refusing().sockaddr[1]))
    first = network.wait_for(network.attempt(address, bind=bind))
    assert first.sock is not None
    second = network.wait_for(network.attempt(address, bind=bind))
    assert second.failure is not None
    assert second.failure.cause is Cause.CONNECT


def test_the_wrong_kind_of_place_fails_the_attempt(network: Network) -> None:
    _, address = network.listener()
    bind = SocketAddress(socket.AF_INET6, ("::1", 0, 0, 0))
    attempt = network.wait_for(network.attempt(address, bind=bind))
    assert attempt.failure is not None
    assert attempt.failure.cause is Cause.CONNECT


@pytest.mark.parametrize("kind", ["reachable", "refusing", "silent", "full"])
def test_a_cancelled_attempt_calls_nobody_back(network: Network, tmp_path: Path, kind: str) -> None:
    address = {
        "reachable": lambda: network.listener()[1],
        "refusing": network.refusing,
        "silent": network.silent,
        "full": lambda: network.unix_listener(tmp_path / "socket", 0)[1],
    }[kind]()
    if kind == "full":
        network.fill(address)
    attempt = network.attempt(address, timeout=0.05)
    attempt.connector.cancel()
    attempt.connector.cancel()
    network.reactor.call_later(0.1, network.reactor.stop)
    network.reactor.run()
    assert not attempt.over
