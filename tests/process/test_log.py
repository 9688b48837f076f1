"""Where messages go, and which there are."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from spiped.observe.log.common import Remark
from spiped.observe.log.events import Suppressed
from spiped.observe.log.kinds import Event
from spiped.observe.log.log import Log
from spiped.observe.log.rate_limit import RateLimit
from spiped.service.rationed import Rationed
from spiped.service.worker import PAUSE
from tests.daemons import (
    PATIENCE,
    Daemon,
    Echo,
    Stage,
    asleep,
    echoes,
    is_echoed,
    is_listening,
    needs,
    nothing_comes_back,
    ours,
    wait_until,
)
from tests.process.programs import write_program

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} spiped: (.*)")


def messages(log: Path) -> list[str]:
    """The lines of a log file, each of which must begin with the time and our name."""
    lines = [LINE.fullmatch(line) for line in log.read_text().splitlines()]
    return [line[1] for line in lines if line or pytest.fail(f"not a log line: {line}")]


def fail(server: Daemon) -> None:
    """Make a connection that fails: a decrypting end hears a byte, and then the end."""
    with server.connect() as peer:
        peer.receive(32)
        peer.send(b"?").finish().read_all()


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_a_log_file_gets_the_messages(stage: Stage, background: bool) -> None:
    log = stage.directory / "log"
    server = stage.spiped("-d", "[127.0.0.1]:1", "--log-file", str(log), background=background)
    stranger = stage.spiped("-e", server.source, key=stage.write("other_key", b"another"))
    assert nothing_comes_back(stranger.source)
    wait_until(
        lambda: any("the client does not hold the key" in line for line in messages(log)),
        "there is a message",
    )
    assert server.said == ""
    assert stat.S_IMODE(log.stat().st_mode) & 0o007 == 0


def test_a_log_file_is_appended_to(stage: Stage) -> None:
    log = Path(stage.write("log", b"of old\n"))
    server = stage.spiped("-d", "[127.0.0.1]:1", "--log-file", str(log))
    fail(server)
    wait_until(lambda: " spiped: connection from " in log.read_text(), "there is a message")
    assert log.read_text().startswith("of old\n2")


def test_sigusr1_logs_totals_that_survive_the_workers(stage: Stage) -> None:
    echo = stage.echo()
    server = stage.spiped("-d", echo.address)
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source, b"x" * 5000)
    for worker in client.workers:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: client.said.count("starting another") == len(client.workers), "replaced")
    os.kill(client.pid, signal.SIGUSR1)
    client.wait_to_say(
        "0 connections now, 1 accepted, 1 established; 5000 bytes encrypted, 5000 decrypted\n"
    )


def test_connections_that_end_well_are_mentioned_only_if_asked_for(stage: Stage) -> None:
    echo = stage.echo()
    server = stage.spiped("-d", echo.address)
    client = stage.spiped("-e", server.source, "--verbose")
    assert is_echoed(client.source, b"x" * 5000)
    client.wait_to_say("(5000 bytes encrypted, 5000 decrypted)\n")
    assert server.said == ""


def test_failed_connections_are_listed_up_to_a_rate_and_the_others_counted(
    stage: Stage, backend: str
) -> None:
    server = stage.spiped("-d", "[127.0.0.1]:1", "--workers", "1")
    for _ in range(100):
        fail(server)
    wait_until(lambda: server.said.count("\n") >= 10, "there are messages")
    assert server.said.count("\n") < 50
    server.signal(signal.SIGTERM)
    server.wait()
    listed = server.said.count("before it said enough")
    more = re.search("More connections failed than are listed: (.*) left in the", server.said)
    assert more is not None
    assert listed + int(more[1]) == 100


def test_the_limit_is_not_mentioned_for_every_connection_that_reaches_it(stage: Stage) -> None:
    server = stage.spiped("-d", "[127.0.0.1]:1", "--workers", "1", "-n", "2")
    begin = time.monotonic()
    with server.connect() as first:
        first.receive(32)
        for _ in range(100):
            with server.connect() as second:
                second.receive(32)
    message = "Maximum number of connections (2) reached: others wait until one ends\n"
    wait_until(lambda: message in server.said, "it is said")
    assert server.said.count(message) <= 1 + (time.monotonic() - begin) / PAUSE
    assert server.said.count("\n") < 50


def test_what_comes_too_fast_is_counted() -> None:
    told: list[Event] = []
    rationed = Rationed(RateLimit(1, 0.05), told.append)
    asked = 0
    while not told or not isinstance(told[-1], Suppressed):
        rationed.tell(lambda: Remark("again"))
        asked += 1
    assert all(isinstance(each, Remark) for each in told[:-1])
    assert told[-1].number == asked - len(told[:-1])


def test_a_log_file_that_has_become_a_pipe_holds_up_nobody(stage: Stage) -> None:
    """Nobody reads it: whoever opened it would wait."""
    log = stage.directory / "log"
    server = stage.spiped("-d", "[127.0.0.1]:1", "--log-file", str(log))
    log.unlink()
    os.mkfifo(log)
    server.signal(signal.SIGHUP)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


@pytest.mark.parametrize("to_file", [False, True])
def test_whoever_does_not_read_the_messages_holds_up_nobody(stage: Stage, to_file: bool) -> None:
    server = stage.spiped("-d", stage.echo().address, "--workers", "1")
    fifo = stage.directory / "fifo"
    os.mkfifo(fifo)
    with fifo.open("rb+", buffering=0) as pipe:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
        options = ["--workers", "1", "--verbose"]
        options += ["--log-file", str(fifo)] if to_file else []
        how = {} if to_file else {"stderr": pipe}
        client = stage.spiped("-e", server.source, *options, **how)
        with client.connect() as peer:
            for _ in range(100):
                assert is_echoed(client.source)
            assert echoes(peer)
            client.signal(signal.SIGUSR1)
            client.signal(signal.SIGTERM)
            wait_until(lambda: not is_listening(client.source), "it obeys")
            assert echoes(peer)


FAKE_DEV = """
    cd "$1" && shift
    for device in null urandom random zero full; do
        touch "$device" && mount --bind "/dev/$device" "$device" || exit
    done
    mount --rbind . /dev && exec "$@"
"""


def with_devices(stage: Stage) -> tuple[Path, list[str]]:
    """A directory, and the beginning of a command to which it is /dev."""
    devices = stage.directory / "dev"
    devices.mkdir()
    unshare = [needs("unshare"), "--mount", "--propagation", "private"]
    beginning = [*unshare, "sh", "-c", FAKE_DEV, "sh", str(devices)]
    if stage.run(*beginning, "true").returncode != 0:
        pytest.skip("a private view of the file system is not allowed here")
    return devices, beginning


def test_syslog_gets_the_messages_of_a_daemon(stage: Stage) -> None:
    devices, beginning = with_devices(stage)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(devices / "log"))
        log.settimeout(PATIENCE)
        words = ("-d", "[127.0.0.1]:1", "--syslog")
        server = stage.spiped(*words, beginning=beginning, background=True)
        stranger = stage.spiped("-e", server.source, key=stage.write("other_key", b"another"))
        assert nothing_comes_back(stranger.source)
        message = log.recv(8192)
        assert b"Started" in message
        message = log.recv(8192)
    # facility user, priority warning, the time, our name, the process id, and which pipe it is
    who = re.escape(f"spiped[{server.pid}]: {server.source}: ".encode())
    pattern = rb"<12>\w{3} [ \d]\d \d\d:\d\d:\d\d " + who + rb"connection from (.*)\0?"
    matched = re.fullmatch(pattern, message)
    assert matched, message
    assert matched[1].endswith(b": handshake failed: the client does not hold the key")
    assert server.said == ""


def test_a_log_daemon_that_hangs_holds_up_nobody(stage: Stage) -> None:
    devices, beginning = with_devices(stage)
    server = stage.spiped("-d", stage.echo().address, "--workers", "1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(devices / "log"))
        how = {"beginning": beginning, "background": True}
        client = stage.spiped("-e", server.source, "--syslog", "--verbose", **how)
        room = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
        with client.connect() as peer:
            for _ in range(room + 10):
                assert is_echoed(client.source)
            assert echoes(peer)
            client.signal(signal.SIGUSR1)
            client.signal(signal.SIGTERM)
            wait_until(lambda: not is_listening(client.source), "it obeys")
            assert echoes(peer)


def test_syslog_means_nothing_in_the_foreground(stage: Stage) -> None:
    server = stage.spiped("-d", "[127.0.0.1]:1", "--syslog")
    fail(server)
    server.wait_to_say("spiped: connection from ")


def test_messages_before_the_background_go_to_stderr(stage: Stage) -> None:
    pid_file = stage.directory / "pid"
    words = ("-e", "-s", stage.address(), "-t", "[127.0.0.1]:1", "-k", "/dev/null")
    log = ("--log-file", str(stage.directory / "log"))
    result = stage.run(ours("spiped"), *words, *log, "-p", str(pid_file))
    stage.adopt(pid_file)
    assert result.returncode == 0
    assert result.stderr == b"spiped: Warning: the key file is empty: /dev/null\n"


def test_syslog_gets_lines_for_programs_as_well(stage: Stage) -> None:
    devices, beginning = with_devices(stage)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(devices / "log"))
        log.settimeout(PATIENCE)
        words = ("-d", "[127.0.0.1]:1", "--syslog", "--log-format", "json")
        server = stage.spiped(*words, beginning=beginning, background=True)
        tag, _, line = log.recv(8192).partition(b"]: ")
    assert tag.endswith(f" spiped[{server.pid}".encode())
    fields = json.loads(line)
    assert (fields["event"], fields["level"], fields["pid"]) == ("started", "notice", server.pid)


# The journal


@pytest.fixture
def stream() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """What a program writes to, and the end from which it is read."""
    readable, writable = os.pipe()
    with os.fdopen(readable, "rb") as there, os.fdopen(writable, "wb", buffering=0) as here:
        yield here, there


def journal_of(stream: BinaryIO) -> str:
    it = os.fstat(stream.fileno())
    return f"{it.st_dev}:{it.st_ino}"


def test_the_journal_gets_priorities_and_changes_of_state(
    stage: Stage, stream: tuple[BinaryIO, BinaryIO]
) -> None:
    here, there = stream
    stage.env["JOURNAL_STREAM"] = journal_of(here)
    server = stage.spiped("-d", "[127.0.0.1]:1", stderr=here)
    assert there.readline().startswith(b"<5>Started: version ")
    fail(server)
    assert there.readline().startswith(b"<4>connection from [127.0.0.1]:")
    server.signal(signal.SIGUSR1)
    assert re.fullmatch(rb"<5>\d connections now, .*\n", there.readline())
    server.signal(signal.SIGTERM)
    assert there.readline() == b"<5>Stopping: 0 connections may go on until they end\n"
    assert there.readline() == b"<5>Stopped\n"


def test_the_journal_gets_a_mistake_with_its_priority(
    stage: Stage, stream: tuple[BinaryIO, BinaryIO]
) -> None:
    here, there = stream
    stage.env["JOURNAL_STREAM"] = journal_of(here)
    for program in ("spiped", "spipe"):
        assert stage.run(ours(program), "-o", "x", capture_output=False, stderr=here).returncode
        assert there.readline() == b"<3>Error parsing argument: -o x: Invalid argument\n"


def test_the_journal_gets_lines_for_programs_with_their_priority(
    stage: Stage, stream: tuple[BinaryIO, BinaryIO]
) -> None:
    here, there = stream
    stage.env["JOURNAL_STREAM"] = journal_of(here)
    stage.spiped("-d", "[127.0.0.1]:1", "--log-format", "json", stderr=here)
    line = there.readline()
    assert line.startswith(b"<5>{")
    assert json.loads(line[3:])["event"] == "started"


# The name of the pipe


def test_text_names_the_pipe_that_has_a_name(stage: Stage) -> None:
    server = stage.spiped("-d", "[127.0.0.1]:1", "--name", "mail", "--log-level", "notice")
    fail(server)
    server.wait_to_say("spiped[mail]: connection from ")
    server.signal(signal.SIGUSR2)
    server.wait_to_say("spiped[mail]: Reloaded: ")
    assert all(line.startswith("spiped[mail]: ") for line in server.said.splitlines())


def test_text_in_a_file_names_the_pipe_that_has_a_name(stage: Stage) -> None:
    log = stage.directory / "log"
    stage.spiped("-d", "[127.0.0.1]:1", "--name", "mail", "--log-file", str(log))
    wait_until(lambda: " spiped[mail]: Started: version " in log.read_text(), "it is there")


def test_text_in_the_journal_names_the_pipe_that_has_a_name(
    stage: Stage, stream: tuple[BinaryIO, BinaryIO]
) -> None:
    here, there = stream
    stage.env["JOURNAL_STREAM"] = journal_of(here)
    stage.spiped("-d", "[127.0.0.1]:1", "--name", "mail", stderr=here)
    assert there.readline().startswith(b"<5>mail: Started: version ")


@pytest.mark.parametrize("other", ["1:1", "", ":", "x"])
def test_what_is_not_the_journal_gets_neither(stage: Stage, other: str) -> None:
    stage.env["JOURNAL_STREAM"] = other
    server = stage.spiped("-d", "[127.0.0.1]:1")
    fail(server)
    server.wait_to_say("spiped: connection from ")
    assert "<" not in server.said
    assert "Started" not in server.said


# Levels


def events(said: str) -> list[dict[str, Any]]:
    """The lines of a log in JSON."""
    return [json.loads(line) for line in said.splitlines()]


def names(said: str) -> set[str]:
    return {event["event"] for event in events(said)}


def wait_for_events(daemon: Daemon, name: str, count: int = 1) -> list[dict[str, Any]]:
    """The events of this name, once there are so many."""

    def found() -> list[dict[str, Any]]:
        whole = daemon.said.rpartition("\n")[0]
        return [event for event in events(whole) if event["event"] == name]

    wait_until(lambda: len(found()) >= count, f"there are {count} of {name}")
    return found()


def everything(stage: Stage, *options: str, **how: Any) -> Daemon:
    """A daemon that has had one connection of every kind, and ends: served, failed, probed."""
    options = ("--workers", "1", "--log-format", "json", *options)
    server = stage.spiped("-d", stage.echo().address, *options, **how)
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source, b"x" * 5000)
    fail(server)
    server.connect().close()
    wait_for_totals(server, accepted=3)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    return server


def wait_for_totals(server: Daemon, accepted: int) -> None:
    def is_over() -> bool:
        server.signal(signal.SIGUSR1)
        totals = wait_for_events(server, "totals")[-1]
        return (totals["active"], totals["accepted"]) == (0, accepted)

    wait_until(is_over, "all connections have ended")


SHOWN = {
    "error": set(),
    "warning": {"connection_ended"},
    "notice": {"connection_ended", "started", "stopping", "stopped"},
    "info": {"connection_ended", "started", "stopping", "stopped", "sandbox_chosen"},
    "debug": {
        "connection_ended",
        "started",
        "stopping",
        "stopped",
        "sandbox_chosen",
        "connection_begun",
    },
}

ENDS = {
    "error": [],
    "warning": ["warning"],
    "notice": ["warning"],
    "info": ["info", "warning"],
    "debug": ["debug", "info", "warning"],
}


@pytest.mark.parametrize("level", SHOWN)
def test_a_level_shows_what_is_as_important_and_no_less(stage: Stage, level: str) -> None:
    said = everything(stage, "--log-level", level).said
    assert names(said) - {"totals", "sandbox_incomplete"} == SHOWN[level]
    ends = [e["level"] for e in events(said) if e["event"] == "connection_ended"]
    assert sorted(ends) == ENDS[level]


def test_by_default_a_file_gets_changes_of_state_and_standard_error_what_is_wrong(
    stage: Stage,
) -> None:
    said = everything(stage).said
    assert names(said) - {"totals", "sandbox_incomplete"} == SHOWN["warning"]
    log = stage.path("log")
    server = stage.spiped("-d", "[127.0.0.1]:1", "--log-file", str(log), "--log-format", "json")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert names(log.read_text()) - {"sandbox_incomplete"} == {"started", "stopping", "stopped"}


# The level at which it logs is changed by SIGUSR1, as a control socket will.
CHANGES_LEVEL = """
from spiped.service.supervisor import Supervisor
levels = ["debug", "notice", None]
totals = Supervisor._totals
def change(self):
    self.set_log_level(levels[0])
    levels.append(levels.pop(0))
    return totals(self)
Supervisor._totals = change
"""


def test_the_level_can_be_changed_while_it_runs(stage: Stage, backend: str) -> None:
    """Workers that are there, and those that come, tell what is wanted from then on."""
    program = write_program(stage.directory / "spiped", harm=CHANGES_LEVEL)
    options = ("--workers", "1", "--log-format", "json")
    server = stage.spiped("-d", stage.echo().address, *options, program=program)
    client = stage.spiped("-e", server.source)

    def told() -> set[str]:
        """The levels of what is told of a connection, a probe, and one that fails."""
        before = len(events(server.said.rpartition("\n")[0]))
        assert is_echoed(client.source)
        server.connect().close()
        fail(server)

        def levels() -> set[str]:
            whole = server.said.rpartition("\n")[0]
            return {event["level"] for event in events(whole)[before:]}

        wait_until(lambda: "warning" in levels(), "the failure is told of")
        return levels()

    def change(count: int) -> None:
        server.signal(signal.SIGUSR1)
        wait_for_events(server, "totals", count)

    wait_until(lambda: server.workers, "there is a worker")
    assert told() == {"warning"}
    change(1)
    wait_until(lambda: "debug" in told(), "the worker has heard of it")
    before = server.workers
    server.signal(signal.SIGHUP)
    wait_for_events(server, "reloaded")
    wait_until(lambda: not set(before) & set(server.workers), "there is another worker")
    wait_until(lambda: told() >= {"debug", "info", "warning"}, "it tells everything")
    change(2)
    wait_until(lambda: told() == {"warning"}, "the worker has heard of that too")


# Connections


@pytest.mark.parametrize("form", ["json", "logfmt"])
def test_the_end_of_a_connection_has_all_its_fields(stage: Stage, backend: str, form: str) -> None:
    key = stage.write("mail.key", Path(stage.key).read_bytes())
    options = ("--workers", "1", "--name", "mail", "--log-level", "debug", "--log-format", form)
    echo = stage.echo()
    server = stage.spiped("-d", echo.address, *options, key=key)
    client = stage.spiped("-e", server.source, *options, key=key)
    with client.connect() as peer:
        name = "[{}]:{}".format(*peer.sock.getsockname())
        assert peer.send(b"x" * 5000).receive(5000)
        assert peer.send(b"y" * 500).finish().read_to_end() == b"y" * 500
    for daemon, target in ((client, server.source), (server, echo.address)):
        if form == "logfmt":
            daemon.wait_to_say("event=connection_ended")
            line = daemon.said.splitlines()[-1]
            assert " pipe=mail id=1-1 peer=" in line
            ending = f" key=mail target={target} sealed_bytes=5500 opened_bytes=5500 seconds="
            assert ending in line
            assert ' cause=ended message="connection from ' in line
            continue
        (ended,) = wait_for_events(daemon, "connection_ended")
        (begun,) = wait_for_events(daemon, "connection_begun")
        assert begun.items() >= {"pipe": "mail", "id": "1-1", "peer": ended["peer"]}.items()
        assert 0 <= ended.pop("seconds") < PATIENCE
        beginning = f"connection from {ended['peer']} (1-1): ended after "
        assert ended.pop("message").startswith(beginning)
        assert ended.pop("time") >= begun["time"]
        peer_name = name if daemon is client else ended["peer"]
        assert ended == {
            "level": "info",
            "event": "connection_ended",
            "pid": daemon.pid,
            "pipe": "mail",
            "id": "1-1",
            "peer": peer_name,
            "key": "mail",
            "target": target,
            "sealed_bytes": 5500,
            "opened_bytes": 5500,
            "cause": "ended",
        }


def test_a_failure_has_its_side_and_its_cause(stage: Stage, backend: str) -> None:
    options = ("--workers", "1", "--log-format", "json")
    server = stage.spiped("-d", stage.listener().address, *options)
    nobody = stage.spiped("-d", stage.address(), *options, "-o", "2")
    stranger = stage.spiped("-e", server.source, *options, key=stage.write("other", b"another"))
    client = stage.spiped("-e", nobody.source, *options)
    assert nothing_comes_back(stranger.source)
    assert nothing_comes_back(client.source)
    expected = {
        server: ("wrong_key", "client", "", "handshake failed: the client does not hold the key"),
        stranger: ("left_in_the_handshake", "target", "other", "handshake failed: "),
        nobody: ("target_unreachable", "target", "key", "could not connect: "),
        client: ("left_in_the_handshake", "target", "key", "handshake failed: "),
    }
    for daemon, (cause, side, key, detail) in expected.items():
        (ended,) = wait_for_events(daemon, "connection_ended")
        assert ended["level"] == "warning"
        assert (ended["side"], ended["key"]) == (side, key), ended
        assert ended["cause"] == cause or daemon is not server, ended
        assert ended["detail"].startswith(detail), ended


def test_neither_secrets_nor_what_is_carried_get_into_the_log(stage: Stage, backend: str) -> None:
    payload, key = b"carried-and-confidential", b"a-key-that-nobody-else-has-32byt"
    path = stage.write("k", key)
    options = ("--workers", "1", "--log-level", "debug", "--log-format", "json")
    server = stage.spiped("-d", stage.echo().address, *options, key=path)
    client = stage.spiped("-e", server.source, *options, key=path)
    with client.connect() as peer:
        assert echoes(peer, payload)
        server.signal(signal.SIGHUP)
        wait_for_events(server, "reloaded")
        for pid in client.workers:
            os.kill(pid, signal.SIGABRT)
        assert peer.read_to_reset() == b""
    with server.connect() as stranger:
        stranger.receive(32)
        stranger.send(payload).finish().read_all()
    wait_for_events(server, "connection_ended", 2)
    digest = hashlib.sha256(key).digest()
    for daemon in (server, client):
        said = daemon.said.encode()
        for secret in (payload, key, digest):
            forms = secret, secret.hex().encode(), base64.b64encode(secret), repr(secret).encode()
            assert not any(form in said for form in forms)


# Changes of state


def test_a_worker_that_dies_is_told_of_and_so_is_the_one_in_its_place(stage: Stage) -> None:
    options = ("--log-level", "notice", "--log-format", "json", "--workers", "1")
    server = stage.spiped("-d", "[127.0.0.1]:1", *options)
    wait_for_events(server, "started")
    (old,) = server.workers
    os.kill(old, signal.SIGKILL)
    (died,) = wait_for_events(server, "worker_died")
    (replaced,) = wait_for_events(server, "worker_replaced")
    assert (died["worker"], died["how"]) == (old, "signal 9")
    assert [replaced["worker"]] == server.workers


def test_a_target_that_is_down_and_up_again_is_told_of_once_each(stage: Stage) -> None:
    options = ("--log-level", "notice", "--log-format", "json", "--workers", "1", "-o", "2")
    target = stage.address()
    server = stage.spiped("-d", target, *options)
    client = stage.spiped("-e", server.source)
    for _ in range(3):
        assert nothing_comes_back(client.source)
    (down,) = wait_for_events(server, "target_down")
    assert down["target"] == target
    assert nothing_comes_back(client.source)
    stage.on_stage(Echo(target))
    wait_until(lambda: is_echoed(client.source), "it is served")
    (up,) = wait_for_events(server, "target_up")
    assert up["target"] == target
    assert names(server.said) >= {"target_down", "target_up"}
    assert len(wait_for_events(server, "target_down")) == 1


# What comes from outside


@pytest.mark.parametrize("form", ["text", "json", "logfmt"])
def test_nothing_from_outside_acts_on_a_terminal_or_ends_a_line(stage: Stage, form: str) -> None:
    """A path has what it likes: an escape sequence, the end of a line, bytes that are no text."""
    bad = os.fsdecode(b"\x1b]0;x\x07\n<3>forged\r\x7f\xff\xc2\x9b31m\xe2\x80\xae")
    options = ("--workers", "1", "--log-format", form, "--log-level", "debug")
    target = f"{stage.directory}/{bad}"
    server = stage.spiped("-d", target, *options, source=stage.address())
    client = stage.spiped("-e", server.source)
    assert nothing_comes_back(client.source)
    server.wait_to_say("could not connect")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    said = server._stderr.read_bytes().decode()
    assert all(line.isprintable() for line in said.split("\n"))
    shown = r"\x1b]0;x\x07\x0a<3>forged\x0d\x7f\xff\x9b31m\u202e"
    assert (shown if form == "text" else json.dumps(shown)[1:-1]) in said
    assert not any(line.startswith("<3>") for line in said.splitlines())


def test_a_mistake_in_a_path_is_told_of_in_one_line(stage: Stage) -> None:
    words = ("-F", "-e", "-s", stage.address(), "-t", "[127.0.0.1]:1", "-k", "/a\n\x1b[2J")
    result = stage.run(ours("spiped"), *words, text=True)
    assert result.stderr.splitlines() == [
        r"spiped: Cannot open file: /a\x0a\x1b[2J: No such file or directory",
        "spiped: Error reading shared secret",
    ]


# What is lost is told


def test_lines_that_nobody_reads_are_counted_and_the_next_one_says_how_many(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with fifo.open("rb+", buffering=0) as pipe:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
        log = Log("spiped")
        log.use_file(str(fifo))
        written = 0
        while log.lines_lost == 0:
            log.event(Remark(f"number {written}"))
            written += 1
        for _ in range(9):
            log.event(Remark("lost"))
        assert log.lines_lost == 10
        os.read(pipe.fileno(), 1 << 16)
        log.event(Remark("read again"))
        first, second = os.read(pipe.fileno(), 1 << 16).decode().splitlines()
    assert first.endswith(" spiped: read again")
    assert second.endswith(" spiped: 10 lines are missing here: they could not be written")


def test_connections_that_come_faster_than_they_can_be_told_of_are_counted(stage: Stage) -> None:
    """The supervisor sleeps; its worker does not wait, and needs no memory without end."""
    options = ("--workers", "1", "--log-level", "debug", "--log-format", "json", "-n", "0")
    server = stage.spiped("-d", "[127.0.0.1]:1", *options)
    wait_for_events(server, "started")
    with asleep({server.pid}):
        for _ in range(4000):
            server.connect().close()
        fail(server)  # the worker has got that far
    (lost,) = wait_for_events(server, "events_lost")
    assert lost["pipe"] == server.source

    def told() -> int:
        whole = server.said.rpartition("\n")[0]
        return sum(event["event"].startswith("connection_") for event in events(whole))

    wait_until(lambda: lost["number"] + told() == 2 * 4001, "together with the others it is all")


def test_a_log_is_opened_anew_without_a_reload(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log("spiped")
    log.use_file(str(path))
    path.rename(tmp_path / "rotated")
    log.event(Remark("before"))
    log.reopen()
    log.event(Remark("after"))
    assert path.read_text().endswith(" spiped: after\n")
    assert (tmp_path / "rotated").read_text().endswith(" spiped: before\n")


def test_of_standard_error_there_is_nothing_to_open_anew() -> None:
    Log("spiped").reopen()
