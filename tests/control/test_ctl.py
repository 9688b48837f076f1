"""`spipedctl`: what it prints, for people and for scripts, and how it exits."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from spiped import __version__
from spiped.control.display import COLUMNS, duration, point_in_time, size
from spiped.observe.view import CONNECTION_FIELDS
from spiped.options.usage import help_text
from spiped.options.verbs import SHOWN, VERBS
from tests.control.rig import Controlled, controlled, ctl
from tests.daemons import Listener, Stage, echoes, is_echoed, ours, wait_until
from tests.process.programs import write_program


@pytest.fixture
def server(stage: Stage) -> Controlled:
    return controlled(stage)


class Impostor(Listener):
    """Listens where a daemon should, and says this to everybody who asks for something."""

    def __init__(self, address: str, words: bytes) -> None:
        super().__init__(address)
        self.sock.settimeout(None)
        self._words = words
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                with self.accept() as peer:
                    peer.sock.recv(4096)
                    peer.send(self._words)
        except OSError:  # closed
            pass


def impostor(stage: Stage, words: bytes) -> str:
    address = str(stage.directory / "impostor")
    stage.on_stage(Impostor(address, words))
    return address


def started(stage: Stage, path: Path, *words: str) -> subprocess.Popen[str]:
    """A `spipedctl` whose output can be read."""
    return subprocess.Popen(
        [ours("spipedctl"), "-s", str(path), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Which daemon


def test_the_command_line_goes_before_the_environment(stage: Stage, server: Controlled) -> None:
    program = ours("spipedctl")
    stage.env["SPIPED_CONTROL"] = str(server.path)
    assert stage.run(program, "show", "version").returncode == 0
    stage.env["SPIPED_CONTROL"] = "/no/such/socket"
    assert stage.run(program, "-s", str(server.path), "show", "version").returncode == 0
    named = stage.run(program, "--name", "no-such-daemon", "show", text=True)
    assert named.returncode == 1
    assert named.stderr == (
        "spipedctl: /run/spiped/no-such-daemon.control: no daemon is there:"
        " No such file or directory\n"
    )
    assert "/no/such/socket" in stage.run(program, "show", text=True).stderr
    del stage.env["SPIPED_CONTROL"]
    lost = stage.run(program, "show", text=True)
    assert lost.returncode == 1
    assert lost.stderr.startswith("spipedctl: Which daemon is it? Use -s, --name, or")
    both = stage.run(program, "-s", "x", "--name", "y", "show", text=True)
    assert both.stderr.startswith("spipedctl: Options exclude each other: -s and --name\n")


@pytest.mark.parametrize("words", [["show"], ["kill", "1-1"], ["events"], ["wait", "reloaded"]])
def test_an_error_is_one_line_that_names_the_socket(stage: Stage, words: list[str]) -> None:
    dead = stage.listener("unix").address
    stage.clear()
    places = {
        "/no/such/socket": "no daemon is there: No such file or directory",
        dead: "no daemon is there: Connection refused",
        "/" + "x" * 200: "the path is too long for a socket",
        impostor(stage, b"HTTP/1.1 400 Bad Request\r\n"): "this is no control socket of spiped",
        stage.write("file", b""): "no daemon is there: Connection refused",
    }
    for path, error in places.items():
        result = ctl(stage, path, *words)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == f"spipedctl: {path}: {error}\n"


# What is printed


def test_show_is_for_people(stage: Stage, server: Controlled) -> None:
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as peer:
        assert echoes(peer)
        shown = ctl(stage, server.path, "show")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert f"{server.daemon.source}: serving, ready, for " in shown.stdout
        assert f"version {__version__}, process {server.daemon.pid}, generation 1\n" in shown.stdout
        for what in SHOWN:
            result = ctl(stage, server.path, "show", what)
            assert (result.returncode, result.stderr) == (0, "")
            lines = result.stdout.splitlines()
            assert lines[0] == lines[0].upper()
            assert len(lines) > 1
            assert all(line == line.rstrip() for line in lines)
    assert len(ctl(stage, server.path, "show", "workers").stdout.splitlines()) == 3


def test_show_says_why_connections_have_ended(stage: Stage, server: Controlled) -> None:
    client = stage.spiped("-e", server.daemon.source)
    assert is_echoed(client.source)
    assert is_echoed(client.source)
    wait_until(
        lambda: "\nended: ended 2\n" in ctl(stage, server.path, "show").stdout, "they have ended"
    )


def test_a_point_in_time_is_for_people(stage: Stage) -> None:
    port = stage.echo().address.rpartition(":")[2]
    server = controlled(stage, "-d", f"localhost:{port}")
    shown = ctl(stage, server.path, "show", "targets").stdout
    assert re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", shown)
    assert point_in_time(1e300) == "1e+300"


def test_show_connections_says_what_it_leaves_out(stage: Stage, server: Controlled) -> None:
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as one, client.connect() as other:
        assert echoes(one)
        assert echoes(other)
        shown = ctl(stage, server.path, "show", "connections", "limit=1").stdout.splitlines()
        assert len(shown) == 3
        assert shown[2] == "... and 1 more (limit=0 shows all that can be shown)"


def test_json_is_the_answer(stage: Stage, server: Controlled) -> None:
    result = ctl(stage, server.path, "--json", "show", "version")
    assert json.loads(result.stdout) == server.ask("show version")
    result = ctl(stage, server.path, "--json", "kill", "1-1")
    assert (result.returncode, result.stderr) == (1, "")
    assert json.loads(result.stdout)["reason"] == "not_found"


@pytest.mark.parametrize("what", SHOWN)
def test_dump_is_a_header_and_rows_with_tabs(stage: Stage, server: Controlled, what: str) -> None:
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as peer:
        assert echoes(peer)
        result = ctl(stage, server.path, "dump", what)
    assert (result.returncode, result.stderr) == (0, "")
    header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert tuple(header) == COLUMNS[what]
    assert rows
    assert all(len(row) == len(header) for row in rows)


def test_the_columns_of_connections_are_their_fields() -> None:
    assert COLUMNS["connections"] == CONNECTION_FIELDS


def test_one_connection_is_found_and_ended_from_a_shell(stage: Stage, server: Controlled) -> None:
    """As docs/control.md and the manual have it."""
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as peer, client.connect() as other:
        assert echoes(other)
        assert all(echoes(peer) for _ in range(100))
        stage.env["SPIPED_CONTROL"] = str(server.path)
        stage.env["PATH"] = f"{Path(ours('spipedctl')).parent}:{os.environ['PATH']}"
        command = "spipedctl dump connections | sort -t '\t' -k 10 -n | tail -n 1 | cut -f 1"
        found = stage.run("sh", "-c", f'spipedctl kill "$({command})"', text=True)
        assert found.returncode == 0, found.stderr
        peer.read_to_reset()
        assert echoes(other)


HOSTILE = "\x1b]0;owned\x07\n\u202e\x9b31m"


@pytest.mark.parametrize(
    "words", [["show"], ["show", "config"], ["dump", "config"], ["kill", "1-1"], ["events"]]
)
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_no_character_from_outside_reaches_the_terminal_as_what_it_is_not(
    stage: Stage, words: list[str], option: list[str]
) -> None:
    answer: dict[str, Any] = {"ok": True, "name": HOSTILE, "killed": HOSTILE, "event": HOSTILE}
    answer |= {"message": HOSTILE, "level": HOSTILE, "time": HOSTILE, "reloads": {"last": None}}
    answer |= {"config": [{"option": HOSTILE, "value": {"x": HOSTILE}, "effect": [HOSTILE]}]}
    answer |= {"pipes": [{"name": HOSTILE, "targets": [{"name": HOSTILE, "addresses": []}]}]}
    path = impostor(stage, json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    result = ctl(stage, path, *option, *words)
    assert all(c.isprintable() or c in "\n\t" for c in result.stdout + result.stderr)
    refusal = {"ok": False, "error": HOSTILE, "reason": HOSTILE}
    path = path + "2"
    stage.on_stage(
        Impostor(path, json.dumps(refusal, ensure_ascii=False).encode(errors="replace") + b"\n")
    )
    result = ctl(stage, path, *option, *words)
    assert result.returncode == 1
    assert all(c.isprintable() or c in "\n\t" for c in result.stdout + result.stderr)


def test_answers_of_another_version_are_shown_as_far_as_they_go(stage: Stage) -> None:
    path = impostor(stage, b'{"ok":true,"pipes":[{}, 7],"more":1}\n')
    for words in (["show"], ["show", "pipes"], ["dump", "pipes"], ["show", "connections"]):
        result = ctl(stage, path, *words)
        assert (result.returncode, result.stderr) == (0, "")


def test_whoever_reads_only_the_beginning_hears_nothing_about_it(
    stage: Stage, server: Controlled
) -> None:
    stage.env["SPIPED_CONTROL"] = str(server.path)
    result = stage.run("sh", "-c", f"{ours('spipedctl')} show config | true", text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_numbers_are_for_people() -> None:
    assert [size(n) for n in (0, 999, 1000, 1500, 123456, 5e6, 7e9, 8e13)] == [
        *("0", "999", "1.0k", "1.5k", "123k", "5.0M", "7.0G", "80.0T")
    ]
    assert [duration(n) for n in (0, 59.9, 60, 3599, 3600, 86399, 90000)] == [
        *("0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "1d01h")
    ]


# Mistakes


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fly"], "No such verb: fly"),
        (["reload", "now"], "Unexpected argument: now"),
        (["dump"], f"dump: it is one of {', '.join(SHOWN)}"),
        (["dump", "all"], f"dump: it is one of {', '.join(SHOWN)}"),
        (["--yaml", "show"], "illegal option -- --yaml"),
    ],
)
def test_a_mistake_is_named_before_the_usage(stage: Stage, words: list[str], line: str) -> None:
    result = ctl(stage, "/x", *words)
    assert result.returncode == 1
    assert result.stderr.startswith(f"spipedctl: {line}\nusage: spipedctl ")


def test_no_argument_can_be_another_request(stage: Stage, server: Controlled) -> None:
    for word in ("1-1\nstop", "1-1 stop", "", "\r"):
        result = ctl(stage, server.path, "kill", word)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
    assert server.ask("show")["state"] == "serving"


def test_the_help_names_every_verb(stage: Stage) -> None:
    result = stage.run(ours("spipedctl"), "--help", text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == help_text("spipedctl")
    assert all(f"\n  {verb.name}" in result.stdout for verb in VERBS)
    assert stage.run(ours("spipedctl")).returncode == 1
    version = stage.run(ours("spipedctl"), "-v", text=True)
    assert version.stderr == f"spipedctl {__version__}\n"


# Changes and waiting


def test_changes_are_made_without_a_word(stage: Stage, server: Controlled) -> None:
    for words in (["reload"], ["wait", "reloaded", "60"], ["reopen"]):
        result = ctl(stage, server.path, *words)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert ctl(stage, server.path, "log", "debug").stdout == "level: debug\n"


def test_a_reload_that_fails_is_told_by_wait(stage: Stage, server: Controlled) -> None:
    Path(stage.key).unlink()
    assert ctl(stage, server.path, "reload").returncode == 0
    result = ctl(stage, server.path, "wait", "reloaded")
    assert result.returncode == 1
    assert result.stderr.startswith(f"spipedctl: {server.path}: ")
    assert stage.key in result.stderr


def test_time_that_is_over_has_a_status_of_its_own(stage: Stage, server: Controlled) -> None:
    result = ctl(stage, server.path, "wait", "drained", "0.1")
    assert result.returncode == 2
    assert result.stderr == f"spipedctl: {server.path}: Not drained within 0.1 s\n"
    assert ctl(stage, "/no/such/socket", "wait", "ready", "0.1").returncode == 2
    wrong = ctl(stage, server.path, "wait", "drained", "soon")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (1, 1)


def test_a_daemon_that_hangs_is_given_up(stage: Stage, server: Controlled) -> None:
    server.daemon.signal(signal.SIGSTOP)
    try:
        result = ctl(stage, server.path, "wait", "ready", "0.1")
    finally:
        server.daemon.signal(signal.SIGCONT)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


def test_wait_ready_waits_for_a_daemon_that_is_not_there_yet(stage: Stage) -> None:
    path = stage.directory / "control"
    waiting = stage.meanwhile(ctl, stage, path, "wait", "ready", "30")
    controlled(stage)
    assert waiting.result().returncode == 0


def test_wait_drained_is_over_when_the_daemon_is_however_it_ended(
    stage: Stage, server: Controlled
) -> None:
    client = stage.spiped("-e", server.daemon.source)
    with client.connect() as peer:
        assert echoes(peer)
        waiting = [stage.meanwhile(ctl, stage, server.path, "wait", "drained") for _ in range(2)]
        assert ctl(stage, server.path, "drain").returncode == 0
        assert ctl(stage, server.path, "wait", "drained", "0").returncode == 2
        assert not any(each.done() for each in waiting)
        assert peer.finish().read_to_end() == b""
    assert [each.result().returncode for each in waiting] == [0, 0]
    late = ctl(stage, server.path, "wait", "drained")
    assert late.returncode == 0
    assert "taken for drained" in late.stderr


def test_wait_drained_is_over_when_the_daemon_is_killed(stage: Stage, server: Controlled) -> None:
    waiting = started(stage, server.path, "wait", "drained")
    wait_until(lambda: server.ask("show")["ok"], "it is served")
    server.daemon.signal(signal.SIGKILL)
    assert waiting.communicate(timeout=30)[1].count("\n") <= 1
    assert waiting.returncode == 0


# Events, and upgrades


def test_events_go_on_across_an_upgrade_and_end_with_the_daemon(stage: Stage) -> None:
    program = stage.directory / "spiped"
    write_program(program, "1")
    server = controlled(stage, "-d", None, program=str(program))
    client = stage.spiped("-e", server.daemon.source)
    pretty = started(stage, server.path, "events", "-w")
    raw = started(stage, server.path, "--json", "events")
    lines: dict[str, list[str]] = {"pretty": [], "raw": []}
    for name, process in (("pretty", pretty), ("raw", raw)):
        assert process.stdout is not None
        stage.meanwhile(lines[name].extend, iter(process.stdout.readline, ""))

    def told(text: str) -> bool:
        return all(any(text in line for line in found) for found in lines.values())

    wait_until(lambda: is_echoed(client.source) and told(" begun"), "they are told")
    write_program(program, "2")
    assert ctl(stage, server.path, "upgrade").returncode == 0
    assert ctl(stage, server.path, "wait", "reloaded", "30").returncode == 0
    assert ctl(stage, server.path, "wait", "ready", "30").returncode == 0
    assert "2" in ctl(stage, server.path, "show", "version").stdout
    wait_until(
        lambda: ctl(stage, server.path, "log", "info").returncode == 0 and told("log info"),
        "they are told",
    )
    assert ctl(stage, server.path, "drain").returncode == 0
    assert [process.wait(30) for process in (pretty, raw)] == [0, 0]
    wait_until(lambda: told("Stopped"), "the last line is read")
    assert all(json.loads(line)["event"] for line in lines["raw"])
    assert all(process.stderr.read() == "" for process in (pretty, raw) if process.stderr)


def test_ctrl_c_ends_it_without_a_word(stage: Stage, server: Controlled) -> None:
    process = started(stage, server.path, "events")
    stdout = process.stdout
    assert stdout is not None
    wait_until(
        lambda: server.ask("log default")["ok"] and select.select([stdout], [], [], 0)[0],
        "it prints events",
    )
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == -signal.SIGINT
