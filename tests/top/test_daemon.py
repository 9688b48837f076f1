"""The display of a real daemon, whose status server is the real one."""

from __future__ import annotations

from tests.daemons import Stage, echoes, free_port, ours, wait_until
from tests.top.seat import Seat, column
from tests.top.test_print import FAST, rows

AMOUNT = 100_000  # bytes that a client sends, and gets back


def test_what_is_shown_is_what_clients_did(stage: Stage) -> None:
    status = f"127.0.0.1:{free_port()}"
    server = stage.spiped(
        *("-d", stage.echo().address, "--name", "mail", "--workers", "2", "--status", status)
    )
    client = stage.spiped("-e", server.source)
    peers = [client.connect() for _ in range(3)]
    assert all(echoes(peer, bytes(AMOUNT)) for peer in peers)

    def plain(kind: str) -> list[dict[str, str]]:
        command = (ours("spiped-top"), "--status", status, *FAST, "--plain", "--once")
        result = stage.run(*command)
        assert result.returncode == 0, result.stderr
        return rows(result.stdout.decode(), kind)

    wait_until(lambda: plain("pipe")[0]["sealed"] == str(3 * AMOUNT), "all is counted")
    (pipe,) = plain("pipe")
    assert (pipe["name"], pipe["mode"], pipe["active"]) == ("mail", "decrypt", "3")
    assert (pipe["accepted"], pipe["established"]) == ("3", "3")
    assert {int(row["pid"]) for row in plain("worker")} == set(server.workers)
    connections = plain("connection")
    assert {row["state"] for row in connections} == {"relaying"}
    assert [row["sealed"] for row in connections] == [str(AMOUNT)] * 3

    seat = Seat(stage, "--status", status, *FAST, columns=120, lines=40)
    seat.wait_for(lambda text: set(column(text, "CONN")) == {row["id"] for row in connections})
    peers.pop().finish()
    seat.wait_for(lambda text: len(column(text, "CONN")) == 2 and "connections 2 of 100" in text)
    server.end()
    seat.wait_for("No answer for")
    seat.press("q")
    assert seat.wait_for_end() == 0
    assert seat.is_given_back
    assert seat.screen.strange == []
