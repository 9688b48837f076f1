"""From start to end: becoming a daemon, what it leaves open, and what signals do to it."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.daemons import (
    Daemon,
    Listener,
    Peer,
    Stage,
    echoes,
    is_echoed,
    is_gone,
    is_listening,
    nothing_comes_back,
    ours,
    theirs,
    wait_until,
)

both_transports = pytest.mark.parametrize("transport", ["tcp", "unix"])


def start(stage: Stage, transport: str = "tcp", *options: str, background: bool = True) -> Daemon:
    """A daemon before which the other end is ready: its clients talk to an echo."""
    echo = stage.echo(transport)
    server = stage.spiped("-d", echo.address)
    return stage.spiped("-e", server.source, *options, background=background)


# The start


@both_transports
def test_the_daemon_listens_when_the_command_has_returned(stage: Stage, transport: str) -> None:
    daemon = start(stage, transport)
    assert is_listening(daemon.source)
    with daemon.connect() as client:
        assert echoes(client)


def test_the_pid_file_holds_the_supervisors_pid_and_no_newline(stage: Stage) -> None:
    daemon = start(stage)
    assert daemon.pid_file is not None
    content = daemon.pid_file.read_text()
    assert content == str(int(content))
    assert daemon.workers
    assert all(os.getsid(pid) == daemon.pid for pid in (daemon.pid, *daemon.workers))


def test_the_pid_file_is_named_after_the_source_unless_told_otherwise(stage: Stage) -> None:
    source = stage.address()
    words = ("-e", "-s", source, "-t", "[127.0.0.1]:1", "-k", stage.key)
    stage.run(ours("spiped"), *words, check=True)
    daemon = stage.adopt(stage.directory / f"{source}.pid", source)
    assert is_listening(daemon.source)


def test_a_pid_file_that_is_no_file_is_not_removed(stage: Stage) -> None:
    """It may be /dev/null; here it is a pipe, which anybody may make."""
    fifo = stage.directory / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR)
    try:
        words = ("-e", "-s", stage.address(), "-t", "[127.0.0.1]:1", "-k", stage.key)
        stage.run(ours("spiped"), *words, "-p", str(fifo), check=True)
        pid_file = stage.path("pid")
        pid_file.write_bytes(os.read(reader, 32))
        daemon = stage.adopt(pid_file)
        daemon.signal(signal.SIGTERM)
        daemon.wait_until_gone()
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(fifo.lstat().st_mode)


def test_there_is_no_pid_file_in_the_foreground(stage: Stage) -> None:
    start(stage, "tcp", "-p", str(stage.directory / "unwanted.pid"), background=False)
    assert not list(stage.directory.glob("*.pid"))


def test_the_output_of_the_command_ends_when_it_has_returned(stage: Stage) -> None:
    pid_file = stage.directory / "pid"
    words = (
        f"{ours('spiped')} -e -s {stage.address()} -t [127.0.0.1]:1 -k {stage.key} -p {pid_file}"
    )
    # reads the output to its end, which comes only when nobody holds it open any more
    result = stage.run("/bin/sh", "-c", f"echo before; x=$({words} 2>&1); echo after $? $x")
    daemon = stage.adopt(pid_file)
    assert result.stdout == b"before\nafter 0\n"
    for pid in (daemon.pid, *daemon.workers):
        streams = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)]
        assert streams == ["/dev/null"] * 3


def test_a_daemon_works_that_was_started_without_any_standard_stream(stage: Stage) -> None:
    echo = stage.echo()
    pid_file, source = stage.directory / "pid", stage.address()
    words = ("-d", "-s", source, "-t", echo.address, "-k", stage.key, "-p", str(pid_file))
    stage.run("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", ours("spiped"), *words, check=True)
    server = stage.adopt(pid_file, source)
    client = stage.spiped("-e", server.source)
    with client.connect() as peer:
        assert echoes(peer)


def test_the_key_may_come_from_standard_input(stage: Stage) -> None:
    echo = stage.echo()
    pid_file, source = stage.directory / "pid", stage.address()
    words = ("-d", "-s", source, "-t", echo.address, "-k", "-", "-p", str(pid_file))
    stage.run(ours("spiped"), *words, input=Path(stage.key).read_bytes(), check=True)
    server = stage.adopt(pid_file, source)
    client = stage.spiped("-e", server.source)
    with client.connect() as peer:
        assert echoes(peer)


def test_an_empty_key_works_and_is_mentioned(stage: Stage) -> None:
    echo = stage.echo()
    server = stage.spiped("-d", echo.address, key="/dev/null")
    client = stage.spiped("-e", server.source, key="/dev/null", program=theirs("spiped"))
    with client.connect() as peer:
        assert echoes(peer)
    assert server.said == "spiped: Warning: the key file is empty: /dev/null\n"


def test_a_unix_socket_is_open_to_those_whom_the_umask_lets(stage: Stage) -> None:
    echo = stage.echo()
    umask = os.umask(0o027)
    try:
        daemon = stage.spiped("-d", echo.address, source=stage.address("unix"))
    finally:
        os.umask(umask)
    mode = os.stat(daemon.source).st_mode
    assert stat.S_IMODE(mode) == 0o750


def test_a_stale_unix_socket_is_replaced(stage: Stage) -> None:
    stale = stage.address("unix")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(stale)
    echo = stage.echo()
    server = stage.spiped("-d", echo.address, source=stale)
    client = stage.spiped("-e", stale)
    with client.connect() as peer:
        assert echoes(peer)
    assert is_listening(server.source)


def test_processes_are_called_what_scripts_look_for(stage: Stage) -> None:
    daemon = start(stage)
    names = {daemon.pid: "spiped\n"} | dict.fromkeys(daemon.workers, "spiped: worker\n")
    for pid, name in names.items():
        assert Path(f"/proc/{pid}/comm").read_text() == name
        words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        assert f"spiped -e -s {daemon.source} -t " in words


def test_the_key_is_not_among_what_processes_show(stage: Stage) -> None:
    daemon = start(stage)
    for pid in (daemon.pid, *daemon.workers):
        targets = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        assert stage.key not in targets


# The end


@both_transports
def test_sigterm_lets_connections_finish_and_takes_no_new_ones(
    stage: Stage, transport: str
) -> None:
    daemon = start(stage, transport)
    with daemon.connect() as client:
        assert echoes(client)
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(daemon.source), "it listens no more")
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            daemon.connect()
        assert echoes(client, b"x" * 100_000)
        client.finish()
        assert client.read_to_end() == b""
    daemon.wait_until_gone()
    assert daemon.pid_file is not None
    assert not daemon.pid_file.exists()
    assert not Path(daemon.source).exists()


@both_transports
def test_sigterm_ends_an_idle_daemon_with_status_0(stage: Stage, transport: str) -> None:
    daemon = start(stage, transport, background=False)
    workers = daemon.workers
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert all(map(is_gone, workers))
    assert not Path(daemon.source).exists()


def test_a_second_sigterm_ends_the_rest_with_a_reset(stage: Stage) -> None:
    daemon = start(stage, background=False)
    with daemon.connect() as client:
        assert echoes(client)
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(daemon.source), "it listens no more")
        assert echoes(client)
        daemon.signal(signal.SIGTERM)
        assert client.read_to_reset() == b""
    assert daemon.wait() == 0


def test_a_connection_in_its_handshake_counts_until_it_times_out(stage: Stage) -> None:
    server = stage.spiped("-d", "[127.0.0.1]:1", "-o", "0.5")
    with server.connect() as silent:
        silent.receive(32)  # the nonce
        server.signal(signal.SIGTERM)
        assert silent.read_to_reset() == b""
    assert server.wait() == 0


def test_sigint_ends_everything_at_once(stage: Stage) -> None:
    daemon = start(stage, background=False)
    workers = daemon.workers
    with daemon.connect() as client:
        assert echoes(client)
        daemon.signal(signal.SIGINT)
        assert client.read_to_reset() == b""
    assert daemon.wait() == -signal.SIGINT
    assert all(map(is_gone, workers))


def test_an_interrupt_that_was_ignored_at_the_start_stays_ignored(stage: Stage) -> None:
    """A shell makes background jobs ignore it, so that Ctrl-C is for what runs in front of them."""
    beginning = ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    server = stage.spiped("-d", stage.echo().address, beginning=beginning)
    client = stage.spiped("-e", server.source)
    server.signal(signal.SIGINT)
    assert is_echoed(client.source)
    assert not server.is_gone


def test_files_that_others_have_put_in_place_of_ours_stay(stage: Stage) -> None:
    daemon = start(stage, "unix")
    assert daemon.pid_file is not None
    daemon.pid_file.unlink()
    daemon.pid_file.write_text("another's")
    Path(daemon.source).unlink()
    successor = stage.on_stage(Listener(daemon.source))
    daemon.signal(signal.SIGTERM)
    daemon.wait_until_gone()
    assert daemon.pid_file.read_text() == "another's"
    Peer.connect(successor.address).close()


# What outlives a connection, and what does not


def test_an_established_connection_outlives_the_timeout(stage: Stage) -> None:
    echo = stage.echo()
    server = stage.spiped("-d", echo.address, "-o", "0.2")
    client = stage.spiped("-e", server.source, "-o", "0.2")
    with client.connect() as idle:
        assert echoes(idle)
        for _ in range(2):  # a peer that says nothing is dropped after that time: our clock
            with server.connect() as silent:
                nonce, clean = silent.read_all()
                assert (len(nonce), clean) == (32, False)
        assert echoes(idle)


def test_a_reader_of_stderr_that_goes_away_harms_nobody(stage: Stage) -> None:
    echo = stage.echo()
    readable, writable = os.pipe()
    server = stage.spiped("-d", echo.address, stderr=writable)
    os.close(writable)
    os.close(readable)
    stranger = stage.spiped("-e", server.source, key=stage.write("other_key", b"another"))
    assert nothing_comes_back(stranger.source)  # of which there is something to be said
    client = stage.spiped("-e", server.source)
    with client.connect() as peer:
        assert echoes(peer)
    assert not server.is_gone


@pytest.mark.parametrize("option", ["-o", "--idle-timeout", "--shutdown-timeout", "-r"])
def test_times_that_nobody_will_live_to_see_are_as_good_as_infinite(
    stage: Stage, backend: str, option: str
) -> None:
    port = stage.echo().address.rpartition(":")[2]
    server = stage.spiped("-d", f"localhost:{port}", option, "1e306")
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source)
