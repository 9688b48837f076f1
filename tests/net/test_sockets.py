"""Making and ending sockets."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from spiped.errors import OperatorError
from spiped.net.address import SocketAddress
from spiped.net.sockets import (
    accept,
    close_gracefully,
    close_with_reset,
    peer_name,
    start_connect,
    take_error,
    tune,
)
from spiped.service.listener import listen
from tests.net.rig import data_of, no_descriptor_leaks, tcp_pair, unix_pair

ANY_PORT = SocketAddress(socket.AF_INET, ("127.0.0.1", 0))


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    with no_descriptor_leaks():
        yield


def unix(path: Path) -> SocketAddress:
    return SocketAddress(socket.AF_UNIX, str(path))


def address_of(sock: socket.socket) -> SocketAddress:
    return SocketAddress(sock.family, sock.getsockname())


def option(sock: socket.socket, level: int, name: int) -> int:
    return sock.getsockopt(level, name)


def is_tuned(sock: socket.socket, keepalive: bool) -> bool:
    linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    return (
        bool(option(sock, socket.SOL_SOCKET, socket.SO_KEEPALIVE)) == keepalive
        and struct.unpack("ii", linger) == (1, 0)
        and (
            sock.family == socket.AF_UNIX
            or option(sock, socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        )
    )


# Listening


@pytest.mark.parametrize("keepalive", [True, False])
def test_both_ends_of_what_we_connect_and_accept_are_ready_for_use(keepalive: bool) -> None:
    """Non-blocking, not inherited by programs, tuned."""
    listener = listen(ANY_PORT, keepalive)
    outgoing = start_connect(address_of(listener.sock), None, keepalive)
    listener.sock.setblocking(True)
    accepted, address = accept(listener.sock, keepalive)
    for sock in (outgoing, accepted):
        assert not sock.getblocking()
        assert not sock.get_inheritable()
        assert is_tuned(sock, keepalive)
    assert peer_name(address) == str(address_of(outgoing))
    assert not listener.sock.get_inheritable()
    for each in (outgoing, accepted, listener):
        each.close()


def test_a_unix_socket_is_removed_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listener = listen(unix(path), keepalive=True)
    assert stat.S_ISSOCK(path.stat().st_mode)
    with start_connect(unix(path), None, keepalive=True):
        accepted, address = accept(listener.sock, keepalive=True)
        assert peer_name(address) == "a local client"
        accepted.close()
    listener.close()
    assert not path.exists()
    listener.close()  # once more harms nobody


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    listen(unix(path), keepalive=True).close()
    assert not path.exists()


@pytest.mark.parametrize("full", [False, True], ids=["idle", "full backlog"])
def test_a_unix_socket_on_which_somebody_listens_is_left_alone(tmp_path: Path, full: bool) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as client:
        alive.bind(str(path))
        alive.listen(0)
        if full:
            client.connect(str(path))
        with pytest.raises(OperatorError) as caught:
            listen(unix(path), keepalive=True)
        reason = os.strerror(errno.EADDRINUSE)
        assert caught.value.lines == (f"Error binding socket: {reason} ({path})",)
        assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")
    with pytest.raises(OperatorError):
        listen(unix(path), keepalive=True)
    assert path.read_text() == "precious"


def test_a_socket_that_has_taken_our_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = listen(unix(path), keepalive=True)
    path.unlink()
    second = listen(unix(path), keepalive=True)
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


def test_a_port_in_use_is_an_operators_error() -> None:
    first = listen(ANY_PORT, keepalive=True)
    with pytest.raises(OperatorError, match="Error binding socket: "):
        listen(address_of(first.sock), keepalive=True)
    first.close()


# Connecting


def test_a_connection_comes_from_the_address_asked_for() -> None:
    listener = listen(ANY_PORT, keepalive=True)
    listener.sock.setblocking(True)
    bind = SocketAddress(socket.AF_INET, ("127.0.0.2", 0))
    outgoing = start_connect(address_of(listener.sock), bind, keepalive=True)
    accepted, address = accept(listener.sock, keepalive=True)
    assert address[0] == "127.0.0.2"
    for each in (outgoing, accepted, listener):
        each.close()


def test_a_unix_connection_comes_from_the_path_asked_for(tmp_path: Path) -> None:
    listener = listen(unix(tmp_path / "socket"), keepalive=True)
    bind = unix(tmp_path / "ours")
    outgoing = start_connect(unix(tmp_path / "socket"), bind, keepalive=True)
    accepted, address = accept(listener.sock, keepalive=True)
    assert address == str(tmp_path / "ours")
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        start_connect(unix(tmp_path / "socket"), bind, keepalive=True)
    for each in (outgoing, accepted, listener):
        each.close()


def test_what_fails_at_once_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start_connect(unix(tmp_path / "missing"), None, keepalive=True)
    wrong_family = SocketAddress(socket.AF_INET6, ("::1", 0, 0, 0))
    for bind in (wrong_family, unix(tmp_path / "ours")):
        with pytest.raises(OSError, match=os.strerror(errno.EAFNOSUPPORT)):
            start_connect(ANY_PORT, bind, keepalive=True)


def test_a_full_backlog_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(path))
        listener.listen(0)
        client.connect(str(path))
        with pytest.raises(BlockingIOError):
            start_connect(unix(path), None, keepalive=True)


# Ending


def test_closing_gracefully_delivers_everything() -> None:
    ours, theirs = tcp_pair()
    tune(ours, keepalive=True, is_unix=False)
    data = data_of(500_000)
    ours.setblocking(False)
    sent = ours.send(data)
    close_gracefully(ours)
    received = b""
    while piece := theirs.recv(65536):
        received += piece
    assert received == data[:sent]
    theirs.close()


@pytest.mark.parametrize("how", ["close", "close_with_reset"])
def test_closing_otherwise_resets(how: str) -> None:
    """Also when nobody says so, as when the process is killed."""
    ours, theirs = tcp_pair()
    if how == "close":
        tune(ours, keepalive=True, is_unix=False)
        ours.close()
    else:
        close_with_reset(ours)
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)
    theirs.close()


def test_a_socket_may_be_closed_twice_and_after_its_peer() -> None:
    for pair in (tcp_pair, unix_pair):
        ours, theirs = pair()
        close_with_reset(theirs)
        tune(ours, keepalive=True, is_unix=pair is unix_pair)
        for close in (close_gracefully, close_with_reset):
            close(ours)


def test_a_pending_error_is_taken_once() -> None:
    ours, theirs = tcp_pair()
    assert take_error(ours) == 0
    close_with_reset(theirs)
    assert take_error(ours) == errno.ECONNRESET
    assert take_error(ours) == 0
    ours.close()
