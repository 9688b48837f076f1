"""Sockets that somebody else has opened: passed by a service manager, or simply inherited."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.daemons import (
    Daemon,
    Peer,
    Program,
    Stage,
    echoes,
    family_of,
    is_echoed,
    is_gone,
    is_listening,
    needs,
    ours,
    wait_until,
)
from tests.process.service_manager import Manager, high, listening, passing
from tests.process.test_upgrade import Release

both_transports = pytest.mark.parametrize("transport", ["tcp", "unix"])


def start(
    stage: Stage,
    sock: socket.socket,
    *options: str,
    source: str = "systemd:mail",
    beginning: list[str] | None = None,
    program: str | None = None,
) -> Daemon:
    """A daemon in the foreground that serves this socket, before a server with an echo."""
    server = stage.spiped("-d", stage.echo().address)
    words = [program or ours("spiped"), "-F", "-e", "-s", source, "-t", server.source]
    words += ["-k", stage.key, "--workers", "2", *options]
    if beginning is None:
        beginning = passing(sock.fileno(), LISTEN_FDNAMES="mail")
    started = stage.start(*beginning, *words, pass_fds=[sock.fileno()])
    name = sock.getsockname()
    address = name if isinstance(name, str) else "[{}]:{}".format(*name)
    daemon = Daemon(started.process, started.pid, started._stderr, address)
    wait_until(lambda: len(daemon.workers) == 2 or daemon.is_gone, "it has workers")
    return daemon


def refusal(stage: Stage, *fds: int, source: str = "systemd:mail", **variables: str) -> str:
    """What a start says that comes to nothing: one line."""
    words = [ours("spiped"), "-F", "-e", "-s", source, "-t", "[127.0.0.1]:1", "-k", stage.key]
    result = stage.run(*passing(*fds, **variables), *words, pass_fds=fds, text=True)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.removeprefix(f"spiped: -s {source}: ")


def has(sock: socket.socket) -> Callable[[int], bool]:
    """Whether a process has this socket open."""
    link = f"socket:[{os.fstat(sock.fileno()).st_ino}]"

    def is_open_in(pid: int) -> bool:
        with suppress(OSError):  # it has ended
            return link in [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        return False

    return is_open_in


# A socket that is served


@both_transports
def test_a_passed_socket_is_served_and_left_to_whoever_has_opened_it(
    stage: Stage, transport: str
) -> None:
    sock = listening(stage, stage.address(transport))
    daemon = start(stage, sock)
    assert is_echoed(daemon.source, b"x" * 100_000)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert daemon.said == ""
    assert is_listening(daemon.source)
    if transport == "unix":
        assert stat.S_ISSOCK(Path(daemon.source).stat().st_mode)


def test_nobody_is_refused_between_one_daemon_and_the_next(stage: Stage) -> None:
    sock = listening(stage, stage.address())
    daemon = start(stage, sock)
    with daemon.connect() as during:
        assert echoes(during)
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: not any(map(has(sock), family_of(daemon.pid))), "it has let go of it")
        with daemon.connect() as between:
            between.send(b"hello")
            assert echoes(during)
            during.close()
            assert daemon.wait() == 0
            start(stage, sock)
            assert between.receive(5) == b"hello"


@pytest.mark.parametrize("fd", [0, 7, 60])
def test_an_inherited_socket_is_served_by_its_number(stage: Stage, fd: int) -> None:
    sock = listening(stage, stage.address())
    move = f'exec {fd}<&{sock.fileno()}; exec "$@"'
    words = [needs("bash"), "-c", move, "bash"]
    daemon = start(stage, sock, source=f"fd:{fd}", beginning=words)
    sock.close()  # from now on it is the daemon's alone
    assert is_echoed(daemon.source)
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: not is_listening(daemon.source), "it is closed")
    assert daemon.wait() == 0


def test_systemd_starts_it_when_the_first_client_comes(stage: Stage) -> None:
    server = stage.spiped("-d", stage.echo().address)
    source = stage.address()
    activate = needs("systemd-socket-activate")
    words = (ours("spiped"), "-F", "-e", "-s", "systemd:mail", "-t", server.source, "-k", stage.key)
    program: Program = stage.start(
        activate, "-l", source.replace("[", "").replace("]", ""), "--fdname=mail", *words
    )
    wait_until(lambda: is_listening(source), "systemd listens")
    assert is_echoed(source)
    assert is_echoed(source)
    program.signal(signal.SIGTERM)
    assert program.wait() == 0


def test_it_is_as_ready_for_use_as_a_socket_of_our_own(stage: Stage) -> None:
    """A worker that is killed resets its connections, which is a matter of the socket's options."""
    sock = listening(stage, stage.address())
    daemon = start(stage, sock, "--log-level", "notice")
    daemon.wait_to_say("Started: ")  # until then, the death of a worker is that of the daemon
    with daemon.connect() as peer:
        assert echoes(peer)
        for pid in daemon.workers:
            os.kill(pid, signal.SIGKILL)
        assert peer.read_to_reset() == b""
    assert is_echoed(daemon.source)


@both_transports
def test_it_is_kept_through_reloads_and_upgrades(stage: Stage, transport: str) -> None:
    sock = listening(stage, stage.address(transport))
    release = Release(stage)
    log = stage.path("log")
    daemon = start(stage, sock, "--log-file", str(log), program=str(release.path))
    with daemon.connect() as peer:
        assert echoes(peer)
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGUSR2, signal.SIGHUP):
            before = log.read_text().count("Reloaded: ")
            release.publish(str(number))
            daemon.signal(number)
            wait_until(lambda n=before: log.read_text().count("Reloaded: ") > n, "it is done")
            assert is_echoed(daemon.source)
            assert echoes(peer)
    assert log.read_text().count("Upgraded: ") == 2
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert is_listening(daemon.source)


# Pid file, names


def test_in_the_background_there_is_no_pid_file_unless_one_is_named(stage: Stage) -> None:
    manager = Manager(stage)
    for options in ((), ("-p", "named.pid")):
        sock = listening(stage, stage.address())
        words = ("-e", "-s", "systemd:mail", "-t", "[127.0.0.1]:1", "-k", stage.key, *options)
        beginning = passing(sock.fileno(), LISTEN_FDNAMES="mail")
        before = len(manager.all("MAINPID"))
        command = (*beginning, ours("spiped"), *words)
        assert stage.run(*command, pass_fds=[sock.fileno()]).returncode == 0
        wait_until(lambda n=before: len(manager.all("MAINPID")) > n, "there is a daemon")
        pid = int(manager.all("MAINPID")[-1].told["MAINPID"])
        names = [path.name for path in stage.directory.glob("*.pid")]
        assert names == (["named.pid"] if options else [])
        if options:
            assert (stage.directory / "named.pid").read_text() == str(pid)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda pid=pid: is_gone(pid), "it has ended")


def test_an_unnamed_socket_is_called_unknown(stage: Stage) -> None:
    sock = listening(stage, stage.address())
    daemon = start(stage, sock, source="systemd:unknown", beginning=passing(sock.fileno()))
    assert is_echoed(daemon.source)


def test_of_several_the_one_that_is_named_is_served_and_the_others_are_closed(
    stage: Stage,
) -> None:
    wanted, other = (listening(stage, stage.address()) for _ in range(2))
    fds = other.fileno(), wanted.fileno()
    server = stage.spiped("-d", stage.echo().address)
    words = ("-F", "-e", "-s", "systemd:mail", "-t", server.source, "-k", stage.key)
    beginning = passing(*fds, LISTEN_FDNAMES="other:mail")
    program = stage.start(*beginning, ours("spiped"), *words, pass_fds=fds)
    program.wait_to_say(
        "spiped: Warning: sockets were passed that -s does not name, and are closed: other\n"
    )
    address = "[{}]:{}".format(*wanted.getsockname())
    assert is_echoed(address)
    forgotten = "[{}]:{}".format(*other.getsockname())
    other.close()
    wait_until(lambda: not is_listening(forgotten), "nobody has it any more")


def test_sockets_that_no_option_names_are_mentioned(stage: Stage) -> None:
    sock = listening(stage, stage.address())
    source = stage.address()
    daemon = start(stage, sock, source=source)
    daemon.wait_to_say("sockets were passed that -s does not name, and are closed: mail\n")
    assert is_listening(source)


def test_a_source_that_leads_back_to_itself_is_noticed(stage: Stage) -> None:
    address = stage.address()
    sock = listening(stage, address)
    words = ("-F", "-e", "-s", "systemd:mail", "-t", address, "-k", stage.key)
    beginning = passing(sock.fileno(), LISTEN_FDNAMES="mail")
    program = stage.start(*beginning, ours("spiped"), *words, pass_fds=[sock.fileno()])
    program.wait_to_say(f"{address} is both source (-s) and target (-t)")


# Mistakes, each with its own words


def test_without_a_service_manager_there_is_no_such_socket(stage: Stage) -> None:
    words = ("-F", "-e", "-s", "systemd:mail", "-t", "[127.0.0.1]:1", "-k", stage.key)
    result = stage.run(ours("spiped"), *words, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        "spiped: -s systemd:mail: no service manager has passed sockets (LISTEN_FDS)\n"
    )


def test_sockets_for_another_process_are_not_ours(stage: Stage) -> None:
    sock = listening(stage, stage.address())
    line = refusal(stage, sock.fileno(), LISTEN_FDNAMES="mail", LISTEN_PID="1")
    assert line.startswith("sockets have been passed to process 1, and this is ")


@pytest.mark.parametrize("count", ["", "0", "-1", "one", "99999999999999999999999", "٣"])
def test_a_number_of_sockets_that_is_none_is_named(stage: Stage, count: str) -> None:
    assert refusal(stage, LISTEN_FDS=count) == f"LISTEN_FDS={count} is no number of sockets"


def test_a_name_that_has_not_been_passed_is_refused_with_those_that_have(stage: Stage) -> None:
    one, two = (listening(stage, stage.address()) for _ in range(2))
    line = refusal(stage, one.fileno(), two.fileno(), LISTEN_FDNAMES="web:ssh")
    assert line == "no socket of this name has been passed, but: ssh, web"


def test_a_name_must_be_that_of_one_socket(stage: Stage) -> None:
    one, two = (listening(stage, stage.address()) for _ in range(2))
    line = refusal(stage, one.fileno(), two.fileno(), LISTEN_FDNAMES="mail:mail")
    assert line == "2 sockets have this name; give each a FileDescriptorName= of its own"


def test_a_descriptor_that_is_not_open_is_refused(stage: Stage) -> None:
    assert refusal(stage, source="fd:77") == "descriptor 77 is not open"
    closed = refusal(stage, LISTEN_FDS="1", LISTEN_FDNAMES="mail")
    assert closed == "descriptor 3 is not open"


def test_what_is_no_socket_is_refused(stage: Stage) -> None:
    with open(stage.key, "rb") as file:
        moved = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 50)
    try:
        assert refusal(stage, moved, LISTEN_FDNAMES="mail") == "descriptor 3 is not a socket"
    finally:
        os.close(moved)


def test_a_datagram_socket_is_refused(stage: Stage) -> None:
    sock = high(stage, socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    line = refusal(stage, sock.fileno(), LISTEN_FDNAMES="mail")
    assert line == "descriptor 3 is not a stream socket (ListenStream=)"


def test_a_socket_that_does_not_listen_is_refused(stage: Stage) -> None:
    """What a service manager passes with Accept=yes: a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = high(stage, socket.create_connection(server.getsockname()))
    line = refusal(stage, client.fileno(), LISTEN_FDNAMES="mail")
    assert line == "descriptor 3 does not listen (a socket unit needs Accept=no)"


def test_a_socket_of_another_kind_is_refused(stage: Stage) -> None:
    try:
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    except (AttributeError, OSError):
        pytest.skip("this system has no other kind of stream socket")
    sock = high(stage, sock)
    line = refusal(stage, sock.fileno(), LISTEN_FDNAMES="mail")
    assert line == "descriptor 3 is neither a TCP nor a UNIX socket"


def test_children_do_not_see_the_variables(stage: Stage) -> None:
    """An upgrade must not take its own descriptors for what has been passed."""
    heard = stage.path("environment")
    says = f"""
import os
with open({str(heard)!r}, "a") as file:
    print(sorted(name for name in os.environ if name.startswith("LISTEN_")), file=file)
"""
    sock = listening(stage, stage.address())
    release = Release(stage)
    daemon = start(stage, sock, program=str(release.path))
    release.publish("2", says)
    daemon.signal(signal.SIGUSR2)
    wait_until(lambda: heard.exists() and heard.read_text().count("\n") == 2, "it is upgraded")
    assert heard.read_text() == "[]\n[]\n"
    assert is_echoed(daemon.source)
    with Peer.connect(daemon.source) as peer:
        assert echoes(peer)
