"""Log files that are renamed, removed, full or no files at all; and what is always in them."""

from __future__ import annotations

import os
import signal
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.daemons import (
    KEY,
    Daemon,
    Peer,
    Stage,
    echoes,
    is_echoed,
    is_listening,
    ours,
    wait_until,
)
from tests.process.programs import write_program
from tests.process.surroundings import privately
from tests.process.test_identity import USER, needs_root

TOTALS = " connections now, "


@pytest.fixture
def log(stage: Stage) -> Path:
    return stage.directory / "log"


def start(stage: Stage, log: Path | str, *more: str, **how: object) -> Daemon:
    words = ("--workers", "1", "--log-file", str(log), *more)
    return stage.spiped("-d", stage.echo().address, *words, **how)


def content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def lines_with(path: Path, text: str) -> int:
    return sum(text in line for line in content(path).splitlines())


def wait_for(path: Path, text: str, count: int = 1) -> None:
    wait_until(lambda: lines_with(path, text) >= count, f"{path.name} says {text!r}")


def reload(daemon: Daemon, log: Path) -> None:
    """Reload, and wait until the log says that it has taken place."""
    count = lines_with(log, "Reloaded: ")
    daemon.signal(signal.SIGHUP)
    wait_for(log, "Reloaded: ", count + 1)


def rotate(daemon: Daemon, log: Path, old: Path) -> None:
    """Rename the log and reload, and wait until there is a new one."""
    log.rename(old)
    daemon.signal(signal.SIGHUP)
    wait_for(log, "Reloaded: ")


def established(daemon: Daemon, stack: ExitStack) -> Peer:
    peer = stack.enter_context(daemon.connect())
    assert echoes(peer)
    return peer


# Rotation


def test_what_draining_workers_say_is_in_the_new_file(stage: Stage, log: Path) -> None:
    """However many generations of them there are."""
    server = start(stage, log, "--verbose")
    client = stage.spiped("-e", server.source)
    old = [log.with_suffix(f".{number}") for number in range(9)]
    with ExitStack() as stack:
        peers = []
        for path in old:
            peers.append(established(client, stack))
            rotate(server, log, path)
        before = [content(path) for path in old]
        for peer in peers:
            assert peer.finish().read_to_end() == b""
        wait_for(log, ": ended after ", len(old))
    assert [content(path) for path in old] == before


def test_rotations_in_quick_succession_come_to_the_last_file(stage: Stage, log: Path) -> None:
    server = start(stage, log)
    for number in range(20):
        log.rename(log.with_suffix(f".{number}"))
        server.signal(signal.SIGHUP)
        wait_until(log.exists, "there is a new file")
    server.signal(signal.SIGUSR1)
    wait_for(log, TOTALS)
    assert not any(lines_with(path, TOTALS) for path in stage.directory.glob("log.*"))


def test_a_reload_that_is_refused_opens_the_log_anew_all_the_same(stage: Stage, log: Path) -> None:
    server = start(stage, log)
    Path(stage.key).unlink()
    log.rename(log.with_suffix(".old"))
    server.signal(signal.SIGHUP)
    wait_for(log, "Reload failed: the old key stays in force")
    assert lines_with(log.with_suffix(".old"), "Reload failed") == 0


def test_a_file_that_is_truncated_is_written_to_from_its_beginning(stage: Stage, log: Path) -> None:
    """As logrotate's copytruncate does it."""
    server = start(stage, log)
    wait_for(log, "Started: ")
    os.truncate(log, 0)
    server.signal(signal.SIGUSR1)
    wait_for(log, TOTALS)
    assert "\0" not in content(log)
    assert lines_with(log, "Started: ") == 0


def test_several_daemons_may_have_the_same_log(stage: Stage, log: Path) -> None:
    servers = [start(stage, log) for _ in range(3)]
    log.rename(log.with_suffix(".old"))
    for server in servers:
        server.signal(signal.SIGHUP)
    wait_for(log, "Reloaded: ", len(servers))
    assert lines_with(log.with_suffix(".old"), "Started: ") == len(servers)


@needs_root
def test_a_user_who_may_not_make_a_new_log_says_so_in_the_old_one(stage: Stage, log: Path) -> None:
    server = start(stage, log, "-u", USER.pw_name)
    old = log.rename(log.with_suffix(".old"))
    server.signal(signal.SIGHUP)
    wait_for(old, f"Cannot reopen the log file {log}: Permission denied; writing on to the old one")
    server.signal(signal.SIGUSR1)
    wait_for(old, TOTALS)


@needs_root
def test_a_user_writes_to_a_new_log_that_was_made_for_it(stage: Stage, public_place: Path) -> None:
    """As logrotate does that, with `create`."""
    key, log = public_place / "key", public_place / "log"
    key.write_bytes(KEY)
    server = start(stage, log, "-u", USER.pw_name, key=str(key))
    old = log.rename(log.with_suffix(".old"))
    log.touch(mode=0o640)
    os.chown(log, USER.pw_uid, USER.pw_gid)
    server.signal(signal.SIGHUP)
    wait_for(log, "Reloaded: ")
    assert "Cannot reopen" not in content(old)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_log_is_for_its_owner_and_group(stage: Stage, log: Path, umask: int) -> None:
    server = start(stage, log, umask=umask)
    for _ in range(2):
        assert stat.S_IMODE(log.stat().st_mode) == 0o640 & ~umask
        rotate(server, log, log.with_suffix(".old"))


# What is no good place for a log


def test_a_directory_that_is_gone_is_no_reason_to_end(stage: Stage) -> None:
    place = stage.directory / "place"
    place.mkdir()
    log = place / "log"
    server = start(stage, log)
    client = stage.spiped("-e", server.source)
    log.unlink()
    place.rmdir()
    for number in (signal.SIGHUP, signal.SIGUSR1):
        server.signal(number)
    assert is_echoed(client.source)
    place.mkdir()
    server.signal(signal.SIGHUP)
    wait_for(log, "Reloaded: ")


def test_a_full_disk_costs_lines_and_nothing_else(stage: Stage) -> None:
    place = stage.directory / "full"
    place.mkdir()
    script = 'mount -t tmpfs -o size=16k none "$1"; mkfifo "$1/free"'
    beginning = privately(stage, script, str(place))
    # somebody in the same view, who fills the disk and makes room
    helper = (
        f"cd {place}; head -c 99999 /dev/zero > filler; read x < free; rm filler; read x < free"
    )
    words = ["sh", "-c", f'({helper}) 2> /dev/null & exec "$@"', "sh"]
    server = start(stage, place / "log", beginning=[*beginning, *words])
    root = Path(f"/proc/{server.pid}/root")
    client = stage.spiped("-e", server.source)
    wait_until((root / str(place)[1:] / "filler").exists, "the disk is full")
    for _ in range(200):
        server.signal(signal.SIGUSR1)
    assert is_echoed(client.source)
    free, seen = (root / str(place)[1:] / name for name in ("free", "log"))
    free.write_text("x\n")
    wait_until(lambda: not seen.with_name("filler").exists(), "there is room")
    reload(server, seen)
    free.write_text("x\n")
    assert is_echoed(client.source)


def test_a_named_pipe_that_nobody_reads_is_refused(stage: Stage, log: Path) -> None:
    os.mkfifo(log)
    words = ("-d", "-s", stage.address(), "-t", "[127.0.0.1]:9", "-k", stage.key, "-F")
    result = stage.run(ours("spiped"), *words, "--log-file", str(log), text=True)
    assert result.returncode == 1
    reason = "it is a named pipe that nobody reads, or a socket"
    assert result.stderr == f"spiped: --log-file {log}: {reason}\n"


def wait_for_pipe(fd: int, text: bytes) -> None:
    """Wait until somebody has written this to a non-blocking pipe."""
    said = b""

    def has_said() -> bool:
        nonlocal said
        with suppress(BlockingIOError):
            said += os.read(fd, 65536)
        return text in said

    wait_until(has_said, f"it says {text!r}")


def test_a_named_pipe_gets_the_lines_while_somebody_reads(stage: Stage, log: Path) -> None:
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    server = start(stage, log)
    client = stage.spiped("-e", server.source)
    wait_for_pipe(reader, b"Started: ")
    os.close(reader)
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR1):
        server.signal(number)
    assert is_echoed(client.source)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    server.signal(signal.SIGHUP)
    wait_for_pipe(reader, b"Reloaded: ")
    os.close(reader)


@pytest.mark.parametrize("name", ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2", "link"])
def test_a_stream_of_the_command_stays_the_log(stage: Stage, name: str) -> None:
    """After a reload and an upgrade as well, by when its name stands for something else."""
    if name == "link":
        name = str(stage.directory / "link")
        Path(name).symlink_to("/dev/stderr")
    server = start(stage, name, background=True)
    server.wait_to_say("Started: ")
    for number, text in ((signal.SIGHUP, "Reloaded: "), (signal.SIGUSR2, "Upgraded: ")):
        server.signal(number)
        server.wait_to_say(text)
    count = server.said.count("Reloaded: ")
    server.signal(signal.SIGHUP)
    wait_until(lambda: server.said.count("Reloaded: ") > count, "it reloads once more")
    assert "Cannot reopen" not in server.said


# What is always in a log


def test_start_reload_and_end_are_in_the_log(stage: Stage, log: Path) -> None:
    server = start(stage, log, background=True)
    wait_for(log, f"Started: version 1.0.0, 1 worker, {server.source} to ")
    reload(server, log)
    client = stage.spiped("-e", server.source)
    with client.connect() as peer:
        assert echoes(peer)
        reload(server, log)
        wait_for(log, "Reloaded: generation 3 serves; 1 older worker drains")
        server.signal(signal.SIGTERM)
        wait_for(log, "Stopping: 1 connection may go on until it ends")
    server.wait_until_gone()
    assert content(log).splitlines()[-1].endswith(" spiped: Stopped")


FAULTS = {
    "supervisor": """
from spiped.service.supervisor import Supervisor
def fail(self):
    raise RuntimeError("a planted fault")
Supervisor._totals = fail
""",
    "worker": """
from spiped.service.worker import Worker
obey = Worker._obey
def fail(self, message):
    if message["do"] == "targets":
        raise RuntimeError("a planted fault")
    obey(self, message)
Worker._obey = fail
from spiped.service.supervisor import Supervisor
totals = Supervisor._totals
def tell_workers(self):
    self._set.retarget(self._set.in_charge.pipe.targets)
    return totals(self)
Supervisor._totals = tell_workers
""",
    "new worker": """
from spiped.service.worker import Worker
begin = Worker.begin
def fail(self):
    if self._setup.serial > 1:
        raise RuntimeError("a planted fault")
    begin(self)
Worker.begin = fail
from spiped.service.supervisor import Supervisor
totals = Supervisor._totals
def replace_workers(self):
    self._set.kill()
    return totals(self)
Supervisor._totals = replace_workers
""",
}


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
@pytest.mark.parametrize("where", FAULTS)
def test_a_fault_of_the_program_leaves_its_traceback_in_the_log(
    stage: Stage, log: Path, where: str, background: bool
) -> None:
    """What SIGUSR1 makes happen here is an exception that nothing handles."""
    program = write_program(stage.directory / "spiped", harm=FAULTS[where])
    server = start(stage, log, program=program, background=background)
    server.signal(signal.SIGUSR1)
    wait_for(log, "RuntimeError: a planted fault")
    assert "Traceback (most recent call last):" in content(log)
    assert (
        f"Internal error in {'the supervisor' if where == 'supervisor' else 'worker'}"
        in content(log)
    )
    if where == "supervisor":
        server.wait_until_gone()
        wait_until(lambda: not is_listening(server.source), "nobody listens")
        if server.pid_file is not None:
            assert not server.pid_file.exists()
