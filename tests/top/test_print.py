"""--once and --plain: for people who look once, and for scripts."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from spiped.top.columns import CONNECTIONS, DAEMON, TABLES
from tests.daemons import Stage, ours, wait_until
from tests.top.server import StatusServer, World, connection, moving, pipe, status
from tests.top.test_live import HOSTILE

FAST = ("--interval", "0.1")


def top(
    stage: Stage, server: StatusServer, *words: str, **how: Any
) -> subprocess.CompletedProcess[bytes]:
    return stage.run(ours("spiped-top"), "--status", server.option, *FAST, *words, **how)


def rows(text: str, kind: str) -> list[dict[str, str]]:
    """The rows of a kind, by the names that the header has."""
    header = next(line for line in text.splitlines() if line.startswith(f"#{kind}\t"))
    names = header.split("\t")[1:]
    lines = [line.split("\t")[1:] for line in text.splitlines() if line.startswith(f"{kind}\t")]
    return [dict(zip(names, line, strict=True)) for line in lines]


# Plain


def test_plain_names_its_columns_first_and_then_has_a_line_for_each_row(
    stage: Stage, server: StatusServer
) -> None:
    result = top(stage, server, "--plain", "--once")
    assert (result.returncode, result.stderr) == (0, b"")
    text = result.stdout.decode()
    kinds = [line.split("\t")[0] for line in text.splitlines()]
    assert kinds == [
        *("#daemon", "#pipe", "#worker", "#connection"),
        *("daemon", "pipe", "worker", "worker", "connection", "connection", "connection"),
    ]
    (daemon,) = rows(text, "daemon")
    assert daemon["name"] == "mail"
    assert daemon["ready"] == "yes"
    assert daemon["sealed"] == "5000000"
    assert daemon["sealed_rate"] == "0"
    assert [row["memory_bytes"] for row in rows(text, "worker")] == ["9000000"] * 2
    assert [row["id"] for row in rows(text, "connection")] == ["2-3", "1-2", "2-1"]


def test_the_columns_of_plain_stay_where_scripts_expect_them() -> None:
    """A column may be added at the end of a table; then it is added here."""
    fields = {table.kind: [c.field for c in table.columns] for table in (DAEMON, *TABLES)}
    common = "accepted established established_rate sealed opened sealed_rate opened_rate"
    assert {kind: " ".join(names) for kind, names in fields.items()} == {
        "daemon": "now state ready name pid version generation uptime active limit unauthenticated"
        f" unauthenticated_limit {common} worker_restarts upgrades reloads reloads_failed"
        " reload_error log_lines_dropped listed total hidden",
        "pipe": "name mode source target target_state active limit unauthenticated"
        f" unauthenticated_limit {common} keys",
        "worker": "id pid generation state active unauthenticated"
        f" {common} cpu cpu_seconds memory_bytes",
        "connection": "id pipe key worker peer target state age idle"
        " sealed opened sealed_rate opened_rate queued",
    }


def test_plain_says_what_a_second_has_brought(
    stage: Stage, server: StatusServer, world: World
) -> None:
    world.status = moving()
    text = top(stage, server, "--plain", "--once").stdout.decode()
    (daemon,) = rows(text, "daemon")
    pipes = rows(text, "pipe")
    assert float(daemon["sealed_rate"]) > 0
    total = sum(float(row["sealed_rate"]) for row in pipes)
    assert total == pytest.approx(float(daemon["sealed_rate"]), rel=0.01)


def test_what_is_not_known_is_a_dash_in_plain(
    stage: Stage, server: StatusServer, world: World
) -> None:
    world.status = lambda: status(pipes=[pipe(name="", bytes={"sealed": None})], pid=None)
    text = top(stage, server, "--plain", "--once").stdout.decode()
    (row,) = rows(text, "pipe")
    assert (row["name"], row["sealed"], row["sealed_rate"]) == ("-", "-", "-")
    assert rows(text, "daemon")[0]["pid"] == "-"


def test_a_hostile_text_is_one_word_of_plain(
    stage: Stage, server: StatusServer, world: World
) -> None:
    world.status = lambda: status(name=HOSTILE + "\t\u2028x")
    result = top(stage, server, "--plain", "--once")
    (daemon,) = rows(result.stdout.decode(), "daemon")
    assert daemon["name"].startswith(r"a\x1b]0;owned\x07b")
    assert daemon["name"].endswith(r"\x09\u2028x")


def test_plain_goes_on_until_its_reader_has_had_enough(stage: Stage, server: StatusServer) -> None:
    script = f"{ours('spiped-top')} --status {server.option} --interval 0.1 --plain | head -n 40"
    result = stage.run("bash", "-c", f"{script}; echo ${{PIPESTATUS[0]}}")
    lines = result.stdout.decode().splitlines()
    assert sum(line.startswith("daemon\t") for line in lines) >= 5
    assert sum(line.startswith("#daemon\t") for line in lines) == 1
    assert lines[-1] == str(128 + signal.SIGPIPE)
    assert result.stderr == b""


def test_plain_waits_for_a_server_that_has_gone_and_says_so_once(
    stage: Stage, server: StatusServer
) -> None:
    out = stage.path("out")
    with out.open("wb") as file:
        program = stage.start(
            *(ours("spiped-top"), "--status", server.option, *FAST, "--plain"), stdout=file
        )
    wait_until(lambda: b"\ndaemon\t" in out.read_bytes(), "it prints")
    server.close()
    program.wait_to_say("waiting for it to come back")
    stage.on_stage(StatusServer(server.address, World()))
    program.wait_to_say("it is back")
    assert program.said.count("\n") == 2
    before = out.stat().st_size
    wait_until(lambda: out.stat().st_size > before, "it goes on")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_plain(stage: Stage, server: StatusServer, number: signal.Signals) -> None:
    out = stage.path("out")
    with out.open("wb") as file:
        program = stage.start(
            *(ours("spiped-top"), "--status", server.option, *FAST, "--plain"), stdout=file
        )
    wait_until(lambda: out.stat().st_size, "it prints")
    program.signal(number)
    assert program.wait() == -number
    assert program.said == ""


# Once


def test_once_prints_all_of_it_and_no_sequences_into_a_pipe(
    stage: Stage, server: StatusServer, world: World
) -> None:
    world.connections = [connection(number) for number in range(1, 61)]
    result = top(stage, server, "--once")
    assert (result.returncode, result.stderr) == (0, b"")
    text = result.stdout.decode()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert all(line == line.rstrip() for line in text.splitlines())
    for words in ("mail  serving  ready", "PIPE", "WORKER", "CONN", "[10.0.0.60]:40060"):
        assert words in text
    assert sum(" relaying " in line for line in text.splitlines()) == 60


def test_once_is_as_wide_as_columns_says(stage: Stage, server: StatusServer) -> None:
    stage.env["COLUMNS"] = "150"
    text = top(stage, server, "--once").stdout.decode()
    assert "TARGET" in text
    assert "QUEUED" in text


def test_once_leaves_out_what_the_character_set_lacks(stage: Stage, server: StatusServer) -> None:
    script = "import spiped.entry; spiped.entry.spiped_top()"
    stage.env |= {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(stage.directory)}
    words = [sys.executable, "-c", script, "--status", server.option, *FAST, "--once"]
    result = stage.run(*words)
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii()


# What is asked for


@pytest.mark.parametrize("column", [c.field for c in CONNECTIONS.columns])
def test_connections_come_in_the_order_of_any_column(
    stage: Stage, server: StatusServer, world: World, column: str
) -> None:
    result = top(stage, server, "--plain", "--once", "--sort", column, "--limit", "2")
    assert result.returncode == 0, result.stderr
    assert world.last_query()["sort"] == column
    assert world.last_query()["limit"] == "2"
    assert len(rows(result.stdout.decode(), "connection")) == 2


def test_all_connections_come_if_there_is_no_limit(
    stage: Stage, server: StatusServer, world: World
) -> None:
    world.connections = [connection(number) for number in range(1, 3001)]
    text = top(stage, server, "--plain", "--once", "--limit", "0").stdout.decode()
    assert len(rows(text, "connection")) == 3000


def test_a_server_that_hangs_up_in_the_middle_is_no_snapshot(
    stage: Stage, server: StatusServer, world: World
) -> None:
    cut = threading.Event()

    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"state": "serving"')
        handler.close_connection = True
        cut.set()

    world.instead = half
    result = top(stage, server, "--plain", "--once")
    assert cut.is_set()
    assert result.returncode == 1
    assert result.stdout == b""
    assert b"the connection ends before there is a whole answer" in result.stderr
