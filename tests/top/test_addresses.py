"""What `--status` may be, and the one line that is said when nothing useful is there."""

from __future__ import annotations

import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from spiped.errors import OperatorError
from spiped.top.address import read_address
from tests.daemons import Peer, Stage, free_port, ours
from tests.top.server import StatusServer, World, answer

ROOT = Path(__file__).parents[2]


def once(stage: Stage, *words: str) -> subprocess.CompletedProcess[bytes]:
    return stage.run(ours("spiped-top"), "--interval", "0.1", "--plain", "--once", *words)


def refusal(stage: Stage, *words: str) -> str:
    """The one line that it says when it cannot do what it should."""
    result = once(stage, *words)
    assert result.returncode == 1
    assert result.stdout == b""
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


# Addresses


def test_a_server_is_found_at_its_host_and_port(stage: Stage, server: StatusServer) -> None:
    port = server.address.rpartition(":")[2]
    for address in (f"127.0.0.1:{port}", f"[127.0.0.1]:{port}", f"localhost:{port}"):
        assert once(stage, "--status", address).returncode == 0


def test_a_server_is_found_at_a_url_that_a_browser_shows(
    stage: Stage, server: StatusServer
) -> None:
    for path in ("", "/", "/status"):
        assert once(stage, "--status", f"http://{server.option}{path}").returncode == 0


def test_a_server_is_found_at_its_socket(stage: Stage, world: World) -> None:
    server = stage.on_stage(StatusServer(stage.address("unix"), world))
    assert once(stage, "--status", server.address).returncode == 0
    assert once(stage, "--status", f"unix:{server.address}").returncode == 0
    relative = Path(server.address).relative_to(stage.directory)
    assert once(stage, "--status", f"unix:{relative}").returncode == 0


def test_the_variable_stands_in_for_the_option_and_the_option_goes_first(
    stage: Stage, server: StatusServer
) -> None:
    stage.env["SPIPED_STATUS"] = server.option
    assert once(stage).returncode == 0
    stage.env["SPIPED_STATUS"] = "/nowhere"
    assert once(stage, "--status", server.option).returncode == 0
    assert "SPIPED_STATUS /nowhere: there is no such socket" in refusal(stage)


@pytest.mark.parametrize(
    ("given", "variable", "reason"),
    [
        (None, None, "give --status, or set SPIPED_STATUS"),
        (None, "", "give --status, or set SPIPED_STATUS"),
        ("", "/socket", "the address is empty"),
        ("unix:", None, "the path of a socket is missing"),
        ("run/x", None, "a UNIX socket needs an absolute path, or unix:run/x"),
        ("host", None, "not unix:PATH, HOST:PORT or http://HOST:PORT"),
        (":80", None, "not unix:PATH, HOST:PORT or http://HOST:PORT"),
        ("https://host:80", None, "speaks HTTP only"),
        ("http://", None, "not http://HOST:PORT"),
        ("http://host/other", None, "not http://HOST:PORT"),
        ("http://user@host", None, "not http://HOST:PORT"),
        ("ho\x1b[2Jst", None, "ho\\x1b[2Jst"),
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(
    given: str | None, variable: str | None, reason: str
) -> None:
    with pytest.raises(OperatorError) as caught:
        read_address(given, variable)
    assert reason in caught.value.lines[0]


# Nobody, or somebody else


def test_nobody_there_is_one_line(stage: Stage) -> None:
    address = f"127.0.0.1:{free_port()}"
    line = refusal(stage, "--status", address)
    expected = f"--status {address}: nobody listens there (Connection refused)"
    assert line == f"spiped-top: {expected}"


def test_no_socket_there_is_one_line(stage: Stage) -> None:
    assert "there is no such socket" in refusal(stage, "--status", "/nowhere/status")
    assert "path too long" in refusal(stage, "--status", "/" + 200 * "x")


def test_a_socket_that_nobody_listens_at_is_one_line(stage: Stage) -> None:
    path = str(stage.path("socket"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
    assert "nobody listens there" in refusal(stage, "--status", path)


def test_a_name_that_nobody_knows_is_one_line(stage: Stage) -> None:
    assert "name.invalid" in refusal(stage, "--status", "name.invalid:80")


def test_a_server_of_another_protocol_is_one_line(stage: Stage) -> None:
    listener = stage.listener()
    address = listener.address

    def greet() -> None:
        peer: Peer = listener.accept()
        peer.send(b"SSH-2.0-OpenSSH_9.2p1 \x1b[2J\r\n")
        peer.finish()

    greeted = stage.meanwhile(greet)
    assert "no status server of spiped: it does not speak HTTP" in refusal(
        stage, "--status", address
    )
    greeted.result()


def test_a_spiped_itself_is_no_status_server(stage: Stage) -> None:
    echo = stage.echo()
    daemon = stage.spiped("-d", echo.address)
    line = refusal(stage, "--status", daemon.source)
    assert "no status server of spiped: it does not speak HTTP" in line


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [
        (404, b"", "no status server of spiped: it answers 404"),
        (200, b"<html>", "no status server of spiped: its answer is no JSON"),
        (200, b"[]", "no status server of spiped: its answer is another's"),
        (200, b"{}", "no status server of spiped: its answer is another's"),
        (200, b'{"a":' * 100_000, "no status server of spiped: its answer is no JSON"),
        (200, b"\xff\xfe\x00", "no status server of spiped: its answer is no JSON"),
        (503, b"", "the status server answers 503"),
    ],
)
def test_another_web_server_is_one_line(
    stage: Stage, server: StatusServer, world: World, code: int, body: bytes, reason: str
) -> None:
    world.instead = lambda handler: answer(handler, body, code)
    assert reason in refusal(stage, "--status", server.option)


def test_what_another_server_says_cannot_move_the_cursor(
    stage: Stage, server: StatusServer, world: World
) -> None:
    def curse(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 404 \x1b[2J\x1b]0;owned\x07\r\nContent-Length: 0\r\n\r\n")

    world.instead = curse
    line = refusal(stage, "--status", server.option)
    assert line.isprintable()
    assert r"404 \x1b[2J" in line


def test_a_server_that_does_not_answer_is_one_line(stage: Stage) -> None:
    listener = stage.listener()  # the system takes the connection, and nobody its bytes
    assert "no answer within 5 seconds" in refusal(stage, "--status", listener.address)


# The command line


def test_a_column_that_there_is_not_is_refused_with_those_that_there_are(
    stage: Stage, server: StatusServer
) -> None:
    line = refusal(stage, "--status", server.option, "--sort", "speed")
    assert "--sort speed: it is one of id, pipe, key" in line


def test_without_a_terminal_it_says_what_does_without(stage: Stage, server: StatusServer) -> None:
    result = stage.run(ours("spiped-top"), "--status", server.option)
    assert result.returncode == 1
    assert b"is no terminal: use --once or --plain" in result.stderr


WITHOUT_LIBRARY = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from spiped.entry import spiped_top
spiped_top()
"""


def test_without_the_library_it_says_so_and_plain_works(stage: Stage, server: StatusServer) -> None:
    command = [sys.executable, "-ISc", WITHOUT_LIBRARY, "--status", server.option]
    for words in ([], ["--once"]):
        result = stage.run(*command, *words)
        assert result.returncode == 1
        assert result.stderr.count(b"\n") == 1
        assert b"The library rich is missing (pip install 'spiped[top]')" in result.stderr
    result = stage.run(*command, "--interval", "0.1", "--plain", "--once")
    assert result.returncode == 0, result.stderr
