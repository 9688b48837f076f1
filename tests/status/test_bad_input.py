"""Whatever a client sends, or does not: it gets a clear answer, and nobody else is harmed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiped.process import descriptors
from spiped.status import client, server
from tests.daemons import Peer, free_port, wait_until
from tests.status import rig
from tests.status.rig import Answer, Status, ask, exchange, parse, read_answer, request, serving

GET = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def address(address: str) -> Iterator[str]:
    """Each address of a status process, which answers others afterwards."""
    yield address
    assert ask(address).status == 200


def only_answer(address: str, sent: bytes) -> Answer:
    """The one answer to this, with the end of the connection behind it."""
    with Peer.connect(address) as peer:
        (answer,) = parse(peer.send(sent).read_to_end())
    assert answer.headers["Connection"] == "close"
    assert answer.text.count("\n") == 1
    return answer


# Garbage


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\nwhat?\r\n\r\n",
        b"\0\xff\xfe\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n",  # TLS
        b"GET\r\n\r\n",
        b"GET /ready\r\n\r\n",
        b"GET  /ready HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /ready HTTP/1.1\r\n\r\n",  # without Host
        GET + b"Host: localhost\r\n\r\n",
        GET + b"no header\r\n\r\n",
        GET + b"a : b\r\n\r\n",
        GET + b"a: \0\r\n\r\n",
        GET + b"Content-Length: many\r\n\r\n",
        GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        GET + b"Content-Length: -1\r\n\r\n",
        GET + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        "GET /über HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    ],
)
def test_what_is_no_request_is_called_so(address: str, sent: bytes) -> None:
    answer = only_answer(address, sent)
    assert answer.status == 400
    assert answer.text.startswith("This is no request: ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get", "BREW"])
def test_other_methods_are_told_which_there_are(address: str, method: str) -> None:
    answer = only_answer(address, request(method=method))
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("header", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_body_is_not_wanted(address: str, header: str) -> None:
    assert only_answer(address, request("/ready", header)).status == 413


@pytest.mark.parametrize("header", ["Transfer-Encoding: gzip", "Transfer-Encoding: chunked, gzip"])
def test_an_encoding_that_nobody_knows_is_refused(address: str, header: str) -> None:
    assert only_answer(address, request("/ready", header)).status in (400, 413, 501)


def test_another_version_of_http_is_refused(address: str) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    assert only_answer(address, preface).status in (400, 505)
    assert only_answer(address, request(version="3.0")).status == 505


def test_nothing_behind_a_bad_request_is_answered(address: str) -> None:
    assert [a.status for a in exchange(address, request(method="POST") + request())] == [405]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_bytes_at_all_end_the_server(status: Status, data: st.DataObject) -> None:
    pieces = st.sampled_from(
        [
            *(b"GET", b"HEAD", b" ", b"/", b"/ready", b"/connections?limit=2", b"HTTP/1.1"),
            *(b"\r\n", b"\n", b"\r\n\r\n", b"Host: localhost", b"Connection: close", b":", b"\0"),
            *(b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Expect: 100-continue"),
            *(b"Upgrade: websocket", b"Accept: application/openmetrics-text", GET + b"\r\n"),
        ]
    )
    sent = b"".join(data.draw(st.lists(pieces | st.binary(max_size=20), max_size=20)))
    with Peer.connect(status.tcp) as peer:
        answers = parse(peer.send(sent).finish().read_to_end())
    assert all(answer.status in client.REASONS for answer in answers)
    assert ask(status.tcp).status == 200


# Huge


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        GET + b"a: " + b"b" * 9000 + b"\r\n\r\n",
        GET + b"".join(b"h%d: x\r\n" % i for i in range(1200)) + b"\r\n",
        b"G" * 9000,
        GET + b"a: " + b"b" * 200_000,
    ],
    ids=["target", "header", "many headers", "no line at all", "no end"],
)
def test_a_head_has_a_limit(address: str, sent: bytes) -> None:
    answer = only_answer(address, sent)
    assert answer.status in (400, 431)
    assert str(client.HEAD_MAX) in answer.text or answer.status == 400


def test_a_head_just_below_the_limit_is_answered(address: str) -> None:
    length = client.HEAD_MAX - len(request("/ready", "a: "))
    assert ask_raw(address, request("/ready", "a: " + "b" * (length - 1))).status == 200


def ask_raw(address: str, sent: bytes) -> Answer:
    with Peer.connect(address) as peer:
        return read_answer(peer.send(sent))


def test_a_client_that_goes_on_sending_is_not_heard_for_ever(address: str) -> None:
    """It has its answer; what else it sends is passed over, and then the connection ends."""
    with Peer.connect(address) as peer:
        peer.send(request(method="POST"))
        assert read_answer(peer).status == 405
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            peer.send(bytes(64 << 20))


# Half-closed


def test_a_client_that_has_ended_its_direction_is_answered(address: str) -> None:
    assert [answer.text for answer in exchange(address, request())] == ["ready\n"]


@pytest.mark.parametrize("sent", [b"", b"GET /rea", GET])
def test_a_request_that_ends_early_ends_the_connection(address: str, sent: bytes) -> None:
    answers = exchange(address, sent)
    assert [answer.status for answer in answers] in ([], [400])


def test_resets_harm_nobody(address: str) -> None:
    for sent in (b"", b"GET /rea", request(), request("/connections?limit=0")):
        for _ in range(20):
            peer = Peer.connect(address)
            peer.send(sent)
            peer.reset()
    assert ask(address).status == 200


# Hosts


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LocalHost:80", "127.0.0.1", "127.0.0.1:9000", "192.0.2.7", "[::1]"),
        *("[::1]:8080", "[2001:db8::1]"),
    ],
)
def test_a_host_that_cannot_be_misled_is_served(status: Status, host: str) -> None:
    assert ask(status.tcp, "/ready", f"Host: {host}").status == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
        ),
        *("localhost.", "127.0.0.1:80:80", "::1", "[::1", "[127.0.0.1]", "127.0.0.1:x", "@", "[]"),
    ],
)
def test_a_name_that_can_be_pointed_at_us_is_refused(status: Status, host: str) -> None:
    with Peer.connect(status.tcp) as peer:
        peer.send(request("/status", f"Host: {host}"))
        (answer,) = parse(peer.read_to_end())
    assert answer.status in (400, 421)
    assert "pid" not in answer.text


def test_the_name_in_a_proxy_form_counts(status: Status) -> None:
    assert only_answer(status.tcp, request("http://evil.example/status")).status == 421
    assert only_answer(status.tcp, request("http:///status", "Host: evil.example")).status == 421
    assert only_answer(status.tcp, request("HTTP://evil.example")).status == 421


def test_over_a_unix_socket_any_host_will_do(status: Status) -> None:
    assert ask(status.addresses[1], "/ready", "Host: daemon.example").status == 200


# Slow


@contextmanager
def limited(monkeypatch: pytest.MonkeyPatch, **limits: float) -> Iterator[str]:
    """The address of a server with other limits."""
    for name, value in limits.items():
        module = client if hasattr(client, name) else server
        monkeypatch.setattr(module, name, value)
    address = f"[127.0.0.1]:{free_port()}"
    with rig.server(address, connections=3000):
        yield address


def test_a_head_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with limited(monkeypatch, HEAD_TIME=0.2) as address, Peer.connect(address) as peer:
        peer.send(GET)
        (answer,) = parse(peer.read_to_end())
        assert answer.status == 408
        assert "within 0.2 seconds" in answer.text


def test_each_byte_does_not_give_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with limited(monkeypatch, HEAD_TIME=0.3) as address, Peer.connect(address) as peer:

        def refused() -> bool:
            if not peer.has_news():
                peer.send(b"G")
            return peer.has_news()

        wait_until(refused, "it has been refused")
        assert parse(peer.read_to_end())[0].status == 408


@pytest.mark.parametrize("before", [b"", request()], ids=["at once", "after a request"])
def test_who_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    with (
        limited(monkeypatch, HEAD_TIME=0.2, IDLE_TIME=0.2) as address,
        Peer.connect(address) as peer,
    ):
        assert len(parse(peer.send(before).read_to_end())) == (len(before) > 0)


def small_reader(address: str, target: str) -> Peer:
    """A client that has asked, and takes nothing; its system keeps little for it."""
    host, _, port = address.rpartition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((host.strip("[]"), int(port)))
    return Peer(sock).send(request(target))


def test_slow_readers_delay_nobody_and_get_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with limited(monkeypatch) as address, ExitStack() as stack:
        slow = [
            stack.enter_context(small_reader(address, "/connections?limit=0")) for _ in range(50)
        ]
        assert ask(address).status == 200
        for peer in slow:
            assert len(json.loads(read_answer(peer).text)["connections"]) == 3000


def test_who_does_not_take_an_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        limited(monkeypatch, RESPONSE_TIME=0.3) as address,
        small_reader(address, "/connections?limit=0") as peer,
        Peer.connect(address) as other,
    ):
        wait_until(lambda: is_reset(peer), "it has been cut off")
        assert read_answer(other.send(request())).status == 200


def is_reset(peer: Peer) -> bool:
    """The other end has reset the connection, whatever is left to be read."""
    return peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def test_answers_that_nobody_takes_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who have taken most of the time go first."""
    with limited(monkeypatch, HELD_MAX=3 << 20) as address, ExitStack() as stack:
        peers = []
        for field in ("age", "id", "peer", "state", "idle", "sealed", "opened", "queued"):
            target = f"/connections?limit=0&sort={field}"
            peers.append(stack.enter_context(small_reader(address, target)))
        wait_until(lambda: is_reset(peers[0]), "the first has been cut off")
        assert len(json.loads(read_answer(peers[-1]).text)["connections"]) == 3000


# Many

TCP_PLACES = server.CLIENTS_MAX - server.LOCAL_PLACES


def test_a_thousand_who_say_nothing_leave_the_others_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    descriptors.raise_limit(4096)
    if descriptors.limit() < 4096:
        pytest.skip("the system allows too few descriptors")
    monkeypatch.setattr(server, "GRACE", 600.0)
    with limited(monkeypatch, HEAD_TIME=600.0, LEAVE_TIME=600.0) as address, ExitStack() as stack:
        peers = [stack.enter_context(Peer.connect(address)) for _ in range(1000)]
        for peer in peers[TCP_PLACES:]:
            answer = read_answer(peer)
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            assert "256 clients" in answer.text
        for peer in peers[:TCP_PLACES]:
            assert read_answer(peer.send(request())).status == 200
        # now they are idle, and give way
        assert ask(address).status == 200


def test_who_does_not_say_what_it_wants_makes_room_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "GRACE", 0.0)
    with limited(monkeypatch, HEAD_TIME=600.0) as address, ExitStack() as stack:
        slow = [stack.enter_context(Peer.connect(address)) for _ in range(TCP_PLACES)]
        for peer in slow:
            peer.send(b"GET / HT")
        for _ in range(10):
            assert ask(address, "/live").status == 200
        assert read_answer(slow[-1].send(b"TP/1.1\r\nHost: localhost\r\n\r\n")).status == 200


def test_who_comes_by_a_unix_socket_has_places_of_its_own(tmp_path: Path) -> None:
    path = str(tmp_path / "status")
    with serving(f"[127.0.0.1]:{free_port()}", path) as status, ExitStack() as stack:
        for _ in range(2 * server.CLIENTS_MAX):
            stack.enter_context(Peer.connect(status.tcp))
        assert ask(path, "/live").status == 200


def test_a_thousand_at_once_are_all_answered() -> None:
    descriptors.raise_limit(4096)
    if descriptors.limit() < 4096:
        pytest.skip("the system allows too few descriptors")
    with serving(f"[127.0.0.1]:{free_port()}", connections=300) as status:
        with ExitStack() as stack:
            peers = [
                stack.enter_context(Peer.connect(status.tcp)).send(request("/status"))
                for _ in range(1000)
            ]
            statuses = [read_answer(peer).status for peer in peers]
            assert set(statuses) <= {200, 503}
            assert statuses.count(200) >= TCP_PLACES
        wait_until(lambda: ask(status.tcp).status == 200, "there is room again")
