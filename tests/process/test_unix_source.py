"""A UNIX source: of all who want a path, one listens there, and its file is its own."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.daemons import (
    Stage,
    is_echoed,
    is_listening,
    ours,
    wait_until,
    without,
)
from tests.process.programs import write_program
from tests.process.test_pid_file import WITHOUT_OVERRIDES

STARTERS = 5


def words(stage: Stage, source: str | Path, *more: str) -> list[str]:
    return [
        "-d",
        "-s",
        str(source),
        "-t",
        "[127.0.0.1]:9",
        "-k",
        stage.key,
        "--workers",
        "1",
        *more,
    ]


def make_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


# Whoever starts sees at the same moment as the others what is there.
TOGETHER = """
import os, time
from spiped.service import listener
remove_stale = listener._remove_stale
def remove_later(path):
    remove_stale(path)
    time.sleep(0.05)
listener._remove_stale = remove_later
"""


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("names", ["one name", "two names"])
def test_of_several_that_start_at_once_one_listens(stage: Stage, stale: bool, names: str) -> None:
    """Also if they know the directory by different names."""
    program = write_program(stage.directory / "spiped", harm=TOGETHER)
    (stage.directory / "place").mkdir()
    (stage.directory / "link").symlink_to("place")
    path = stage.directory / "place" / "sock"
    if stale:
        make_stale(path)
    sources = [path, path if names == "one name" else stage.directory / "link" / "sock"]
    starting = []
    for number in range(STARTERS):
        pid_file = stage.directory / f"{number}.pid"
        command = (program, *words(stage, sources[number % 2], "-p", str(pid_file)))
        starting.append((stage.start(*command), pid_file))
    statuses = [starter.wait() for starter, _ in starting]
    assert sorted(statuses) == [0, 1, 1, 1, 1]
    for starter, pid_file in starting:
        if starter.wait() == 0:
            daemon = stage.adopt(pid_file, str(path))
        else:
            assert "Error binding socket: Address already in use" in starter.said
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    daemon.signal(signal.SIGTERM)
    daemon.wait_until_gone()
    assert not path.exists()


def test_somebody_who_keeps_the_directory_locked_delays_the_start_and_no_more(
    stage: Stage,
) -> None:
    source = stage.directory / "sock"
    make_stale(source)
    directory = os.open(stage.directory, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    try:
        server = stage.spiped("-d", stage.echo().address, source=str(source))
        client = stage.spiped("-e", server.source)
        assert is_echoed(client.source)
    finally:
        os.close(directory)


def test_a_directory_that_cannot_be_read_is_as_good_as_another(stage: Stage) -> None:
    place = stage.directory / "place"
    place.mkdir(mode=0o333)
    beginning = without(*WITHOUT_OVERRIDES)
    server = stage.spiped(
        "-d", stage.echo().address, source=str(place / "sock"), beginning=beginning
    )
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source)


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_a_path_at_which_somebody_else_waits_is_left_alone(stage: Stage, kind: str) -> None:
    path = stage.directory / "sock"
    sort = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM}[kind]
    with socket.socket(socket.AF_UNIX, sort) as other:
        other.bind(str(path))
        if kind == "stream":
            other.listen(0)
            for _ in range(2):  # so that its backlog is full
                client = socket.socket(socket.AF_UNIX)
                client.setblocking(False)
                client.connect_ex(str(path))
        made = path.lstat()
        result = stage.run(ours("spiped"), *words(stage, path, "-F"), text=True)
        assert result.returncode == 1
        assert f"Error binding socket: Address already in use ({path})" in result.stderr
        assert os.path.samestat(path.lstat(), made)


def test_a_symbolic_link_to_a_stale_socket_is_no_socket(stage: Stage) -> None:
    """What it names may be anybody's."""
    make_stale(stage.directory / "stale")
    path = stage.directory / "sock"
    path.symlink_to("stale")
    result = stage.run(ours("spiped"), *words(stage, path, "-F"), text=True)
    assert result.returncode == 1
    assert (stage.directory / "stale").is_socket()
    assert path.is_symlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_command_that_waits_does_not_remove_the_socket_of_a_daemon_that_serves(
    stage: Stage, number: int
) -> None:
    """Of another daemon: the one that starts is ended with its command, and takes its own along."""
    first = stage.spiped("-d", stage.echo().address, source=stage.address("unix"))
    client = stage.spiped("-e", first.source)
    slow = "import time\nfrom spiped.service import start\nstart.Start.on_ready = lambda self: None"
    program = write_program(stage.directory / "spiped", harm=slow)
    source = stage.address("unix")
    starting = stage.start(program, *words(stage, source))
    wait_until(lambda: is_listening(source), "it listens")
    starting.signal(number)
    assert starting.wait() == -number
    wait_until(lambda: not Path(source).exists(), "its socket is gone")
    assert is_echoed(client.source)
