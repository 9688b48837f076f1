"""The pid file: it has the process id of the daemon that serves, and of nobody else."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.daemons import (
    Daemon,
    Program,
    Stage,
    echoes,
    is_echoed,
    is_listening,
    ours,
    wait_until,
    without,
)
from tests.process.programs import write_program
from tests.process.surroundings import privately
from tests.process.test_identity import USER, needs_root

WITHOUT_OVERRIDES = ("dac_override", "dac_read_search")


@pytest.fixture
def pid_file(stage: Stage) -> Path:
    return stage.directory / "pid"


def words(stage: Stage, pid_file: Path | str, *more: str, source: str | None = None) -> list[str]:
    """The arguments of a daemon with this pid file."""
    address = source or stage.address()
    return ["-d", "-s", address, "-t", "[127.0.0.1]:9", "-k", stage.key, "-p", str(pid_file),
            "--workers", "1", *more]  # fmt: skip


def start(stage: Stage, pid_file: Path, *more: str, source: str | None = None) -> Daemon:
    """A daemon with this pid file, which serves."""
    source = source or stage.address()
    stage.run(ours("spiped"), *words(stage, pid_file, *more, source=source), check=True)
    wait_until(lambda: pid_file.read_text().isdigit(), "there is a process id")
    daemon = stage.adopt(pid_file, source)
    wait_until(lambda: daemon.workers, "it has a worker")
    return daemon


def refusal(result: CompletedProcess[str]) -> str:
    """The first line of what a refused start says."""
    assert result.returncode == 1, result.stderr
    first, *rest = result.stderr.splitlines()
    assert rest == ["spiped: Failed to daemonize"]
    return first.removeprefix("spiped: ")


def is_held_by(pid_file: Path, daemon: Program) -> bool:
    return not daemon.is_gone and pid_file.read_text() == str(daemon.pid)


# A second daemon


@pytest.mark.parametrize("more", [[], ["-D"]], ids=["", "waiting for names"])
@pytest.mark.parametrize("same_source", [True, False])
def test_a_second_daemon_with_the_same_pid_file_is_refused(
    stage: Stage, pid_file: Path, more: list[str], same_source: bool
) -> None:
    first = start(stage, pid_file, *more)
    source = first.source if same_source else None
    result = stage.run(ours("spiped"), *words(stage, pid_file, *more, source=source), text=True)
    said = refusal(result)
    assert said == f"Another spiped (process {first.pid}) has this pid file: {pid_file}"
    assert is_held_by(pid_file, first)


def test_of_several_that_start_at_once_one_has_the_pid_file(stage: Stage, pid_file: Path) -> None:
    for _ in range(5):
        starting = [stage.start(ours("spiped"), *words(stage, pid_file, "-D")) for _ in range(6)]
        statuses = sorted(program.wait() for program in starting)
        assert statuses == [0, 1, 1, 1, 1, 1]
        said = "".join(program.said for program in starting)
        assert said.count("has this pid file") == 5
        first = stage.adopt(pid_file)
        assert is_held_by(pid_file, first)
        first.end()
        assert not pid_file.exists()


@pytest.mark.parametrize("content", [b"", b"no number", b"1234"])
def test_a_lock_of_somebody_elses_refuses_the_start(
    stage: Stage, pid_file: Path, content: bytes
) -> None:
    pid_file.write_bytes(content)
    with pid_file.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = refusal(stage.run(ours("spiped"), *words(stage, pid_file), text=True))
    who = f"spiped (process {content.decode()})" if content.isdigit() else "process"
    assert said == f"Another {who} has this pid file: {pid_file}"
    assert pid_file.read_bytes() == content


@pytest.mark.parametrize("identity", [None, pytest.param(USER.pw_name, marks=needs_root)])
def test_what_a_draining_daemon_does_to_its_file_does_not_concern_its_successor(
    stage: Stage, pid_file: Path, identity: str | None
) -> None:
    more = [] if identity is None else ["-u", identity]
    echo = stage.echo()
    source = stage.address()
    arguments = words(stage, pid_file, *more, source=source)
    arguments[arguments.index("-t") + 1] = echo.address
    stage.run(ours("spiped"), *arguments, check=True)
    old = stage.adopt(pid_file, source)
    client = stage.spiped("-e", source)
    with client.connect() as peer:
        assert echoes(peer)
        old.signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(source), "it listens no more")
        assert pid_file.read_text() == str(old.pid)
        stage.run(ours("spiped"), *arguments, check=True)
        new = stage.adopt(pid_file, source)
        assert new.pid != old.pid
        assert echoes(peer)
    old.wait_until_gone()
    assert is_held_by(pid_file, new)
    assert is_echoed(client.source)


# What is there already


def test_a_stale_pid_is_replaced_although_its_process_lives(stage: Stage, pid_file: Path) -> None:
    """It may have been given to another program after a restart of the machine."""
    other = stage.start("sleep", "1000")
    pid_file.write_text(str(other.pid))
    daemon = start(stage, pid_file)
    assert is_held_by(pid_file, daemon)
    assert not other.is_gone


def test_a_file_with_a_second_name_keeps_its_content_under_that(
    stage: Stage, pid_file: Path
) -> None:
    precious = Path(stage.write("precious", b"data"))
    os.link(precious, pid_file)
    daemon = start(stage, pid_file)
    assert is_held_by(pid_file, daemon)
    assert precious.read_bytes() == b"data"


@pytest.mark.parametrize("where", ["file", "nothing", "directory", "itself"])
def test_a_symbolic_link_is_refused_and_not_followed(
    stage: Stage, pid_file: Path, where: str
) -> None:
    precious = Path(stage.write("file", b"data"))
    (stage.directory / "directory").mkdir()
    pid_file.symlink_to(pid_file.name if where == "itself" else where)
    said = refusal(stage.run(ours("spiped"), *words(stage, pid_file), text=True))
    assert said == f"fopen({pid_file}): it is a symbolic link"
    assert pid_file.is_symlink()
    assert precious.read_bytes() == b"data"
    assert not (stage.directory / "nothing").exists()


def test_a_directory_that_is_a_symbolic_link_is_as_good_as_another(stage: Stage) -> None:
    """As /var/run is one to /run."""
    (stage.directory / "run").mkdir()
    (stage.directory / "link").symlink_to("run")
    daemon = start(stage, stage.directory / "link" / "pid")
    assert is_held_by(stage.directory / "run" / "pid", daemon)


def test_a_named_pipe_holds_up_nobody(stage: Stage, pid_file: Path) -> None:
    """Nobody reads it when the daemon starts."""
    os.mkfifo(pid_file)
    source = stage.address()
    stage.run(ours("spiped"), *words(stage, pid_file, source=source), check=True)
    assert is_listening(source)
    reader = os.open(pid_file, os.O_RDONLY | os.O_NONBLOCK)
    daemon = stage.adopt(Path(stage.write("copy", os.read(reader, 32))), source)
    os.close(reader)
    daemon.signal(signal.SIGTERM)
    daemon.wait_until_gone()
    assert pid_file.is_fifo()


def test_a_socket_is_refused_and_stays(stage: Stage, pid_file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(pid_file))
    said = refusal(stage.run(ours("spiped"), *words(stage, pid_file), text=True))
    assert said == f"fopen({pid_file}): it is a named pipe that nobody reads, or a socket"
    assert pid_file.is_socket()


# What there is no way to write to


@pytest.mark.parametrize("inodes", [1, 3], ids=["no room for a file", "no room for its content"])
def test_a_full_disk_is_said_and_leaves_no_file(stage: Stage, pid_file: Path, inodes: int) -> None:
    place = stage.directory / "full"
    place.mkdir()
    script = f'mount -t tmpfs -o size=4k,nr_inodes={inodes} none "$1"\n'
    if inodes > 1:
        script += 'head -c 4096 /dev/zero > "$1/filler"'
    beginning = privately(stage, script, str(place))
    source = stage.address()
    arguments = words(stage, place / "pid", source=source)
    command = [*beginning, "sh", "-c", '"$@"; status=$?; ls "$0"; exit $status', str(place)]
    result = stage.run(*command, ours("spiped"), *arguments, text=True)
    assert refusal(result) == f"fopen({place}/pid): No space left on device"
    assert "pid" not in result.stdout
    assert not is_listening(source)


def test_a_directory_that_may_not_be_written_to(stage: Stage) -> None:
    place = stage.directory / "locked"
    place.mkdir()
    (place / "pid").write_text("1234")
    (place / "pid").chmod(0o666)
    place.chmod(0o555)
    beginning = without(*WITHOUT_OVERRIDES)
    result = stage.run(*beginning, ours("spiped"), *words(stage, place / "pid"), text=True)
    assert refusal(result) == f"fopen({place}/pid): Permission denied"
    assert (place / "pid").read_text() == "1234"


# Its place


def test_a_relative_path_is_that_of_the_directory_in_which_the_daemon_was_started(
    stage: Stage,
) -> None:
    """Also if that has another name by now."""
    place = stage.directory / "place"
    place.mkdir()
    source = stage.address()
    stage.run(ours("spiped"), *words(stage, "pid", source=source), cwd=place, check=True)
    daemon = stage.adopt(place / "pid", source)
    moved = place.rename(stage.directory / "moved")
    daemon.signal(signal.SIGTERM)
    daemon.wait_until_gone()
    assert not (moved / "pid").exists()


# Its end

ENDED_AT_ONCE = """
import os, signal
from spiped.process import pid_file
make = pid_file._make
def make_and_be_ended(path):
    fd = make(path)
    os.kill(os.getpid(), signal.{number})
    return fd
pid_file._make = make_and_be_ended
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_daemon_that_is_ended_as_soon_as_it_has_the_file_takes_it_along(
    stage: Stage, pid_file: Path, number: str
) -> None:
    harm = ENDED_AT_ONCE.format(number=number)
    program = write_program(stage.directory / "spiped", harm=harm)
    source = stage.address()
    stage.run(program, *words(stage, pid_file, source=source))
    wait_until(lambda: not is_listening(source), "it has gone")
    assert not pid_file.exists()
