"""SIGUSR2: another program in the same process, and no connection is refused or lost."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.daemons import (
    KEY,
    Daemon,
    Peer,
    Stage,
    echoes,
    family_of,
    free_port,
    is_echoed,
    is_gone,
    is_listening,
    ours,
    wait_until,
)
from tests.helpers import ROOT
from tests.process.programs import write_program
from tests.process.test_identity import USER, needs_root

WORKERS = 2


class Release:
    """A program that is replaced by others, as a package manager does that."""

    def __init__(self, stage: Stage) -> None:
        self._new = stage.directory / "new"
        self.path = stage.directory / "spiped"
        self.publish("1")

    def publish(self, version: str, harm: str = "") -> None:
        write_program(self._new, version, harm)
        self._new.rename(self.path)


@pytest.fixture
def release(stage: Stage) -> Release:
    return Release(stage)


@pytest.fixture
def server(stage: Stage, release: Release) -> Daemon:
    """A decrypting daemon before an echo, in the background."""
    return start(stage, program=str(release.path), background=True)


def start(stage: Stage, *options: str, **how: object) -> Daemon:
    options = ("--workers", str(WORKERS), "--log-file", str(stage.directory / "log"), *options)
    return stage.spiped("-d", stage.echo().address, *options, **how)


@pytest.fixture
def client(stage: Stage, server: Daemon) -> Daemon:
    return stage.spiped("-e", server.source, "-n", "0")


def log_of(stage: Stage) -> str:
    return (stage.directory / "log").read_text()


def wait_for_log(stage: Stage, text: str) -> None:
    wait_until(lambda: text in log_of(stage), f"the log says {text!r}")


def wait_for_totals(stage: Stage, daemon: Daemon, text: str) -> None:
    def are_told() -> bool:
        daemon.signal(signal.SIGUSR1)
        return text in log_of(stage)

    wait_until(are_told, f"the totals are {text!r}")


def upgrades(stage: Stage) -> int:
    return log_of(stage).count("spiped: Upgraded: this is version ")


def upgrade(stage: Stage, daemon: Daemon, keeping: int = 0) -> None:
    """Upgrade, and wait until only new workers are left, and so many old ones with connections."""
    wait_until(lambda: len(daemon.workers) >= WORKERS, "all workers are there")
    before, count = set(daemon.workers), upgrades(stage)
    daemon.signal(signal.SIGUSR2)
    wait_until(lambda: upgrades(stage) == count + 1, "there is a new program")
    wait_until(
        lambda: (
            len(set(daemon.workers) - before) == WORKERS
            and len(before & set(daemon.workers)) == keeping
        ),
        "its workers are there, and the old ones without connections have left",
    )


# What changes, and what does not


def test_another_program_runs_in_the_same_process(
    stage: Stage, release: Release, server: Daemon, client: Daemon
) -> None:
    assert server.pid_file is not None
    release.publish("2")
    upgrade(stage, server)
    assert "spiped: Upgraded: this is version 2\n" in log_of(stage)
    assert server.pid_file.read_text() == str(server.pid)
    assert is_echoed(client.source)
    assert Path(f"/proc/{server.pid}/comm").read_text() == "spiped\n"
    for pid in server.workers:
        assert Path(f"/proc/{pid}/comm").read_text() == "spiped: worker\n"
    server.signal(signal.SIGTERM)
    server.wait_until_gone()
    assert not server.pid_file.exists()


def test_no_connection_is_refused_or_lost_during_upgrades(
    stage: Stage, release: Release, server: Daemon, client: Daemon
) -> None:
    """Short connections all the time, and long ones across, of which every byte is verified."""
    over = threading.Event()

    def short_ones(number: int) -> int:
        """Returns how many there were."""
        count = 0
        while not over.is_set():
            data = random.Random(f"{number} {count}").randbytes(5000)
            assert is_echoed(client.source, data), f"connection {count} of {number}"
            count += 1
        return count

    def long_one(number: int) -> int:
        """Returns how many bytes it has carried."""
        numbers, sent, received = random.Random(number), hashlib.sha256(), hashlib.sha256()
        count = 0
        with client.connect() as peer:
            while not over.is_set():
                data = numbers.randbytes(20_000)
                sent.update(data)
                received.update(peer.send(data).receive(len(data)))
                count += len(data)
            assert peer.finish().read_to_end() == b""
        assert sent.digest() == received.digest()
        return count

    short = [stage.meanwhile(short_ones, number) for number in range(4)]
    long = [stage.meanwhile(long_one, number) for number in range(2)]
    try:
        for version in range(2, 6):
            release.publish(str(version))
            before = set(server.workers)
            server.signal(signal.SIGUSR2)
            wait_for_log(stage, f"Upgraded: this is version {version}\n")
            wait_until(
                lambda before=before: len(set(server.workers) - before) >= WORKERS, "it has workers"
            )
    finally:
        over.set()
    assert sum(future.result() for future in short) >= 20
    assert all(future.result() > 0 for future in long)


def test_connections_of_old_workers_go_on_and_count_and_workers_leave_with_their_last_one(
    stage: Stage, server: Daemon, client: Daemon
) -> None:
    with client.connect() as peer:
        assert echoes(peer)
        upgrade(stage, server, keeping=1)
        upgrade(stage, server, keeping=1)  # adopted for the second time
        assert echoes(peer, b"x" * 100_000)
        wait_for_totals(stage, server, "1 connection now, 1 accepted, 1 established")
        assert peer.finish().read_to_end() == b""
    wait_until(lambda: len(server.workers) == WORKERS, "the old worker has left")
    wait_for_totals(
        stage, server, "0 connections now, 1 accepted, 1 established; 100014 bytes encrypted"
    )


def test_the_limit_of_connections_holds_across(stage: Stage) -> None:
    server = start(stage, "-n", "2")
    client = stage.spiped("-e", server.source, "-n", "0", "-o", "inf")
    with ExitStack() as peers:
        old = peers.enter_context(client.connect())
        assert echoes(old)
        upgrade(stage, server, keeping=1)
        new = peers.enter_context(client.connect())
        assert echoes(new)
        waiting = peers.enter_context(client.connect()).send(b"let me in")
        wait_for_log(stage, "Maximum number of connections (2) reached")
        assert echoes(new)
        assert not waiting.has_news()
        old.finish().read_to_end()
        assert waiting.receive(9) == b"let me in"


def test_a_new_key_is_in_force_after_it(stage: Stage, server: Daemon, client: Daemon) -> None:
    tomorrow = stage.spiped("-e", server.source, key=stage.write("tomorrow", b"another"))
    with client.connect() as peer:
        assert echoes(peer)
        stage.write("key", b"another")
        upgrade(stage, server, keeping=1)
        assert is_echoed(tomorrow.source)
        assert not is_echoed(client.source)
        assert echoes(peer)


def test_a_key_from_standard_input_stays(stage: Stage, release: Release) -> None:
    pid_file, source = stage.directory / "pid", stage.address()
    words = ("-s", source, "-t", stage.echo().address, "-k", "-", "-p", str(pid_file))
    log = ("--log-file", str(stage.directory / "log"), "--workers", str(WORKERS))
    key = Path(stage.key).read_bytes()
    stage.run(str(release.path), "-d", *words, *log, input=key, check=True)
    server = stage.adopt(pid_file, source)
    client = stage.spiped("-e", source)
    for _ in range(2):
        upgrade(stage, server)
        assert is_echoed(client.source)


def test_a_unix_socket_stays_the_same_file_and_is_removed_in_the_end(stage: Stage) -> None:
    server = start(stage, source=stage.address("unix"), background=True)
    client = stage.spiped("-e", server.source)
    before = os.lstat(server.source).st_ino
    upgrade(stage, server)
    assert os.lstat(server.source).st_ino == before
    assert is_echoed(client.source)
    server.signal(signal.SIGTERM)
    server.wait_until_gone()
    assert not Path(server.source).exists()


@needs_root
def test_what_only_root_can_have_is_kept_by_a_lesser_user(
    stage: Stage, program_for_everybody: str
) -> None:
    """The socket, the log file and the pid file are in a directory of root's."""
    key = Path(program_for_everybody).with_name("key")
    key.write_bytes(KEY)
    key.chmod(0o644)
    options = ("-u", USER.pw_name)
    how = {"source": stage.address("unix"), "key": str(key), "program": program_for_everybody}
    server = start(stage, *options, **how, background=True)
    upgrade(stage, server)
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source)
    for pid in (server.pid, *server.workers):
        assert set(psutil.Process(pid).uids()) == {USER.pw_uid}


@needs_root
def test_a_key_that_only_root_can_read_changes_nothing_for_a_lesser_user(
    stage: Stage, program_for_everybody: str
) -> None:
    server = start(stage, "-u", USER.pw_name, program=program_for_everybody)
    before = server.workers
    server.signal(signal.SIGUSR2)
    wait_for_log(stage, "spiped: Upgrade failed: nothing has changed\n")
    assert f"new program says: Cannot open file: {stage.key}: Permission denied\n" in log_of(stage)
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source)
    assert set(before) <= set(server.workers)


# Looks for secrets in all that a process has open and in its memory, as often as it can
SPY = """
import os, re, stat, sys
pid, secrets = int(sys.argv[1]), [bytes.fromhex(word) for word in sys.argv[2:]]
def contents():
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb") as file:
                yield file.read(1 << 20)
    with open(f"/proc/{pid}/environ", "rb") as file:
        yield file.read()
    with open(f"/proc/{pid}/mem", "rb", 0) as memory, open(f"/proc/{pid}/maps") as maps:
        for begin, end in re.findall(r"^(\\w+)-(\\w+) rw", maps.read(), re.MULTILINE):
            memory.seek(int(begin, 16))
            yield memory.read(int(end, 16) - int(begin, 16))
looks = 0
while os.path.exists(f"/proc/{pid}"):
    try:
        for content in contents():
            looks += 1
            if any(secret in content for secret in secrets):
                print("found")
                sys.exit()
    except OSError:
        pass
print("nothing" if looks else "nobody could look")
"""


@needs_root
def test_no_process_of_the_same_user_finds_the_key_during_an_upgrade(
    stage: Stage, program_for_everybody: str
) -> None:
    """For a moment after it has been executed, any of them may look at the new program."""
    place = Path(program_for_everybody).parent
    secret = os.urandom(32)
    key, spying = place / "key", place / "spy"
    key.write_bytes(secret)
    key.chmod(0o644)
    spying.write_text(SPY)
    how = {"key": str(key), "program": program_for_everybody, "background": True}
    server = start(stage, "-u", USER.pw_name, **how)
    python = Path(program_for_everybody).read_text().splitlines()[0].removeprefix("#!")
    words = [python, str(spying), str(server.pid), secret.hex(), hashlib.sha256(secret).hexdigest()]
    become = {"user": USER.pw_uid, "group": USER.pw_gid, "extra_groups": [], "cwd": "/"}
    spies = [stage.meanwhile(lambda: stage.run(*words, text=True, **become)) for _ in range(2)]
    wait_until(lambda: len(processes_of(spying)) == 2, "somebody looks")
    for _ in range(3):
        upgrade(stage, server)
    server.signal(signal.SIGTERM)
    server.wait_until_gone()
    assert [spy.result().stdout for spy in spies] == ["nothing\n"] * 2


def processes_of(script: Path) -> list[int]:
    """The processes that run this script."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(script) in (process.info["cmdline"] or ())
    ]


@pytest.mark.parametrize("beginning", ["module", "script"])
def test_it_does_not_matter_where_the_program_was_started_from(
    stage: Stage, release: Release, beginning: str
) -> None:
    """The current directory may even be gone, and a script have been named relative to it."""
    place = stage.directory / "place"
    place.mkdir()
    started = {"module": [sys.executable, "-m", "spiped"], "script": ["../spiped"]}[beginning]
    log, pid_file = stage.directory / "log", stage.directory / "pid"
    source = stage.address()
    words = ["-d", "-s", source, "-t", stage.echo().address, "-k", stage.key]
    words += ["-p", str(pid_file), "--log-file", str(log), "--workers", str(WORKERS)]
    stage.run(*started, *words, cwd=place, check=True)
    server = stage.adopt(pid_file, source)
    place.rmdir()
    upgrade(stage, server)
    client = stage.spiped("-e", source)
    assert is_echoed(client.source)


def test_it_can_be_repeated_and_leaves_nothing_behind(
    stage: Stage, server: Daemon, client: Daemon
) -> None:
    def held() -> tuple[int, ...]:
        return tuple(psutil.Process(pid).num_fds() for pid in (server.pid, *server.workers))

    def upgraded() -> tuple[int, ...]:
        """What is held once the workers before have gone."""
        upgrade(stage, server)
        wait_until(lambda: len(server.workers) == WORKERS, "only the new workers are left")
        return held()

    before = upgraded()
    for _ in range(2):
        upgraded()
    last = upgraded()
    wait_until(lambda: last == before or held() == before, "as much is held as before")
    assert is_echoed(client.source)
    for pid in (server.pid, *server.workers):
        environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
        names = {line.partition("=")[0] for line in environment if line}
        assert names - {"SPIPED_HANDOVER"} <= {*os.environ, *stage.env, "LC_CTYPE"}


# What it takes over


WITHOUT_WORKERS = """
import os
from spiped.service import worker
run = worker.run
worker.run = lambda *arguments: 0 if os.path.exists("broken") else run(*arguments)
"""


def test_old_workers_stay_if_there_can_be_no_new_ones_and_are_replaced_if_they_die(
    stage: Stage, release: Release, server: Daemon, client: Daemon
) -> None:
    broken = Path(stage.write("broken", b""))
    with client.connect() as peer:
        assert echoes(peer)
        upgrade(stage, server, keeping=1)  # a worker that is draining is there all the time
        before = set(server.workers)
        release.publish("2", WITHOUT_WORKERS)
        server.signal(signal.SIGUSR2)
        wait_for_log(stage, "A new worker could not start (exit status 0): the old ones stay\n")
        wait_until(lambda: set(server.workers) == before, "the old ones are left")
        assert is_echoed(client.source)
        broken.unlink()
        for victim in server.workers[1:]:
            os.kill(victim, signal.SIGKILL)
            wait_for_log(stage, f"Worker {victim} died (signal 9); starting another\n")
            wait_until(lambda: len(server.workers) == WORKERS + 1, "it has been replaced")
        assert is_echoed(client.source)
        assert echoes(peer)
    wait_until(lambda: len(server.workers) == WORKERS, "the draining one has left, for good")


def test_adopted_workers_leave_when_their_new_supervisor_is_killed(
    stage: Stage, server: Daemon, client: Daemon
) -> None:
    with client.connect() as peer:
        assert echoes(peer)
        upgrade(stage, server, keeping=1)
        workers = server.workers
        server.signal(signal.SIGKILL)
        wait_until(lambda: not is_listening(server.source), "nobody listens")
        assert echoes(peer)
        assert peer.finish().read_to_end() == b""
    wait_until(lambda: all(map(is_gone, workers)), "the workers have left")


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_a_daemon_can_be_ended_at_any_moment_of_an_upgrade(stage: Stage, background: bool) -> None:
    client_of: dict[int, Peer] = {}
    for step in range(6):
        server = start(stage, background=background)
        client = stage.spiped("-e", server.source)
        peer = client_of[server.pid] = client.connect()
        assert echoes(peer)
        workers = family_of(server.pid)
        server.signal(signal.SIGUSR2)
        time.sleep(step * 0.06)
        server.signal(signal.SIGTERM)
        wait_until(lambda s=server: not is_listening(s.source), "it listens no more")
        assert echoes(peer)
        assert peer.finish().read_to_end() == b""
        if background:
            server.wait_until_gone()
        else:
            assert server.wait() == 0
        assert all(map(is_gone, workers))


def test_a_reload_during_an_upgrade_is_not_lost(
    stage: Stage, server: Daemon, client: Daemon
) -> None:
    tomorrow = stage.spiped("-e", server.source, key=stage.write("tomorrow", b"another"))
    server.signal(signal.SIGUSR2)
    stage.write("key", b"another")
    server.signal(signal.SIGHUP)
    wait_until(lambda: upgrades(stage) == 1, "there is a new program")
    wait_until(lambda: is_echoed(tomorrow.source), "the new key is in force")
    wait_until(lambda: len(server.workers) == WORKERS, "only new workers are left")
    assert not is_echoed(client.source)


LATE = """
import time
import spiped.service.key_keeper as keeper
close_all_but = keeper.close_all_but
def come_late(*keep):
    time.sleep(1)
    close_all_but(*keep)
keeper.close_all_but = come_late
"""


def test_a_key_is_handed_over_by_who_comes_to_it_late(
    stage: Stage, release: Release, server: Daemon, client: Daemon
) -> None:
    """The new program asks for the key before the child that has it is there, on a busy machine."""
    release.publish("2", LATE)
    upgrade(stage, server)
    release.publish("3")
    upgrade(stage, server)
    assert is_echoed(client.source)


def test_an_older_release_can_be_followed(stage: Stage, backend: str) -> None:
    """One that is no more: what it has written is frozen, and nothing of this release."""
    echo, port = stage.echo(), free_port()
    target = echo.address.rpartition(":")[2]
    source = f"[127.0.0.1]:{port}"
    command = [ours("spiped"), "-F", "-d", "-s", source, "-t", echo.address, "-k", stage.key]
    command += ["--workers", str(WORKERS), "--log-level", "notice"]
    frozen = str(ROOT / "tests" / "process" / "frozen_release.py")
    daemon = stage.start(ours("python"), frozen, str(port), target, *command)
    wait_until(lambda: is_listening(source), "it listens")
    client = stage.spiped("-e", source)
    assert is_echoed(client.source)

    def told() -> bool:
        daemon.signal(signal.SIGUSR1)
        return totals in daemon.said

    size = len(b"are you there?")
    totals = f" 41 accepted, 31 established; {1000 + size} bytes encrypted, {2000 + size} decrypted"
    wait_until(told, "what was counted before is included")
    assert "spiped: Upgraded: this is version " in daemon.said
    wait_until(lambda: len(family_of(daemon.pid)) == 1 + WORKERS, "the old worker has left")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0


# What keeps everything as it is

BROKEN = {
    "it is no program": ("\nthis is no Python", "SyntaxError: "),
    "it fails": ("sys.exit('no licence')", "no licence\n"),
    "it says nothing": ("sys.exit(0)", "The new program ended without a word\n"),
    "it refuses the options": (
        "import spiped.options.table as table\n"
        "table.OPTIONS = [each for each in table.OPTIONS if each.word != '--workers']",
        "illegal option -- --workers\n",
    ),
    "it knows another format": (
        "import spiped.service.handover as handover; handover.FORMAT = 0",
        "This program does not know how to take over from the one that runs\n",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_program_that_cannot_begin_changes_nothing(
    stage: Stage, release: Release, server: Daemon, client: Daemon, how: str
) -> None:
    harm, complaint = BROKEN[how]
    before = server.workers
    release.publish("2", harm)
    server.signal(signal.SIGUSR2)
    wait_for_log(stage, "spiped: Upgrade failed: nothing has changed\n")
    assert complaint in log_of(stage)
    assert is_echoed(client.source)
    assert set(before) <= set(server.workers)
    release.publish("3")
    upgrade(stage, server)
    assert "spiped: Upgraded: this is version 3\n" in log_of(stage)


def test_a_key_that_cannot_be_read_changes_nothing(
    stage: Stage, server: Daemon, client: Daemon
) -> None:
    before = server.workers
    Path(stage.key).unlink()
    server.signal(signal.SIGUSR2)
    wait_for_log(stage, "spiped: Upgrade failed: nothing has changed\n")
    assert f"new program says: Cannot open file: {stage.key}: No such file or" in log_of(stage)
    assert is_echoed(client.source)
    assert set(before) <= set(server.workers)


def test_counts_survive_an_upgrade_that_counts_in_another_layout(
    stage: Stage, release: Release, server: Daemon, client: Daemon
) -> None:
    """Also those of a worker that drains all the while, and counts where the first program did."""
    with client.connect() as peer:
        assert echoes(peer)
        release.publish("2", "import spiped.observe.slot as slot; slot.SLOT_BYTES = 4096")
        upgrade(stage, server, keeping=1)
        assert echoes(peer)
        assert is_echoed(client.source)
        wait_for_totals(stage, server, "1 connection now, 2 accepted, 2 established")
        release.publish("3", "import spiped.observe.slot as slot; slot.SLOT_BYTES = 2048")
        upgrade(stage, server, keeping=1)
        assert is_echoed(client.source)
        wait_for_totals(stage, server, "1 connection now, 3 accepted, 3 established")
        assert echoes(peer)
        assert peer.finish().read_to_end() == b""
    wait_until(lambda: len(server.workers) == WORKERS, "the old worker has left")
    wait_for_totals(stage, server, "0 connections now, 3 accepted, 3 established; 70 bytes")
