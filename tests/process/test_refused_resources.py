"""A system that refuses what the programs need: a message and status 1 at the start, and later no
harm to what there is.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.daemons import (
    Daemon,
    Stage,
    echoes,
    family_of,
    is_echoed,
    is_listening,
    needs,
    ours,
    wait_until,
)
from tests.process.programs import refusing_from, write_program
from tests.process.surroundings import lacking
from tests.process.test_identity import USER, needs_root

in_either_way = pytest.mark.parametrize("way", [["-F"], []], ids=["foreground", "background"])


def calls(text: str) -> dict[str, str]:
    """``clone=EAGAIN,pipe2=EMFILE``"""
    return dict(word.split("=") for word in text.split(","))


# At the start

AT_START = [
    "clone=EAGAIN,clone3=EAGAIN,fork=EAGAIN,vfork=EAGAIN",
    "clone3=EAGAIN",
    "pipe2=EMFILE",
    "socketpair=EMFILE",
    "memfd_create=ENOSYS",
    "memfd_create=EMFILE",
    "eventfd2=ENOSYS",
    "epoll_create1=EMFILE",
    "ftruncate=EFBIG",
    "socket=EMFILE",
    "flock=ENOLCK",
    "setsid=EPERM",
    "prlimit64=EPERM",
    "dup2=EMFILE",
    "mlock=EPERM,mlock2=EPERM",
]

LIMITS = [
    "--nofile=8",
    "--nofile=25",
    "--fsize=0",
    "--fsize=4",
    "--as=60000000",
    "--as=30000000",
    "--data=10000000",
    "--stack=65536",
]


def beginning_of(stage: Stage, refused: str) -> list[str]:
    if refused.startswith("--"):
        return [needs("prlimit"), refused, "--"]
    return lacking(stage, **calls(refused))


class Start:
    """A `spiped` that has been told to start; what it says does not go to a file."""

    def __init__(self, stage: Stage, words: Sequence[str]) -> None:
        self._readable, writable = os.pipe()
        self.program = stage.start(*words, stderr=writable)
        os.close(writable)

    def said(self) -> list[str]:
        """All that it has said, once it has ended."""
        with open(self._readable) as output:
            return output.read().splitlines()


def check_start(stage: Stage, beginning: list[str], way: list[str]) -> None:
    """It serves, or says why not, and leaves nothing behind."""
    source, pid_file = stage.address("unix"), stage.directory / "pid"
    target = stage.echo("unix").address
    words = ["-d", "-s", source, "-t", target, "-k", stage.key, "--workers", "1"]
    start = Start(stage, [*beginning, ours("spiped"), *words, "-p", str(pid_file), *way])
    command = start.program

    def serves() -> bool:
        return is_listening(source) and len(family_of(command.pid)) > 1

    wait_until(lambda: command.is_gone or (way and serves()), "it serves or has ended")
    if not command.is_gone or command.wait() == 0:
        daemon = command if way else stage.adopt(pid_file, source)
        client = stage.spiped("-e", source, source=stage.address("unix"))
        assert is_echoed(client.source)
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: daemon.is_gone, "it has ended")
    else:
        assert command.wait() == 1
        said = start.said()
        assert said
        assert all(line.startswith("spiped: ") for line in said), said
    assert not pid_file.exists() or pid_file.read_bytes() == b""
    assert not Path(source).exists()


@in_either_way
@pytest.mark.parametrize("refused", AT_START + LIMITS)
def test_spiped_starts_or_says_why_not(stage: Stage, refused: str, way: list[str]) -> None:
    check_start(stage, beginning_of(stage, refused), way)


@pytest.mark.parametrize("refused", AT_START + LIMITS)
def test_spipe_works_or_says_why_not(stage: Stage, refused: str) -> None:
    server = stage.spiped("-d", stage.echo().address)
    words = [ours("spipe"), "-t", server.source, "-k", stage.key, "-o", "0.5"]
    result = stage.run(*beginning_of(stage, refused), *words, input=b"hello")
    if result.returncode == 0:
        assert (result.stdout, result.stderr) == (b"hello", b"")
    else:
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr.startswith(b"spipe: ")
        assert result.stderr.count(b"\n") == 1


@needs_root
@in_either_way
@pytest.mark.parametrize("processes", [0, 1, 2])
def test_a_user_who_may_have_no_more_processes(
    stage: Stage, program_for_everybody: str, way: list[str], processes: int
) -> None:
    """With one that it may have, it can go to the background and have no worker."""
    place = Path(program_for_everybody).parent / "place"
    place.mkdir(mode=0o700)
    os.chown(place, USER.pw_uid, USER.pw_gid)
    key, pid_file, source = place / "key", place / "pid", str(place / "sock")
    key.write_bytes(b"k" * 32)
    key.chmod(0o644)
    become = [needs("setpriv"), f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}"]
    limit = ["--clear-groups", needs("prlimit"), f"--nproc={processes}", "--"]
    words = ["-d", "-s", source, "-t", "[127.0.0.1]:9", "-k", str(key), "-p", str(pid_file), *way]
    start = Start(stage, [*become, *limit, program_for_everybody, *words, "--workers", "4"])
    assert start.program.wait() == 1
    said = start.said()
    assert all(line.startswith("spiped: ") for line in said)
    assert "Resource temporarily unavailable" in "".join(said)
    assert not pid_file.exists()
    assert not Path(source).exists()


# Later

LATER = [
    "clone=EAGAIN,clone3=EAGAIN",
    "socketpair=EMFILE",
    "epoll_create1=EMFILE",
    "memfd_create=EMFILE,openat=EMFILE",
    "openat=EMFILE",
    "ftruncate=EFBIG",
    "dup2=EMFILE",
    "seccomp=EINVAL",
    "landlock_create_ruleset=ENOSYS",
    "mlock=EPERM,mlock2=EPERM",
]

SETTLED = {
    signal.SIGHUP: ("Reloaded: ", "Reload failed: ", "A new worker could not start "),
    signal.SIGUSR2: ("Upgraded: ", "Upgrade failed: "),
}


@pytest.fixture
def log(stage: Stage) -> Path:
    return stage.directory / "log"


def start(stage: Stage, log: Path, *more: str, **how: object) -> Daemon:
    port = stage.echo().address.rpartition(":")[2]
    words = ("--workers", "2", "--log-file", str(log), *more)
    server = stage.spiped("-d", f"localhost:{port}", *words, **how)
    wait_until(lambda: len(server.workers) == 2, "all workers are there")
    return server


def settle(daemon: Daemon, log: Path, number: signal.Signals) -> str:
    """Signal, and return what the log says of how that has come out."""
    before = log.read_text()
    daemon.signal(number)

    def outcome() -> str:
        news = log.read_text()[len(before) :]
        return news if any(text in news for text in SETTLED[number]) else ""

    return str(wait_until(outcome, f"{number.name} has come out"))


def check_harmless(stage: Stage, server: Daemon, log: Path) -> None:
    """Reloads and upgrades that may fail change nothing for those whom the daemon serves."""
    client = stage.spiped("-e", server.source)
    with client.connect() as peer:
        assert echoes(peer)
        settle(server, log, signal.SIGHUP)
        assert is_echoed(client.source)
        settle(server, log, signal.SIGUSR2)
        assert is_echoed(client.source)
        assert echoes(peer)
        assert not server.is_gone
        assert "Traceback" not in log.read_text()
        server.signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(server.source), "it obeys")
        assert echoes(peer)
        assert peer.finish().read_to_end() == b""
    server.wait_until_gone()


@pytest.mark.parametrize("refused", LATER)
def test_what_is_refused_at_a_reload_or_an_upgrade_harms_nobody(
    stage: Stage, log: Path, refused: str
) -> None:
    lacking(stage, flock="ENOLCK")  # or the test ends here
    harm = refusing_from("spiped.service.reload", "Reload.request", **calls(refused))
    program = write_program(stage.directory / "spiped", harm=harm)
    check_harmless(stage, start(stage, log, program=program, background=True), log)


@contextmanager
def limited(pid: int, limits: Mapping[int, int]) -> Iterator[None]:
    """A process may have no more of these resources meanwhile."""
    process = psutil.Process(pid)
    before = {what: process.rlimit(what) for what in limits}
    for what, most in limits.items():
        process.rlimit(what, (most, before[what][1]))
    try:
        yield
    finally:
        for what, limit in before.items():
            process.rlimit(what, limit)


@pytest.mark.parametrize("what", ["descriptors", "memory", "data", "file size"])
def test_a_limit_that_comes_later_harms_nobody_and_nothing_is_missing_after_it(
    stage: Stage, log: Path, what: str
) -> None:
    server = start(stage, log, background=True)
    process = psutil.Process(server.pid)
    limits = {
        "descriptors": {resource.RLIMIT_NOFILE: process.num_fds()},
        "memory": {resource.RLIMIT_AS: process.memory_info().vms},
        "data": {resource.RLIMIT_DATA: 4096},
        "file size": {resource.RLIMIT_FSIZE: 0},
    }[what]
    client = stage.spiped("-e", server.source)
    with client.connect() as peer:
        assert echoes(peer)
        with limited(server.pid, limits):
            for number in (signal.SIGHUP, signal.SIGUSR1):
                server.signal(number)
            server.signal(signal.SIGUSR1)
            assert is_echoed(client.source)
        assert "Reloaded: " in settle(server, log, signal.SIGHUP)
        assert "Upgraded: " in settle(server, log, signal.SIGUSR2)
        assert is_echoed(client.source)
        assert echoes(peer)
    assert "Traceback" not in log.read_text()


@needs_root
def test_a_user_who_may_have_no_more_processes_keeps_those_that_there_are(
    stage: Stage, log: Path, program_for_everybody: str
) -> None:
    key = Path(program_for_everybody).with_name("key")
    key.write_bytes(b"k" * 32)
    key.chmod(0o644)
    how = {"program": program_for_everybody, "key": str(key), "background": True}
    server = start(stage, log, "-u", USER.pw_name, **how)
    old = server.workers
    limit = [needs("prlimit"), f"--pid={server.pid}"]
    how = {"user": USER.pw_uid, "group": USER.pw_gid, "cwd": "/", "check": True, "text": True}
    most = stage.run(*limit, "--nproc", "--output=SOFT", "--noheadings", "--raw", **how).stdout
    stage.run(*limit, "--nproc=0:", **how)
    said = settle(server, log, signal.SIGHUP)
    assert "cannot fork: Resource temporarily unavailable" in said
    assert "Upgrade failed" in settle(server, log, signal.SIGUSR2)
    os.kill(old[0], signal.SIGKILL)
    wait_until(lambda: "Cannot start a worker: " in log.read_text(), "it says so")
    stage.run(*limit, f"--nproc={most.strip()}:", **how)
    assert "Reloaded: " in settle(server, log, signal.SIGHUP)
    wait_until(lambda: len(server.workers) == 2, "all workers are there")
