"""The display, in a pseudo-terminal: keys, sizes, servers that come and go, and every end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest

from tests.daemons import PATIENCE, Stage, ours, wait_until
from tests.top.seat import Seat, column
from tests.top.server import Json, StatusServer, World, answer, connection, moving, pipe, status

ROOT = Path(__file__).parents[2]

LIVE = ("--interval", "0.1")


def sit(stage: Stage, server: StatusServer, *words: str, **how: int) -> Seat:
    """Before a display that shows connections."""
    seat = Seat(stage, "--status", server.option, *LIVE, *words, **how)  # type: ignore[arg-type]
    seat.wait_for("CONN")
    return seat


# What is shown


def test_the_daemon_its_pipes_workers_and_connections_are_shown(
    stage: Stage, server: StatusServer
) -> None:
    text = sit(stage, server, columns=120, lines=40).wait_for("SEALED/S")
    for words in (
        "mail  serving  ready",
        "connections 3 of 100  strangers 1 of 75",
        "ended: ended 1,190  wrong_key 30  handshake_timed_out 4",
        "WORKER",
        "4002",
        "[10.0.0.3]:40003",
    ):
        assert words in text


def test_throughput_and_handshakes_have_charts_above_and_in_each_row(
    stage: Stage, server: StatusServer, world: World
) -> None:
    world.status = moving()
    seat = sit(stage, server, columns=160, lines=40)

    def is_charted(text: str) -> bool:
        lines = text.splitlines()
        begins = ("sealed", "opened", "handshakes", "mail", "2-3", "     ")
        rows = [line for line in lines if line.startswith(begins) or " serving " in line]
        charts = [line for line in rows if set(line) & set("▁▂▃▄▅▆▇█")]
        return len(charts) >= 6 and "max" in text

    text = seat.wait_for(is_charted)
    workers = next(line for line in text.splitlines() if "WORKER" in line and "PID" in line)
    assert "THROUGHPUT" in workers
    assert "HANDSHAKES" in workers


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 5), (200, 60), (1, 1)])
def test_every_line_of_a_terminal_of_any_size_fits(
    stage: Stage, server: StatusServer, size: tuple[int, int]
) -> None:
    columns, lines = size
    seat = Seat(stage, "--status", server.option, *LIVE, columns=columns, lines=lines)
    seat.wait_for(str.strip)
    seat.press("h")
    wait_until(lambda: len(server.world.asked) > 12, "it goes on")
    assert seat.screen.strange == []
    seat.press("q", "q")
    assert seat.wait_for_end() == 0


def test_a_terminal_of_40_by_10_shows_who_is_connected_and_how_fast(
    stage: Stage, server: StatusServer
) -> None:
    seat = sit(stage, server, columns=40, lines=10)
    text = seat.wait_for("30 B")
    assert column(text, "PEER") == ["[10.0.0.3]:40003", "[10.0.0.2]:40002", "[10.0.0.1]:40001"]
    assert "q quit" in text
    seat.press("tab")
    seat.wait_for("TARGETS")  # pipes have their turn
    seat.press("h")
    seat.wait_for("Keys")
    seat.press("end")
    seat.wait_for("Else: close")
    seat.press("x")
    seat.wait_for("TARGETS")


def test_another_size_is_filled_at_once(stage: Stage, server: StatusServer) -> None:
    seat = sit(stage, server)
    for columns, lines in ((100, 30), (40, 10), (132, 50)):
        seat.resize(columns, lines)
        seat.wait_for(lambda text: "q quit" in text.splitlines()[-1])
        wait_until(lambda: seat.lines[0].startswith("spiped-top"), "the title is at the top")
    assert seat.screen.strange == []


HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\rd\ne\x9b31mf\u202eg\x00h\ud800"


def test_control_characters_of_a_server_never_reach_the_terminal(
    stage: Stage, server: StatusServer, world: World
) -> None:
    def hostile() -> Json:
        causes = {**pipe()["connections"], "ended": {HOSTILE: 4}}
        target = {"name": HOSTILE, "state": HOSTILE}
        pipes = [pipe(HOSTILE, mode=HOSTILE, source=HOSTILE, targets=[target], connections=causes)]
        last = {"at": 1, "error": HOSTILE}
        reloads = {"succeeded": 1, "failed": 1, "last": last}
        named = dict.fromkeys(("name", "state", "version"), HOSTILE)
        return status(pipes=pipes, reloads=reloads, **named)

    world.status = hostile
    texts = dict.fromkeys(("id", "pipe", "key", "peer", "target", "state"), HOSTILE)
    world.connections = [connection(1) | texts]
    seat = Seat(stage, "--status", server.option, *LIVE, columns=250, lines=50)
    text = seat.wait_for("CONN")
    assert r"a\x1b]0;owned\x07b\x1b[2Jc\x0dd\x0ae\x9b31mf\u202eg\x00h\ud800" in text
    seat.press("q")
    seat.wait_for_end()
    assert seat.screen.strange == []


def test_an_answer_with_fields_of_other_kinds_shows_what_it_can(
    stage: Stage, server: StatusServer, world: World
) -> None:
    world.status = lambda: status(
        pid="x", generation=[], started=None, pipes=[5, {"name": 7}], workers={"id": 1}, more=1
    )
    world.connections = [{"id": "1-1", "age": "old", "peer": 5, "sealed_rate": 1e400}]
    world.listing = lambda query: {"connections": world.connections, "total": "many"}  # type: ignore[method-assign]
    seat = Seat(stage, "--status", server.option, *LIVE)
    seat.wait_for("1-1")


def test_a_daemon_that_starts_anew_has_no_negative_rates(
    stage: Stage, server: StatusServer, world: World
) -> None:
    seat = sit(stage, server)
    world.status = lambda: status(
        started=2_000.0, name="second", pipes=[pipe(bytes={"sealed": 1, "opened": 1})]
    )
    seat.wait_for("second")
    wait_until(lambda: len(world.asked) > 20, "it has looked some more")
    assert "-" not in next(line for line in seat.lines if line.startswith("sealed"))


# Keys


def test_letters_sort_by_their_column_and_again_the_other_way_round(
    stage: Stage, server: StatusServer, world: World
) -> None:
    seat = sit(stage, server)
    seat.wait_for(lambda text: column(text, "CONN") == ["2-3", "1-2", "2-1"])
    seat.press("A")
    seat.wait_for("AGE▼")
    seat.press("A")
    seat.wait_for(lambda text: "AGE▲" in text and column(text, "CONN") == ["2-1", "1-2", "2-3"])
    wait_until(lambda: world.last_query()["order"] == "asc", "the server is asked for that order")
    assert world.last_query() == {"sort": "age", "order": "asc", "limit": "100"}
    seat.press("r")
    seat.wait_for("AGE▼")
    seat.press("R")
    seat.wait_for("PEER▲")


def test_every_column_sorts_by_arrow_keys_and_is_shown_while_it_does(
    stage: Stage, server: StatusServer
) -> None:
    seat = sit(stage, server, columns=60)

    def mark(text: str) -> str:
        header = next(line for line in text.splitlines() if line.startswith("CONN"))
        return next((word for word in header.split() if word[-1] in "▲▼"), "")

    seen = [mark(seat.wait_for(lambda text: mark(text)))]
    while seen.count(seen[0]) < 2:
        seat.press("right")
        before = seen[-1]
        seen.append(mark(seat.wait_for(lambda text, before=before: mark(text) not in ("", before))))
    assert len(set(seen)) == 14
    seat.press("left")
    seat.wait_for(lambda text: mark(text) == seen[-2])


def test_tab_goes_from_table_to_table_and_each_has_its_own_order(
    stage: Stage, server: StatusServer
) -> None:
    seat = sit(stage, server)
    seat.press("tab", "tab", "M")
    seat.wait_for("MEMORY▼")
    seat.press("back tab", "A")
    seat.wait_for("ACTIVE▼")
    assert "MEMORY▼" in seat.text
    assert "SEALED/S▼" in seat.text


def test_a_long_list_scrolls(stage: Stage, server: StatusServer, world: World) -> None:
    world.connections = [connection(number) for number in range(1, 501)]
    seat = sit(stage, server, "--sort", "sealed_rate")
    seat.wait_for(lambda text: column(text, "CONN")[0] == "1-500")
    seat.wait_for("100 of 500")
    seat.press("down")
    seat.wait_for(lambda text: column(text, "CONN")[0] == "2-499")
    seat.press("end")
    seat.wait_for(lambda text: column(text, "CONN")[-1] == "2-401")
    seat.press("page up", "up")
    seat.wait_for(lambda text: column(text, "CONN")[-1] != "2-401")
    seat.press("home")
    seat.wait_for(lambda text: column(text, "CONN")[0] == "1-500")


def test_a_filter_finds_one_connection_among_all(
    stage: Stage, server: StatusServer, world: World
) -> None:
    world.connections = [connection(number) for number in range(1, 1001)]
    seat = sit(stage, server)
    seat.press("/", *"0.7]:40007")  # one of the slowest, which the first hundred do not show
    seat.wait_for("filter: 0.7]:40007")
    seat.wait_for(lambda text: column(text, "CONN") == ["2-7"])
    seat.press("enter")
    seat.wait_for("1 of 1,000 with 0.7]:40007")
    assert world.last_query()["limit"] == "0"
    seat.press("escape")
    seat.wait_for("100 of 1,000")


def test_a_pause_keeps_what_is_shown(stage: Stage, server: StatusServer, world: World) -> None:
    seat = sit(stage, server)
    seat.press("p")
    seat.wait_for("paused")
    world.connections = [connection(number) for number in (8, 9)]
    asked = len(world.asked)
    wait_until(lambda: len(world.asked) > asked + 6, "it has looked again")
    assert column(seat.text, "CONN") == ["2-3", "1-2", "2-1"]
    seat.press(" ")
    seat.wait_for(lambda text: column(text, "CONN") == ["2-9", "1-8"])


def test_help_names_every_key_that_sorts(stage: Stage, server: StatusServer) -> None:
    seat = sit(stage, server)
    seat.press("?")
    text = seat.wait_for("Else: close")
    for words in ("quit", "filter the connections", "S sealed/s", "R peer", "Q queued"):
        assert words in text
    seat.press("x")
    seat.wait_for("CONN")


def test_connections_that_are_not_listed_are_counted(
    stage: Stage, server: StatusServer, world: World
) -> None:
    world.hidden = 7
    seat = sit(stage, server)
    seat.wait_for("3 of 10, 7 hidden")


# Servers


def test_a_server_that_dies_is_told_of_and_one_that_comes_back_goes_on(
    stage: Stage, server: StatusServer
) -> None:
    seat = sit(stage, server)
    server.close()
    text = seat.wait_for("No answer for")
    assert "nobody listens there" in text
    assert "[10.0.0.3]:40003" in text  # what was known is still there
    seat.press("A")
    seat.wait_for("AGE▼")  # and keys work
    again = World()
    again.connections = [connection(9)]
    stage.on_stage(StatusServer(server.address, again))
    seat.wait_for(lambda text: column(text, "CONN") == ["2-9"] and "No answer" not in text)


def test_a_server_that_is_slow_is_told_of_and_holds_up_no_key(
    stage: Stage, server: StatusServer, world: World
) -> None:
    seat = sit(stage, server)
    gate = threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        gate.wait(PATIENCE)
        answer(handler, b"{}", 503)

    world.instead = wait
    seat.wait_for("it takes long")
    seat.press("A")
    seat.wait_for("AGE▼")
    world.instead = None
    gate.set()
    seat.wait_for(lambda text: "No answer" not in text)


def test_an_answer_that_trickles_in_ends_at_the_deadline(
    stage: Stage, server: StatusServer, world: World
) -> None:
    seat = sit(stage, server)
    gone = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not gone.wait(0.2):
            handler.wfile.write(b" ")

    world.instead = trickle
    seat.wait_for("no answer within 5 seconds")
    gone.set()


# Ends


@pytest.mark.parametrize("key", ["q", "ctrl-c"])
def test_a_key_ends_it_and_gives_the_terminal_back(
    stage: Stage, server: StatusServer, key: str
) -> None:
    seat = sit(stage, server)
    assert not seat.is_given_back
    seat.press(key)
    assert seat.wait_for_end() == 0
    assert seat.is_given_back
    assert seat.screen.printed == "<end>"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_it_and_gives_the_terminal_back(
    stage: Stage, server: StatusServer, number: signal.Signals
) -> None:
    seat = sit(stage, server)
    seat.program.signal(number)
    assert seat.wait_for_end() == 0
    assert seat.is_given_back


def test_two_signals_at_once_give_the_terminal_back_as_well(
    stage: Stage, server: StatusServer
) -> None:
    seat = sit(stage, server)
    os.kill(seat.program.pid, signal.SIGSTOP)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        os.kill(seat.program.pid, number)
    assert seat.wait_for_end() == 0
    assert seat.is_given_back


BROKEN = """
import sys
import spiped.top.live
calls = []
def frame(*words):
    calls.append(words)
    if len(calls) > 3:
        raise RuntimeError("a bug")
    return whole(*words)
whole, spiped.top.live.frame = spiped.top.live.frame, frame
from spiped.entry import spiped_top
spiped_top()
"""


def test_an_exception_gives_the_terminal_back_and_is_told(
    stage: Stage, server: StatusServer
) -> None:
    stage.env["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", BROKEN]
    seat = Seat(stage, "--status", server.option, *LIVE, command=command)
    assert seat.wait_for_end() != 0
    assert seat.is_given_back
    assert "RuntimeError: a bug" in seat.screen.printed


def test_a_terminal_that_goes_away_ends_it(stage: Stage, server: StatusServer) -> None:
    """Under a terminal of its own, whose master side is closed."""
    script = """
import os, pty, sys
pid, fd = pty.fork()
if not pid:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
while b"relaying" not in seen:
    seen += os.read(fd, 65536)
os.close(fd)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    words = [sys.executable, "-c", script, ours("spiped-top"), "--status", server.option]
    result = stage.run(*words)
    assert result.returncode == 0, result.stderr


def test_ctrl_z_gives_the_terminal_to_the_shell_and_it_comes_back(
    stage: Stage, server: StatusServer
) -> None:
    seat = sit(stage, server)
    seat.press("ctrl-z")
    process = psutil.Process(seat.program.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "it has stopped")
    wait_until(lambda: seat.is_given_back, "the terminal is given back")
    seat.program.signal(signal.SIGCONT)
    seat.wait_for("CONN")
    seat.press("q")
    assert seat.wait_for_end() == 0
    assert seat.is_given_back
