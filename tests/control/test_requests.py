"""What a daemon answers on its control socket, and what it does."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from spiped.observe.view import CONNECTION_FIELDS
from spiped.options.settings import LEVELS
from spiped.options.table import options_of
from tests.control.rig import Client, Controlled, ask_again, controlled
from tests.daemons import (
    Peer,
    Stage,
    asleep,
    echoes,
    is_echoed,
    is_gone,
    wait_until,
)
from tests.process.programs import write_program

PLANES = {"native": {}, "portable": {"SPIPED_BACKEND": "pure"}}


@pytest.fixture(params=PLANES)
def plane(stage: Stage, request: pytest.FixtureRequest) -> None:
    """Either data plane carries the connections of the test's daemons."""
    stage.env |= PLANES[request.param]


@pytest.fixture
def server(stage: Stage) -> Controlled:
    return controlled(stage)


def audited(server: Controlled, what: str, result: str, peer: str = "") -> bool:
    """The log says that we have asked for it."""
    about = f"connection from {peer}; " if peer else ""
    who = f"({about}asked for by user {os.getuid()}, process {os.getpid()})"
    return f": Control: {what}: {result} {who}\n" in server.log


# What there is


def test_show_is_the_status(stage: Stage, server: Controlled) -> None:
    shown = server.ask("show")
    assert shown["ok"] is True
    assert shown["pid"] == server.daemon.pid
    assert shown["state"] == "serving"
    assert [worker["pid"] for worker in shown["workers"]] == server.daemon.workers
    assert server.ask("show pipes")["pipes"][0]["source"] == server.daemon.source
    assert server.ask("show workers")["workers"] == shown["workers"]
    assert server.ask("show targets")["targets"][0]["pipe"] == server.daemon.source
    version = server.ask("show version")
    assert version["version"] == shown["version"]
    assert version["pid"] == server.daemon.pid


def test_show_config_has_every_option_in_force(server: Controlled) -> None:
    config = {each["option"]: each["value"] for each in server.ask("show config")["config"]}
    folded = {"--no-resolve", "--verbose", "--help", "--version"}
    assert set(config) == {option.word for option in options_of("spiped")} - folded
    assert config["--decrypt"] is True
    assert config["--encrypt"] is False
    assert config["--workers"] == 2
    assert config["--source"] == server.daemon.source
    assert config["--idle-timeout"] == "inf"
    assert config["--no-sandbox"] is False


def test_show_config_has_what_follows_from_others(stage: Stage) -> None:
    server = controlled(stage, "-d", None, "-n", "40", "--workers", "auto")
    config = {each["option"]: each["value"] for each in server.ask("show config")["config"]}
    assert config["--max-unauthenticated"] == 30
    assert config["--workers"] == len(server.daemon.workers)
    assert config["--log-level"] == "notice"
    server.ask("log debug")
    config = {each["option"]: each["value"] for each in server.ask("show config")["config"]}
    assert config["--log-level"] == "debug"


def test_show_connections_can_be_those_of_a_peer(stage: Stage, server: Controlled) -> None:
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as one, client.connect() as other:
        assert echoes(one)
        assert echoes(other)
        peers = [row["peer"] for row in server.connections()]
        for peer in peers:
            shown = server.ask(f"show connections peer={peer}")
            assert [row["peer"] for row in shown["connections"]] == [peer]
            assert (shown["total"], shown["listed"], shown["hidden"]) == (1, 1, 0)
        assert server.ask("show connections peer=127.0.0.1 limit=1")["total"] == 2
        assert server.ask("show connections peer=192.0.2.1")["total"] == 0


def test_a_field_that_is_none_is_answered_with_those_that_are(server: Controlled) -> None:
    answer = server.ask("show connections sort=foo")
    assert answer["error"].endswith(f"it is one of {', '.join(CONNECTION_FIELDS)}")


def test_show_connections_can_be_sorted_and_limited(stage: Stage, server: Controlled) -> None:
    client = stage.spiped("-e", server.daemon.source)
    with ExitStack() as stack:
        for count in (1, 3, 2):
            peer = stack.enter_context(client.connect())
            assert all(echoes(peer) for _ in range(count))
        shown = server.ask("show connections sort=opened order=desc limit=2")
        assert (shown["total"], shown["listed"]) == (3, 2)
        assert all(set(row) == set(CONNECTION_FIELDS) for row in shown["connections"])
        opened = [row["opened"] for row in shown["connections"]]
        assert opened == [3 * opened[0] // 3, 2 * opened[0] // 3]
        assert len(server.connections()) == 3
        assert server.ask("show connections pipe=another")["connections"] == []


# Changes


def test_one_connection_among_a_thousand_is_found_and_ended(stage: Stage) -> None:
    server = controlled(stage, "-d", None, "-n", "0")
    client = stage.spiped("-e", server.daemon.source, "-n", "0")
    with ExitStack() as stack:
        peers = [stack.enter_context(client.connect()) for _ in range(1000)]
        for peer in peers:
            peer.send(b"x")
        for peer in peers:
            assert peer.receive(1) == b"x"
        chosen = peers[567]
        chosen.send(b"the one that is looked for").receive(26)
        rows = server.connections()
        assert len(rows) == 1000
        (row,) = [row for row in rows if row["opened"] == 27]
        assert server.ask(f"kill {row['id']}") == {"ok": True, "killed": row["id"]}
        assert chosen.read_all()[1] is False
        wait_until(lambda: len(server.connections()) == 999, "it is gone")
        assert all(echoes(peer) for peer in peers if peer is not chosen)
    assert audited(server, f"kill {row['id']}", "done", row["peer"])


@pytest.mark.usefixtures("plane")
def test_kill_ends_one_connection_once(stage: Stage) -> None:
    server = controlled(stage, "-d", None, "--verbose")
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as peer, client.connect() as other:
        assert echoes(peer)
        assert echoes(other)
        rows = server.connections()
        before = {row["id"] for row in rows}
        peer.send(b"more").receive(4)
        (row,) = [row for row in server.connections() if row not in rows and row["opened"] > 14]
        assert server.ask(f"kill {row['id']}")["ok"] is True
        peer.read_to_reset()
        missing = server.ask(f"kill {row['id']}")
        assert (missing["ok"], missing["reason"]) == (False, "not_found")
        assert echoes(other)
        assert {row["id"] for row in server.connections()} == before - {row["id"]}
    wait_until(lambda: f"({row['id']}): killed after " in server.log, "the log has it")
    assert server.log.index(f"kill {row['id']}: done") < server.log.index(": killed after ")
    assert audited(server, f"kill {row['id']}", f"There is no connection {row['id']}")


@pytest.mark.parametrize("connection", ["1-999999", "99-1", "0-0", "1-0", "999999999-1"])
def test_kill_says_if_there_is_no_such_connection(server: Controlled, connection: str) -> None:
    answer = server.ask(f"kill {connection}")
    assert (answer["ok"], answer["reason"]) == (False, "not_found")


def test_a_worker_that_hangs_or_dies_cannot_hold_a_kill_up(stage: Stage) -> None:
    server = controlled(stage, "-d", None, "--workers", "1")
    (pid,) = server.daemon.workers
    with asleep({pid}), server.connect() as client:
        client.send(b"kill 1-1\n")
        assert server.ask("show version")["ok"] is True
        assert client.receive() == {
            "ok": False,
            "reason": "failed",
            "error": "Worker 1 does not answer",
        }
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.ask("kill 1-1")["reason"] == "not_found", "it is buried")
    wait_until(lambda: server.ask("show")["ready"], "another serves")
    assert server.ask("kill 2-1")["reason"] == "not_found"


def test_reload_takes_the_new_key_and_wait_tells_when(stage: Stage, server: Controlled) -> None:
    assert server.ask("wait reloaded")["error"] == "No reload has been asked for"
    client = stage.spiped("-e", server.daemon.source, key=stage.write("new", b"new" * 11))
    assert not is_echoed(client.source)
    Path(stage.key).write_bytes(b"new" * 11)
    with server.connect() as control:
        assert control.ask("reload") == {"ok": True, "result": "begun"}
        assert control.ask("wait reloaded") == {"ok": True}
    assert server.ask("show")["generation"] == 2
    assert is_echoed(client.source)
    assert audited(server, "reload", "begun")


def test_wait_reloaded_tells_why_a_reload_has_failed(stage: Stage, server: Controlled) -> None:
    Path(stage.key).unlink()
    assert server.ask("reload")["ok"] is True
    answer = server.ask("wait reloaded 60")
    assert (answer["ok"], answer["reason"]) == (False, "failed")
    assert stage.key in answer["error"]
    Path(stage.key).write_bytes(b"new" * 11)
    with server.connect() as control:
        control.send(b"reload\nreload\nwait reloaded\n")
        assert [control.receive() for _ in range(3)][2] == {"ok": True}


def test_reopen_goes_on_with_a_new_log_file(stage: Stage, server: Controlled) -> None:
    server.log_file.rename(server.log_file.with_suffix(".1"))
    assert server.ask("reopen") == {"ok": True}
    assert audited(server, "reopen", "done")
    assert server.ask("show")["generation"] == 1


def test_reopen_says_why_there_is_no_new_log_file(stage: Stage, server: Controlled) -> None:
    server.log_file.rename(server.log_file.with_suffix(".1"))
    server.log_file.mkdir()
    answer = server.ask("reopen")
    assert answer["reason"] == "failed"
    assert str(server.log_file) in answer["error"]


def test_log_changes_what_is_logged(stage: Stage, server: Controlled) -> None:
    client = stage.spiped("-e", server.daemon.source)
    assert is_echoed(client.source)
    for level in LEVELS:
        assert server.ask(f"log {level}") == {"ok": True, "level": level}
        assert audited(server, f"log {level}", "done")
    assert server.ask("log debug")["ok"] is True
    assert is_echoed(client.source)
    wait_until(lambda: ": ended after " in server.log, "it is told of")
    assert ": begun\n" in server.log
    assert server.ask("log default")["ok"] is True


def test_drain_is_sigterm_and_a_second_one_no_more_than_that(
    stage: Stage, server: Controlled
) -> None:
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as peer, server.connect() as waiting, server.connect() as control:
        assert echoes(peer)
        waiting.send(b"wait drained\n")
        for _ in range(2):
            assert control.ask("drain") == {"ok": True, "result": "begun", "state": "draining"}
        assert echoes(peer)
        assert control.ask("show")["state"] == "draining"
        assert control.ask("wait ready")["error"] == "The daemon has been told to end"
        for request in ("reload", "upgrade"):
            assert control.ask(request)["error"] == "The daemon has been told to end"
        assert server.ask("wait drained 0")["reason"] == "timeout"
        assert peer.finish().read_to_end() == b""
        assert waiting.receive() == {"ok": True, "state": "ended"}
        assert waiting.receive() is None
    assert server.daemon.wait() == 0
    assert not server.path.exists()
    assert audited(server, "drain", "begun")
    assert server.log.index("Control: drain") < server.log.index("Stopping: ")


def test_stop_is_sigint(stage: Stage, server: Controlled) -> None:
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as peer:
        assert echoes(peer)
        assert server.ask("stop") == {"ok": True, "result": "begun", "state": "stopping"}
        peer.read_to_reset()
    assert server.daemon.wait() == -signal.SIGINT
    assert audited(server, "stop", "begun")
    assert server.log.index("Control: stop") < server.log.index("Stopping at once: ")


def test_a_lame_duck_is_not_ready_and_can_be_asked(stage: Stage) -> None:
    server = controlled(stage, "-d", None, "--shutdown-delay", "60")
    assert server.ask("drain")["state"] == "lame_duck"
    assert server.ask("drain")["state"] == "lame_duck"
    assert server.ask("show")["state"] == "lame_duck"
    assert server.ask("wait ready 60")["reason"] == "failed"


def test_waiting_has_an_end(server: Controlled) -> None:
    assert server.ask("wait ready")["ok"] is True
    for seconds in ("0", "0.01", "1e-3"):
        answer = server.ask(f"wait drained {seconds}")
        assert (answer["ok"], answer["reason"]) == (False, "timeout")


# Events


def test_events_tell_of_connections_and_changes_whatever_the_log_shows(
    stage: Stage, server: Controlled
) -> None:
    client = stage.spiped("-e", server.daemon.source)
    with server.connect() as events, server.connect() as control:
        events.follow()
        assert control.ask("log error")["ok"] is True
        assert events.wait_for("control_request")["what"] == "log error"
        wait_until(lambda: is_echoed(client.source) and events.has_news(), "workers tell")
        begun = events.wait_for("connection_begun")
        ended = events.wait_for("connection_ended")
        assert begun["id"] == ended["id"]
        assert ended["cause"] == "ended"
        control.ask("reload")
        assert events.wait_for("reloaded")["generation"] == 2
        workers = wait_until(
            lambda: [w for w in server.ask("show workers")["workers"] if w["generation"] == 2],
            "the new workers are listed",
        )
        os.kill(workers[0]["pid"], signal.SIGKILL)
        events.wait_for("worker_died")
        events.wait_for("worker_replaced")
    assert ": begun\n" not in server.log
    wait_until(lambda: server.ask("show")["ready"], "it serves as before")
    assert is_echoed(client.source)


def test_nobody_tells_of_connections_any_more_when_the_last_reader_has_gone(
    stage: Stage, server: Controlled
) -> None:
    """The supervisor has no need to hear of them."""
    client = stage.spiped("-e", server.daemon.source)
    with server.connect() as first:
        assert first.ask("events -w") == {"ok": True}
        with server.connect() as second:
            second.follow()
            wait_until(lambda: is_echoed(client.source) and second.has_news(), "workers tell")
            ended = second.wait_for("connection_ended")
        wait_until(lambda: is_echoed(client.source), "a connection")
        while first.wait_for("connection_ended")["id"] == ended["id"]:
            pass
    assert server.ask("show")["ok"] is True
    assert is_echoed(client.source)


def test_a_reader_who_does_not_keep_up_is_told_how_many_it_has_missed(
    stage: Stage, server: Controlled
) -> None:
    with server.connect() as events, server.connect() as other, server.connect() as control:
        events.follow()
        other.follow()
        count = 6000
        for _ in range(count):
            assert control.ask("log default")["ok"] is True
            assert other.receive() is not None
        seen = missed = 0
        while seen + missed < count:
            event = events.receive()
            assert event is not None
            if event["event"] == "events_missed":
                missed += event["number"]
            else:
                seen += event["event"] == "control_request"
        assert missed > 0
        assert (seen + missed) == count
        assert control.ask("log default")["ok"] is True
        assert events.wait_for("control_request")["what"] == "log default"


# Upgrades


def upgradable(stage: Stage, *options: str) -> tuple[Controlled, Path]:
    program = stage.directory / "spiped"
    write_program(program, "1")
    return controlled(stage, "-d", None, *options, program=str(program)), program


def test_upgrade_hands_the_socket_over_and_ends_what_waits_in_order(stage: Stage) -> None:
    server, program = upgradable(stage)
    made = server.path.stat().st_ino
    with server.connect() as events, server.connect() as waiting, server.connect() as idle:
        events.follow()
        waiting.send(b"wait drained\n")
        assert idle.ask("show version")["version"] == "1"
        write_program(program, "2")
        assert server.ask("upgrade") == {"ok": True, "result": "begun"}
        again = {"ok": False, "reason": "again", "error": "Another program takes over: ask again"}
        while (event := events.receive()) and "event" in event:
            pass
        assert event == again
        assert waiting.receive() == again
        assert [events.receive(), waiting.receive(), idle.receive()] == [None, None, None]
    assert ask_again(server.path, "wait reloaded") == {"ok": True}
    assert server.path.stat().st_ino == made
    shown = server.ask("show")
    assert (shown["version"], shown["upgrades"], shown["pid"]) == ("2", 1, server.daemon.pid)
    assert audited(server, "upgrade", "begun")
    assert server.ask("drain")["ok"] is True
    assert server.daemon.wait() == 0
    assert not server.path.exists()


def test_wait_reloaded_tells_why_an_upgrade_has_failed(stage: Stage) -> None:
    server, program = upgradable(stage)
    write_program(program, "2", "sys.exit('no, thank you')")
    assert server.ask("upgrade")["ok"] is True
    answer = server.ask("wait reloaded")
    assert (answer["ok"], answer["reason"]) == (False, "failed")
    assert answer["error"] == "The new program says: no, thank you"
    assert server.ask("show version")["version"] == "1"
    assert server.ask("reload")["ok"] is True
    assert server.ask("wait reloaded") == {"ok": True}


# Requests that are none

NO_REQUESTS = {
    "": "The request is empty",
    " \t ": "The request is empty",
    "shwo": "No such request: shwo; it is one of show, events, kill,",
    "SHOW": "No such request: SHOW",
    "dump pipes": "No such request: dump",
    "show me": "show: no such thing: me; it is one of pipes,",
    "show pipes now": "show pipes: too much: now",
    "show connections sort=taste": "show connections: sort=taste: it is one of id, pipe,",
    "show connections taste=sour": "show connections: taste=sour: it is sort=FIELD,",
    "show connections limit=-1": "show connections: limit=-1: it is",
    "show connections limit=99999999999": "show connections: limit=99999999999: it is",
    "show connections order=up": "show connections: order=up: it is",
    "kill": "kill: the id of a connection is WORKER-NUMBER",
    "kill 1": "kill: the id of a connection is WORKER-NUMBER",
    "kill -1-1": "kill: the id of a connection is WORKER-NUMBER",
    "kill 1-99999999999999999999": "kill: the id of a connection is WORKER-NUMBER",
    "kill 1-1 2-2": "kill: too much: 2-2",
    "kill \u0661-\u0661": "kill: the id of a connection is WORKER-NUMBER",
    "log": "log: it is one of debug,",
    "log loud": "log: it is one of debug,",
    "wait": "wait: it is one of ready, reloaded, drained",
    "wait forever": "wait: it is one of ready, reloaded, drained",
    "wait ready soon": "wait: not a number of seconds: soon",
    "wait ready nan": "wait: not a number of seconds: nan",
    "wait ready -1": "wait: not a number of seconds: -1",
    "reload now": "reload: too much: now",
    "events -x": "events: too much: -x",
    "show \x1b[31m": "The request has characters that cannot be printed",
    "show \0": "The request has characters that cannot be printed",
    "x" * 3000: f"No such request: {'x' * 40}...",
}


def test_a_request_that_is_none_is_answered_and_the_next_one_too(server: Controlled) -> None:
    with server.connect() as client:
        for request, error in NO_REQUESTS.items():
            answer = client.ask(request)
            assert (answer["ok"], answer["reason"]) == (False, "bad_request"), request
            assert answer["error"].startswith(error), request
        for garbage in (b"\xff\xfe\n", b"show\xc3\n", bytes(range(128, 256)) + b"\n"):
            answer = client.send(garbage).receive() or {}
            assert answer["error"] == "The request is not text"
        assert client.ask("show version\r")["ok"] is True


def test_what_cannot_be_understood_changes_nothing_and_is_not_audited(server: Controlled) -> None:
    with Client(server.path) as client:
        for request in NO_REQUESTS:
            client.ask(request)
    assert "Control: " not in server.log
    assert not is_gone(server.daemon.pid)


def test_a_peer_sees_a_reset_when_its_connection_is_killed_in_the_handshake(stage: Stage) -> None:
    server = controlled(stage)
    with Peer.connect(server.daemon.source) as peer:
        wait_until(server.connections, "it is accepted")
        (row,) = server.connections()
        assert row["state"] == "handshake"
        assert server.ask(f"kill {row['id']}")["ok"] is True
        peer.read_to_reset()
