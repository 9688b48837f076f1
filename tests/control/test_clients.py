"""Clients of the control socket that are many, slow, silent, strangers, or no clients at all."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import stat
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from spiped.control.protocol import REQUEST_MAX
from spiped.control.server import CLIENTS_MAX
from tests.control.rig import Client, Controlled, controlled, ctl
from tests.daemons import KEY, Stage, echoes, is_echoed, is_gone, needs, ours, wait_until
from tests.process.programs import write_program
from tests.process.test_identity import USER, needs_root


@pytest.fixture
def server(stage: Stage) -> Controlled:
    return controlled(stage)


def impatient(stage: Stage, **limits: float) -> Controlled:
    """A daemon that has less patience with clients, or another limit that is lower."""
    lines = [f"spiped.control.server.{name} = {value}" for name, value in limits.items()]
    harm = "\n".join(["import spiped.control.server", *lines])
    program = write_program(stage.directory / "spiped", "1", harm)
    return controlled(stage, "-d", None, "-n", "0", program=program)


def sent_for_ever(client: Client, data: bytes) -> bool:
    """All that is sent is taken; False: until there is an end."""
    with suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(1000):
            client.send(data)
        return True
    return False


# Requests that come in another way


def test_a_request_may_come_in_pieces_and_several_at_once(server: Controlled) -> None:
    with server.connect() as client:
        for byte in b"show version\n":
            client.send(bytes([byte]))
        assert (client.receive() or {})["ok"] is True
        client.send(b"show version\nbla\nshow version\nsho")
        assert [(client.receive() or {})["ok"] for _ in range(3)] == [True, False, True]
        assert client.ask("w version")["ok"] is True


def test_any_number_of_requests_may_come_at_once(server: Controlled) -> None:
    """Also of those whose answer could be awaited."""
    requests = [b"wait ready\n", b"show version\n", b"kill 1-1\n", b"wait drained 0\n"] * 25
    with server.connect() as client:
        client.send(b"".join(requests) * 2).finish()
        answers = [client.receive() for _ in range(2 * len(requests))]
        assert [(answer or {})["ok"] for answer in answers[:4]] == [True, True, False, False]
        assert None not in answers
        assert client.receive() is None


@pytest.mark.parametrize("request_", [b"show version\n", b"show version", b"show version\r\n"])
def test_a_client_may_have_ended_its_direction(server: Controlled, request_: bytes) -> None:
    with server.connect() as client:
        client.send(request_).finish()
        assert (client.receive() or {})["ok"] is True
        assert client.receive() is None


def test_a_client_that_has_ended_its_direction_may_wait(server: Controlled) -> None:
    with server.connect() as waiting, server.connect() as events:
        waiting.send(b"wait drained").finish()
        events.follow().finish()
        assert server.ask("drain")["ok"] is True
        events.wait_for("stopped")
        assert waiting.receive() == {"ok": True, "state": "ended"}


def test_socat_is_a_client(stage: Stage, server: Controlled) -> None:
    socat = stage.run(
        needs("socat"), "-t", "30", "-", f"UNIX-CONNECT:{server.path}", input=b"show version\n"
    )
    assert (socat.returncode, json.loads(socat.stdout)["ok"]) == (0, True)


def test_a_client_that_leaves_without_a_word_is_forgotten(server: Controlled) -> None:
    before = psutil.Process(server.daemon.pid).num_fds()
    for data in (b"", b"show", b"show\n", b"wait drained\n", b"events\n"):
        for _ in range(20):
            with server.connect() as client:
                client.send(data)
    wait_until(lambda: server.ask("show version")["ok"], "there is room")
    wait_until(
        lambda: psutil.Process(server.daemon.pid).num_fds() <= before, "no descriptor is left"
    )


def test_a_request_has_a_longest_length(server: Controlled) -> None:
    fits = b"show version".ljust(REQUEST_MAX - 1) + b"\n"
    refusal = {
        "ok": False,
        "reason": "bad_request",
        "error": f"A request is at most {REQUEST_MAX} bytes",
    }
    with server.connect() as client:
        assert (client.send(fits).receive() or {})["ok"] is True
        client.send(b"show version".ljust(REQUEST_MAX) + b"\n")
        assert client.receive() == refusal
        assert client.receive() is None
    with server.connect() as client:
        client.send(b"x" * (REQUEST_MAX + 1))  # whose end is not awaited
        assert client.receive() == refusal


def test_garbage_without_an_end_ends(server: Controlled) -> None:
    with server.connect() as client:
        assert not sent_for_ever(client, os.urandom(1 << 16).replace(b"\n", b"."))
        assert server.ask("show version")["ok"] is True


# Those who are slow


def test_a_client_that_says_nothing_is_let_go(stage: Stage) -> None:
    server = impatient(stage, PATIENCE=0.3)
    refusal = {
        "ok": False,
        "reason": "too_slow",
        "error": "There was no request within 0.3 s",
    }
    with server.connect() as silent, server.connect() as slow, server.connect() as waiting:
        slow.send(b"sho")
        waiting.send(b"wait drained\n")
        for client in (silent, slow):
            assert client.receive() == refusal
            assert client.receive() is None
        with server.connect() as events:
            events.follow()
            assert not waiting.has_news()
            assert not events.has_news()


def test_a_client_that_does_not_read_its_answers_is_let_go_and_harms_nobody(stage: Stage) -> None:
    server = impatient(stage, PATIENCE=0.5)
    client = stage.spiped("-e", server.daemon.source, "-n", "0")
    with ExitStack() as stack:
        for _ in range(100):
            assert echoes(stack.enter_context(client.connect()))
        deaf = stack.enter_context(server.connect())
        requests = b"show connections limit=0\n" * 10_000
        ended = stage.meanwhile(sent_for_ever, deaf, requests)
        while not ended.done():
            assert is_echoed(client.source)
            assert server.ask("show version")["ok"] is True
        assert not ended.result()
        assert server.ask("show")["ok"] is True


def test_answers_that_nobody_takes_have_a_limit_together(stage: Stage) -> None:
    server = impatient(stage, HELD_MAX=100_000)
    client = stage.spiped("-e", server.daemon.source, "-n", "0")
    with ExitStack() as stack:
        for _ in range(100):
            assert echoes(stack.enter_context(client.connect()))
        for _ in range(20):
            deaf = stack.enter_context(server.connect())
            deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            deaf.send(b"show connections limit=0\n" * 50)
        answer = wait_until(
            lambda: (found := server.ask("show"))["ok"] is False and found, "it is laden"
        )
        assert answer["reason"] == "busy"
    wait_until(lambda: server.ask("show")["ok"], "they have gone")


# Those who are many


def test_a_thousand_clients_at_once_are_served_or_told_and_harm_nobody(
    stage: Stage, server: Controlled
) -> None:
    client = stage.spiped("-e", server.daemon.source)
    with ExitStack() as stack:
        peer = stack.enter_context(client.connect())
        clients = [stack.enter_context(server.connect()) for _ in range(1000)]
        assert echoes(peer)
        answers = []
        for each in clients:
            with suppress(BrokenPipeError, ConnectionResetError):
                each.send(b"show version\n")
            answers.append(each.receive() or {})
        served = [answer for answer in answers if answer["ok"]]
        assert len(served) == CLIENTS_MAX
        assert {answer["reason"] for answer in answers if not answer["ok"]} == {"busy"}
        assert is_echoed(client.source)
    wait_until(lambda: server.ask("show version")["ok"], "there is room again")


def test_clients_wait_when_there_are_no_descriptors(server: Controlled) -> None:
    pid = server.daemon.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    with server.connect() as client:
        client.send(b"show version\n")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        assert (client.receive() or {})["ok"] is True


# Who may


def as_user(uid: int, path: Path, request: str) -> subprocess.CompletedProcess[str]:
    """What another user is answered."""
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(30); s.connect(sys.argv[1])\n"
        "try: s.sendall(sys.argv[2].encode() + b'\\n')\n"
        "except OSError: pass\n"
        "sys.stdout.write(s.makefile().readline())\n"
    )
    return subprocess.run(
        ["/usr/bin/python3", "-c", program, str(path), request],
        user=uid,
        group=USER.pw_gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@needs_root
def test_another_user_may_not_connect_and_is_refused_if_he_can(
    stage: Stage, public_place: Path
) -> None:
    server = controlled(stage)
    control = public_place / "control"
    daemon = stage.spiped("-d", stage.echo().address, "--control", str(control))
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    assert "PermissionError" in as_user(USER.pw_uid, control, "stop").stderr
    control.chmod(0o666)  # as an operator may do
    answer = json.loads(as_user(USER.pw_uid, control, "stop").stdout)
    assert answer == {
        "ok": False,
        "reason": "not_allowed",
        "error": f"User {USER.pw_uid} may not use this socket",
    }
    assert not daemon.is_gone
    assert server.ask("show")["ok"] is True


@needs_root
def test_the_socket_belongs_to_the_user_of_u_who_may_use_it_and_so_may_root(
    stage: Stage, public_place: Path
) -> None:
    control, log = public_place / "control", public_place / "log"
    log.touch()
    os.chown(log, USER.pw_uid, USER.pw_gid)
    words = ("--control", str(control), "--log-file", str(log), "--log-format", "json")
    daemon = stage.spiped("-d", stage.echo().address, *words, "-u", USER.pw_name)
    made = control.stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (USER.pw_uid, 0o600)
    answer = json.loads(as_user(USER.pw_uid, control, "log debug").stdout)
    assert answer == {"ok": True, "level": "debug"}
    with Client(control) as client:
        assert client.ask("log info")["ok"] is True
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    audits = [line for line in lines if line["event"] == "control_request"]
    assert [(line["by_uid"], line["what"]) for line in audits] == [
        (USER.pw_uid, "log debug"),
        (0, "log info"),
    ]
    assert {line["pid"] for line in lines} == {daemon.pid}
    assert audits[1]["by_pid"] == os.getpid()


# The file


def test_a_socket_that_is_left_over_is_replaced(stage: Stage) -> None:
    path = stage.directory / "control"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = controlled(stage)
    assert server.path == path
    server.daemon.signal(signal.SIGKILL)
    wait_until(lambda: server.daemon.is_gone, "it is dead")
    assert path.exists()
    assert controlled(stage).ask("show version")["ok"] is True


def test_a_socket_of_another_daemon_and_any_other_file_stay(
    stage: Stage, server: Controlled
) -> None:
    file = Path(stage.write("file", b"content"))
    taken = stage.on_stage(stage.listener("unix")).address
    for path in (str(server.path), str(file), taken):
        words = ["-d", "-F", "-s", stage.address(), "-t", "[127.0.0.1]:9", "-k", stage.key]
        result = stage.run(ours("spiped"), *words, "--control", path, text=True)
        assert result.returncode == 1
        assert f"spiped: --control {path}: " in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert file.read_bytes() == b"content"
    assert server.ask("show version")["pid"] == server.daemon.pid


def test_a_path_that_can_be_no_socket_is_refused_in_one_line(stage: Stage) -> None:
    for path in (str(stage.directory / "no" / "such"), "/" + "x" * 200, ""):
        words = ["-d", "-F", "-s", stage.address(), "-t", "[127.0.0.1]:9", "-k", stage.key]
        result = stage.run(ours("spiped"), *words, "--control", path, text=True)
        assert result.returncode == 1
        assert "--control" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_successor_takes_the_path_of_a_daemon_that_drains(stage: Stage) -> None:
    server = controlled(stage)
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as peer, server.connect() as before:
        assert echoes(peer)
        assert before.ask("drain")["state"] == "draining"
        successor = controlled(stage)
        assert successor.ask("show")["pid"] == successor.daemon.pid
        assert before.ask("show")["pid"] == server.daemon.pid
        assert peer.finish().read_to_end() == b""
        assert before.receive() is None
    assert server.daemon.wait() == 0
    assert successor.ask("show")["state"] == "serving"


def test_a_path_may_be_relative(stage: Stage) -> None:
    daemon = stage.spiped("-d", stage.echo().address, "--control", "here")
    assert ctl(stage, "here", "wait", "ready").returncode == 0
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert not (stage.directory / "here").exists()


# Other processes


def test_workers_hold_neither_the_socket_nor_its_clients(stage: Stage) -> None:
    """So both have an end when the supervisor has, though workers go on with connections."""
    server = controlled(stage)
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as peer, server.connect() as idle, server.connect() as waiting:
        idle.ask("show version")
        waiting.send(b"wait drained\n")
        assert idle.ask("reload")["ok"] is True  # workers that have seen clients
        assert idle.ask("wait reloaded")["ok"] is True
        assert echoes(peer)
        workers = server.daemon.workers
        server.daemon.signal(signal.SIGKILL)
        assert idle.receive() is None
        assert waiting.receive() is None
        wait_until(lambda: server.daemon.is_gone, "it is dead")
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert echoes(peer)
        assert not all(map(is_gone, workers))
    wait_until(lambda: all(map(is_gone, workers)), "workers leave")


def test_a_daemon_in_the_background_is_asked_like_any_other(stage: Stage) -> None:
    server = controlled(stage, "-d", None, background=True)
    assert Path(stage.key).read_bytes() == KEY
    assert server.ask("show")["pid"] == server.daemon.pid
    assert server.ask("drain")["ok"] is True
    server.daemon.wait_until_gone()
    assert not server.path.exists()


def test_without_the_option_nothing_of_it_is_imported(stage: Stage) -> None:
    seen = stage.directory / "modules"
    harm = (
        "import atexit, os, sys\n"
        "leave = os._exit\n"
        f"def told(status): open({str(seen)!r}, 'a').write(' '.join(sys.modules)); leave(status)\n"
        "os._exit = told\n"
    )
    program = write_program(stage.directory / "spiped", "1", harm)
    daemon = stage.spiped("-d", stage.echo().address, program=program)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    modules = seen.read_text().split()
    assert "spiped.service.supervisor" in modules
    ours_ = ("spiped.control", "spiped.observe.view", "spiped.options.verbs")
    assert not [name for name in modules if name.startswith(ours_)]


# Readers of events that are none


def test_whoever_asks_for_events_and_is_gone_is_not_told_of_any(stage: Stage) -> None:
    """Else workers tell of every connection, for nobody."""
    target = stage.echo().address
    server = controlled(stage, "-d", target)
    client = stage.spiped("-e", server.daemon.source)
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(server.path))
            sock.send(b"events\n")
    assert server.ask("show version")["ok"] is True  # whoever came before has been dealt with
    supervisor = psutil.Process(server.daemon.pid)
    before = supervisor.num_ctx_switches().voluntary
    for _ in range(100):
        assert is_echoed(client.source)
    assert supervisor.num_ctx_switches().voluntary - before < 100


def is_let_go(client: Client) -> bool:
    """The daemon has closed; nothing is read, of what it may have sent."""
    poll = select.poll()
    poll.register(client.sock, 0)
    return bool(poll.poll(0))


def test_a_reader_of_events_that_takes_nothing_is_let_go(stage: Stage) -> None:
    server = impatient(stage, PATIENCE=0.5)
    with server.connect() as client:
        client.send(b"events\n")

        def has_ended() -> bool:
            for _ in range(50):  # of which it is told each time
                server.ask("log info")
            return is_let_go(client)

        wait_until(has_ended, "it has been let go")


def test_a_request_that_trickles_in_is_not_awaited_for_ever(stage: Stage) -> None:
    server = impatient(stage, PATIENCE=0.5)
    with server.connect() as client:

        def is_refused() -> bool:
            with suppress(BrokenPipeError, ConnectionResetError):
                client.send(b"x")
            return is_let_go(client)

        wait_until(is_refused, "it has been let go")
