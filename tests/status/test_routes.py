"""What each path answers, over TCP and over a UNIX socket."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from spiped.observe.view import CONNECTION_FIELDS
from tests.daemons import Peer, free_port, wait_until
from tests.status.example import HOSTILE
from tests.status.rig import Status, ask, exchange, parse, read_answer, request, serving

TYPES = {
    "/": "text/html; charset=utf-8",
    "/status": "application/json",
    "/connections": "application/json",
    "/metrics": "text/plain; version=0.0.4; charset=utf-8",
    "/ready": "text/plain; charset=utf-8",
    "/live": "text/plain; charset=utf-8",
}


@pytest.mark.parametrize("path", TYPES)
def test_every_route_answers_with_its_type(address: str, path: str) -> None:
    answer = ask(address, path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == TYPES[path]
    assert int(answer.headers["Content-Length"]) == len(answer.body) > 0
    assert parsedate_to_datetime(answer.headers["Date"])


@pytest.mark.parametrize("path", TYPES)
def test_no_answer_is_kept_or_taken_for_something_else(status: Status, path: str) -> None:
    headers = ask(status.tcp, path).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/", "/ready", "/live"])
def test_head_says_what_get_would_without_the_body(address: str, path: str) -> None:
    head, get = ask(address, path, method="HEAD"), ask(address, path)
    assert head.body == b""
    assert head.status == get.status
    assert head.headers["Content-Length"] == str(len(get.body))


def test_a_path_that_there_is_not_is_told_where_there_is_something(status: Status) -> None:
    for path in ("/nothing", "/status/", "//", "/../etc/passwd", "/ready%00", "*"):
        answer = ask(status.tcp, path)
        assert answer.status == 404, path
        assert "/connections" in answer.text


def test_a_proxy_form_of_the_target_is_understood(status: Status) -> None:
    assert ask(status.tcp, "http://127.0.0.1/ready").text == "ready\n"


def test_requests_on_one_connection_are_answered_in_turn(address: str) -> None:
    with Peer.connect(address) as peer:
        for path in TYPES:
            peer.send(request(path))
            assert read_answer(peer).headers["Content-Type"] == TYPES[path]


def test_requests_that_come_at_once_are_answered_in_order(address: str) -> None:
    sent = b"".join(request(path) for path in TYPES)
    types = [answer.headers["Content-Type"] for answer in exchange(address, sent)]
    assert types == list(TYPES.values())


def test_an_older_client_is_answered_and_let_go(status: Status) -> None:
    with Peer.connect(status.tcp) as peer:
        peer.send(b"GET /ready HTTP/1.0\r\n\r\n")
        (answer,) = parse(peer.read_to_end())
    assert answer.text == "ready\n"


# Connections


def test_the_default_is_the_hundred_oldest(status: Status) -> None:
    content = json.loads(ask(status.tcp, "/connections").text)
    ages = [row["age"] for row in content["connections"]]
    assert content["total"] == 240
    assert content["listed"] == len(ages) == 100
    assert ages == sorted(ages, reverse=True)


@pytest.mark.parametrize("field", CONNECTION_FIELDS)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_list_is_sorted_by_any_field_that_it_has(
    status: Status, field: str, order: str
) -> None:
    content = json.loads(ask(status.tcp, f"/connections?sort={field}&order={order}&limit=50").text)
    values = [row[field] for row in content["connections"]]
    if field == "id":
        values = [tuple(map(int, value.split("-"))) for value in values]
    assert len(values) == 50
    assert values == sorted(values, reverse=order == "desc")


def test_limit_0_is_all_of_them(status: Status) -> None:
    content = json.loads(ask(status.tcp, "/connections?limit=0").text)
    assert len(content["connections"]) == 240
    assert len({row["id"] for row in content["connections"]}) == 240


def test_the_list_can_be_of_one_pipe(status: Status) -> None:
    content = json.loads(ask(status.tcp, "/connections?pipe=mail&limit=3").text)
    assert [row["pipe"] for row in content["connections"]] == ["mail"] * 3


def test_the_list_can_be_of_one_peer(status: Status) -> None:
    (first, *_) = json.loads(ask(status.tcp, "/connections?limit=0").text)["connections"]
    content = json.loads(ask(status.tcp, f"/connections?peer={quote(first['peer'])}").text)
    assert first["id"] in [row["id"] for row in content["connections"]]
    assert all(first["peer"] in row["peer"] for row in content["connections"])
    assert content["total"] == content["listed"] == len(content["connections"]) < 240


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sort=shoe", "sort is one of id, "),
        ("order=up", "order is one of asc, desc"),
        ("limit=-1", "limit is how many"),
        ("limit=ten", "limit is how many"),
        ("limit=" + "9" * 30, "limit is how many"),
        ("limit=%D9%A3", "limit is how many"),
        ("limit=", "limit is how many"),
        ("pipe=mule", "pipe is one of mail"),
        ("peer=1&peer=2", "once each"),
        ("limit=1&limit=2", "once each"),
        ("colour=red", "sort, order, limit, pipe"),
    ],
)
def test_a_query_that_means_nothing_is_told_what_would(
    status: Status, query: str, told: str
) -> None:
    answer = ask(status.tcp, f"/connections?{query}")
    assert answer.status == 400
    assert told in answer.text


def test_connections_without_a_place_in_the_table_are_counted() -> None:
    with serving(f"[127.0.0.1]:{free_port()}", connections=10, hidden=7, still=True) as status:
        content = json.loads(ask(status.tcp, "/connections").text)
    assert (content["total"], content["listed"], content["hidden"]) == (17, 10, 7)


def test_rates_and_idle_times_follow_from_what_was_seen_before(status: Status) -> None:
    def fastest() -> bool:
        text = ask(status.tcp, "/connections?sort=opened_rate&limit=1").text
        return bool(json.loads(text)["connections"][0]["opened_rate"] > 0)

    wait_until(fastest, "something is seen to move")


# What changes


def test_what_is_told_is_what_there_is_now(tmp_path: Path) -> None:
    path = str(tmp_path / "status")
    with serving(path, connections=4, still=True) as status:
        assert json.loads(ask(path, "/status").text)["state"] == "serving"
        status.order('say {"state": "draining", "ready": false}')
        wait_until(
            lambda: json.loads(ask(path, "/status").text)["state"] == "draining",
            "the new state is told",
        )
        assert ask(path, "/ready").status == 503
        assert ask(path, "/ready").text == "not ready\n"
        assert ask(path, "/live").status == 200


def test_workers_that_come_later_are_seen(tmp_path: Path) -> None:
    """Also those in slots that there were not when the status process was forked."""
    path = str(tmp_path / "status")
    with serving(path, connections=4, still=True) as status:
        for count in (3, 4, 5):
            status.order("worker")

            def workers(count: int = count) -> bool:
                return len(json.loads(ask(path, "/status").text)["workers"]) == count

            wait_until(workers, "the new worker is told of")
        rows = json.loads(ask(path, "/connections").text)["connections"]
        assert {row["worker"] for row in rows} == {1, 2, 3, 4, 5}


def test_hostile_names_are_text_everywhere(tmp_path: Path) -> None:
    path = str(tmp_path / "status")
    with serving(path, connections=4, hostile=True):
        content = json.loads(ask(path, "/status").text)
        assert content["pipes"][0]["name"] == f"{HOSTILE}mail"
        assert HOSTILE.encode() not in ask(path, "/").body
        for line in ask(path, "/metrics").text.splitlines():
            assert line.startswith(("#", "spiped_", "process_"))
