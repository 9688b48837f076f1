"""Where messages go, and which there are."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.daemons import (
    PATIENCE,
    Stage,
    echoes,
    is_echoed,
    is_listening,
    needs,
    nothing_comes_back,
    ours,
    wait_until,
)

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} spiped: (.*)")


def messages(log: Path) -> list[str]:
    """The lines of a log file, each of which must begin with the time and our name."""
    lines = [LINE.fullmatch(line) for line in log.read_text().splitlines()]
    return [line[1] for line in lines if line or pytest.fail(f"not a log line: {line}")]


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
    with server.connect() as peer:
        peer.send(b"?").finish().read_all()
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
        with server.connect() as peer:
            peer.send(b"?").finish().read_all()
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
    with server.connect() as first:
        first.receive(32)
        for _ in range(100):
            with server.connect() as second:
                second.receive(32)
    wait_until(lambda: "Maximum number of connections (2) reached" in server.said, "it is said")
    assert server.said.count("\n") < 50


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
    with server.connect() as peer:
        peer.send(b"?").finish().read_all()
    server.wait_to_say("spiped: connection from ")


def test_messages_before_the_background_go_to_stderr(stage: Stage) -> None:
    pid_file = stage.directory / "pid"
    words = ("-e", "-s", stage.address(), "-t", "[127.0.0.1]:1", "-k", "/dev/null")
    log = ("--log-file", str(stage.directory / "log"))
    result = stage.run(ours("spiped"), *words, *log, "-p", str(pid_file))
    stage.adopt(pid_file)
    assert result.returncode == 0
    assert result.stderr == b"spiped: Warning: the key file is empty: /dev/null\n"
