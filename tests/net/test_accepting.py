"""Accepting: who gets in, how many, what is said of them, and what stands in the way."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spiped.net.address import SocketAddress
from spiped.observe.slot import Field
from spiped.plane.diagnosis import LEFT_TEXTS, PLAIN_TEXTS
from spiped.plane.ending import Cause, Ending, Reason
from spiped.plane.interface import Service, Wanted
from spiped.plane.limits import Limits
from spiped.plane.pipe_settings import PipeSettings
from spiped.plane.portable.accept import ACCEPTS_PER_TURN, GRACE
from spiped.proto.handshake import Role
from spiped.proto.terms import Heard
from spiped.service.listener import Listener
from tests.helpers import lack
from tests.net.network import inheritable, opposite_end
from tests.net.rig import FOREVER, RESET, K, Peer, Rig, Told, no_more_descriptors, waste
from tests.net.test_sockets import is_tuned
from tests.net.voice import Voice, converse

NO_LIMITS = Limits(connections=0)

SHED, TOO_MANY = PLAIN_TEXTS[Reason.SHED], PLAIN_TEXTS[Reason.TOO_MANY]
TOO_MANY_FILES = errno.EMFILE
AT_THE_LIMIT = "as many as there may be"
OVERLOADED = "overloaded"
TWO = (2).to_bytes(256, "big")  # the Diffie-Hellman value of a peer with forward secrecy


class Server:
    """A service of a rig's plane, and what is told of it."""

    def __init__(
        self,
        rig: Rig,
        *targets: SocketAddress,
        role: Role = Role.S,
        listener: Listener | None = None,
        workers: int = 1,
        limits: Limits = NO_LIMITS,
        wake: int = -1,
        tell_clean: bool = True,
        tell_left: bool = True,
        tell_begun: bool = False,
        tell_burst: int = 0,
        tell_interval: float = 0.0,
        **options: Any,
    ) -> None:
        self.rig = rig
        self.listener = listener or rig.network.listener()
        self.told: list[tuple[str, Told]] = []
        self.reasons: list[Reason] = []
        self.numbers: list[int] = []
        self.history: list[tuple[str, int, str]] = []
        self.troubles: list[str | int] = []  # an int: an errno value
        self.drained = 0
        self.active_when_told: list[int] = []
        targets = targets or (rig.network.refusing(),)
        pipe = PipeSettings(
            role, K, list(targets), **({"weak": True, "timeout": FOREVER} | options)
        )
        rig.serve(
            Service(
                listener=self.listener.sock,
                wake=wake,
                pipe=pipe,
                counters=rig.counters,
                workers=workers,
                limits=limits,
                tell_clean=tell_clean,
                tell_left=tell_left,
                tell_burst=tell_burst,
                tell_interval=tell_interval,
                on_end=self._on_end,
                on_limit=lambda: self.troubles.append(AT_THE_LIMIT),
                on_overload=lambda: self.troubles.append(OVERLOADED),
                on_shortage=self.troubles.append,
                on_drained=self._on_drained,
                tell_begun=tell_begun,
                on_begin=lambda number, peer: self.history.append(("begun", number, str(peer))),
            )
        )

    def _on_drained(self) -> None:
        self.drained += 1

    def _on_end(self, ending: Ending) -> None:
        self.told.append((str(ending.peer), Told.of(ending)))
        self.reasons.append(ending.reason)
        self.numbers.append(ending.number)
        self.history.append(("ended", ending.number, str(ending.peer)))
        self.active_when_told.append(self.rig.slot[Field.ACTIVE])

    @property
    def accepted(self) -> int:
        return self.rig.slot[Field.ACCEPTED]

    def client(self, name: str | None = None) -> Peer:
        """Connect to it, from this local address or UNIX socket if one is named."""
        sock = socket.socket(self.listener.sock.family)
        if name is not None:
            sock.bind((name, 0) if sock.family == socket.AF_INET else name)
        sock.connect(self.listener.sock.getsockname())
        return self.rig.peer(sock)

    def clients(self, count: int) -> list[Peer]:
        return [self.client() for _ in range(count)]


def greeted(*clients: Peer) -> bool:
    """A decrypting end has accepted them: it has sent its nonces."""
    return all(len(client.received) == 32 for client in clients)


def hello(rig: Rig, client: Peer) -> Voice:
    """Prove to hold the key."""
    voice = Voice(rig, Role.S, client)
    voice.wait_for_nonce()
    client.write(voice.hello())
    return voice


def served(rig: Rig, **options: Any) -> tuple[Server, Peer, Peer]:
    """A server, a client of it, and the target: the two have conversed."""
    target = rig.network.target()
    server = Server(rig, target.address, **options)
    client = server.client()
    voice = hello(rig, client)
    far = rig.accept(target)
    converse(rig, far, voice)
    return server, client, far


@pytest.fixture(params=[False, True], ids=["", "woken"])
def wake(request: pytest.FixtureRequest) -> Iterator[int]:
    """What workers leave clients to each other by."""
    if not request.param or not hasattr(os, "eventfd"):
        yield -1
        return
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    yield fd
    os.close(fd)


# Whoever comes


def test_who_connects_to_a_decrypting_end_is_carried(rig: Rig) -> None:
    server, client, far = served(rig)
    port = client.sock.getsockname()[1]
    assert (server.told, server.troubles) == ([], [])
    client.finish()
    far.finish()
    rig.until(lambda: server.told)
    assert server.told == [(f"[127.0.0.1]:{port}", (Cause.CLEAN, "", 9, 9))]


def test_who_connects_to_an_encrypting_end_is_carried(rig: Rig) -> None:
    target = rig.network.target()
    server = Server(rig, target.address, role=Role.C)
    client = server.client()
    voice = Voice(rig, Role.C, rig.accept(target))
    voice.wait_for_nonce()
    voice.peer.write(voice.hello())
    converse(rig, client, voice)
    voice.peer.reset()
    rig.until(lambda: server.told and client.ending)
    assert client.ending == RESET
    assert server.told[0][1] == (Cause.RESET, "reset by the target", 9, 9)


def test_everybody_is_counted(rig: Rig) -> None:
    target = rig.network.target()
    server = Server(rig, target.address)
    clients = server.clients(3)
    rig.until(lambda: greeted(*clients))
    assert (server.accepted, rig.slot[Field.ACTIVE], rig.established) == (3, 3, 0)
    hello(rig, clients[0])
    rig.until(lambda: rig.established)
    assert (server.accepted, rig.slot[Field.ACTIVE], rig.established) == (3, 3, 1)
    for client in clients:
        client.reset()
        rig.until(lambda client=client: len(server.told) == clients.index(client) + 1)
    assert server.active_when_told == [2, 1, 0]
    assert (server.accepted, rig.slot[Field.ACTIVE], rig.established) == (3, 0, 1)


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "failed"])
def test_only_clean_ends_may_be_counted_without_being_told(rig: Rig, clean: bool) -> None:
    """For whom they are too many to be told; a failure is told, and counted as well."""
    server, client, far = served(rig, tell_clean=False)
    far.finish()
    if clean:
        client.finish()
    else:
        client.reset()
    rig.until(lambda: rig.slot[Field.ACTIVE] == 0)
    rig.turn()
    counted = rig.slot[Field.ENDED_CLEAN], rig.slot[Field.ENDED_SOCKET_ERROR]
    assert counted == ((1, 0) if clean else (0, 1))
    causes = [ending.cause for _, ending in server.told]
    assert causes in ([[], [Cause.CLEAN]] if clean else [[Cause.RESET]])


def test_the_last_end_is_told_once_nobody_is_accepted_any_more(rig: Rig) -> None:
    """Whoever waits for it has to know, also if no end is told by itself."""
    server, client, far = served(rig, tell_clean=False)
    rig.stop_serving()
    rig.rest()
    assert server.drained == 0
    far.finish()
    client.finish()
    rig.until(lambda: server.drained)
    rig.rest()
    assert (server.drained, server.told) == (1, [])


def test_a_plane_without_connections_is_drained_at_once(rig: Rig) -> None:
    server = Server(rig)
    rig.stop_serving()
    assert server.drained == 0
    rig.until(lambda: server.drained)


def test_only_so_many_failures_are_told_and_the_others_counted(rig: Rig) -> None:
    server = Server(rig, tell_burst=3, tell_interval=FOREVER)
    clients = server.clients(20)
    rig.until(lambda: greeted(*clients))
    for client in clients:
        client.write(b"?")
    rig.rest()
    for client in clients:
        client.close()
    rig.until(lambda: rig.slot[Field.ACTIVE] == 0)
    rig.rest()
    assert server.reasons == 3 * [Reason.CLOSED]
    assert rig.slot[Field.ENDED_CLOSED] == 20


def test_after_a_while_one_more_failure_is_told(rig: Rig) -> None:
    server = Server(rig, tell_burst=1, tell_interval=0.05)

    def fail() -> None:
        client = server.client()
        rig.until(lambda: greeted(client))
        client.write(b"?")
        rig.rest()
        client.close()
        rig.until(lambda: rig.slot[Field.ACTIVE] == 0)

    fail()
    while len(server.told) < 3:
        fail()
        rig.turn(0.02)
    assert rig.slot[Field.ENDED_CLOSED] >= 3


def test_who_is_accepted_is_told_before_it_has_ended_and_once(rig: Rig) -> None:
    server = Server(rig, tell_begun=True)
    clients = server.clients(30)
    rig.until(lambda: server.accepted == 30)
    names = ["[{}]:{}".format(*client.sock.getsockname()) for client in clients]
    for client in clients:
        client.reset()
    rig.until(lambda: len(server.told) == 30)
    for name in names:
        begun, ended = [(what, number) for what, number, peer in server.history if peer == name]
        assert begun == ("begun", ended[1])
        assert ended[0] == "ended"


def test_who_is_accepted_is_not_told_unless_that_is_wanted(rig: Rig) -> None:
    server = Server(rig)
    server.client().reset()
    rig.until(lambda: server.told)
    assert [what for what, _, _ in server.history] == ["ended"]


def test_what_is_told_can_be_changed_at_any_time(rig: Rig) -> None:
    server = Server(rig, tell_left=False, tell_begun=False)
    for wanted, told in [
        (Wanted(begun=True), ["begun"]),
        (Wanted(left=True), ["ended"]),
        (Wanted(left=True, begun=True), ["begun", "ended"]),
        (Wanted(), []),
    ]:
        server.history.clear()
        before = rig.slot[Field.ENDED_LEFT]
        rig.plane.report(wanted)
        server.client().reset()
        rig.until(lambda before=before: rig.slot[Field.ENDED_LEFT] == before + 1)
        rig.rest()
        assert [what for what, _, _ in server.history] == told


@pytest.mark.parametrize("keepalive", [True, False])
def test_what_is_accepted_is_ready_for_use(rig: Rig, keepalive: bool) -> None:
    """Non-blocking, not inherited by programs, tuned."""
    before = inheritable()
    listener = rig.network.listener(keepalive=keepalive)
    server = Server(rig, listener=listener, keepalive=keepalive)
    client = server.client()
    rig.until(lambda: greeted(client))
    assert inheritable() == before
    with opposite_end(client.sock) as planes:
        assert not os.get_blocking(planes.fileno())
        assert is_tuned(planes, keepalive)


def test_an_ipv6_client_has_a_name(rig: Rig) -> None:
    try:
        listener = rig.network.listener(host="::1")
    except OSError:
        lack("no IPv6 here")
    server = Server(rig, listener=listener)
    client = server.client()
    port = client.sock.getsockname()[1]
    rig.until(lambda: greeted(client))
    client.reset()
    rig.until(lambda: server.told)
    assert server.told[0][0] == f"[::1]:{port}"


@pytest.mark.parametrize("bound", ["not at all", "to a path", "to an abstract name"])
def test_a_unix_client_is_a_local_client(rig: Rig, bound: str) -> None:
    server = Server(rig, listener=rig.network.listener("unix"))
    if bound == "to an abstract name":
        if not os.path.exists("/proc/net/unix"):
            lack("no abstract names here")
        name: str | None = f"\0{rig.network.path()}"
    else:
        name = None if bound == "not at all" else rig.network.path()
    client = server.client(name)
    rig.until(lambda: greeted(client))
    client.write(b"?")
    rig.rest()
    client.close()
    rig.until(lambda: server.told)
    left = LEFT_TEXTS[Role.S, Heard.SOMETHING]
    assert server.told == [("a local client", (Cause.HANDSHAKE, left, 0, 0))]


def test_a_burst_of_strangers_is_accepted_and_given_up(rig: Rig) -> None:
    """More at once than are accepted per turn, and more ends than are told per turn."""
    server = Server(rig)
    clients = server.clients(10 * ACCEPTS_PER_TURN)
    rig.until(lambda: greeted(*clients))
    names = {f"[127.0.0.1]:{client.sock.getsockname()[1]}" for client in clients}
    for client in clients:
        client.write(b"?")
    rig.rest()
    for client in clients:
        client.reset()
    rig.until(lambda: len(server.told) == len(clients))
    assert {who for who, _ in server.told} == names
    assert {ending.cause for _, ending in server.told} == {Cause.HANDSHAKE}
    assert server.troubles == []


def test_a_burst_does_not_hold_up_what_is_going_on(rig: Rig) -> None:
    server = Server(rig)
    other = rig.half()
    clients = server.clients(4 * ACCEPTS_PER_TURN)
    other.crypt.sock.sendall(other.sealer.seal(b"small"))
    rig.turn()
    rig.turn()
    other.plain.pump()
    assert other.plain.received == b"small"
    assert server.accepted < len(clients)
    rig.until(lambda: greeted(*clients))


def test_clients_that_have_gone_again_are_no_trouble(rig: Rig) -> None:
    server = Server(rig)
    for client in server.clients(20):
        client.reset()
    stays = server.client()
    rig.until(lambda: greeted(stays))
    rig.until(lambda: rig.slot[Field.ACTIVE] == 1)
    assert len(server.told) == server.accepted - 1
    assert server.troubles == []


def test_all_are_ended_at_once_and_nobody_else_comes(rig: Rig) -> None:
    server = Server(rig)
    accepted = server.clients(5)
    rig.until(lambda: greeted(*accepted))
    waiting = server.client()
    rig.stop_serving()
    rig.plane.abort_all()
    assert [ending for _, ending in server.told] == 5 * [(Cause.SHUTDOWN, "", 0, 0)]
    rig.until(lambda: all(client.ending == RESET for client in accepted))
    rig.rest()
    assert not waiting.received


# How many there may be


def test_no_more_are_accepted_than_may_be(rig: Rig) -> None:
    """Others wait until one of them ends; it is said whenever the limit is reached."""
    message = AT_THE_LIMIT
    server = Server(rig, limits=Limits(connections=2))
    clients = server.clients(4)
    for ended, client in enumerate(clients[:2]):
        rig.until(lambda ended=ended: greeted(*clients[: ended + 2]))
        rig.rest()
        assert server.accepted == ended + 2
        assert not clients[ended + 2].received
        assert server.troubles == (ended + 1) * [message]
        client.reset()
        rig.until(lambda ended=ended: len(server.told) == ended + 1)
    rig.until(lambda: greeted(*clients))
    assert server.troubles == 3 * [message]


def test_waiting_at_the_limit_costs_nothing(rig: Rig) -> None:
    server = Server(rig, limits=Limits(connections=1))
    server.clients(2)
    rig.until(lambda: server.accepted == 1)
    assert waste(rig) < 0.5


def test_the_limit_is_that_of_all_workers(rig: Rig) -> None:
    """Nobody tells this one when a connection of another has ended: it looks again."""
    other = rig.counters.slot(2)
    other.add(Field.ACTIVE, 1)
    server = Server(rig, limits=Limits(connections=1), workers=2)
    client = server.client()
    rig.rest()
    assert server.accepted == 0
    assert rig.slot[Field.ACTIVE] == 0
    other.add(Field.ACTIVE, -1)
    rig.until(lambda: greeted(client))
    other.view.release()


# How many strangers


def test_the_oldest_stranger_makes_room_for_the_newest(rig: Rig) -> None:
    server = Server(rig, limits=Limits(connections=0, unauthenticated=2))
    strangers = []
    for _ in range(4):
        strangers.append(server.client())
        rig.until(lambda: greeted(strangers[-1]))
    rig.until(lambda: len(server.told) == 2)
    rig.until(lambda: strangers[0].ending == strangers[1].ending == RESET)
    assert {ending for _, ending in server.told} == {(Cause.HANDSHAKE, SHED, 0, 0)}
    rig.rest()
    assert [stranger.ending for stranger in strangers[2:]] == [None, None]
    assert rig.slot[Field.UNAUTHENTICATED] == rig.slot[Field.ACTIVE] == 2


def test_whoever_holds_the_key_makes_no_room_for_strangers(rig: Rig) -> None:
    server, client, far = served(rig, limits=Limits(connections=0, unauthenticated=1))
    assert rig.slot[Field.UNAUTHENTICATED] == 0
    strangers = server.clients(4)
    rig.until(lambda: len(server.told) == 3)
    assert rig.slot[Field.UNAUTHENTICATED] == 1
    far.write(b"still there")
    rig.until(lambda: len(client.received) > 320 + 1060)
    assert client.ending is None
    assert sum(stranger.ending is None for stranger in strangers) == 1


def test_the_strangers_of_all_workers_are_counted(rig: Rig) -> None:
    """A newcomer waits until one of them goes."""
    other = rig.counters.slot(2)
    other.add(Field.UNAUTHENTICATED, 2)
    server = Server(rig, limits=Limits(connections=0, unauthenticated=2), workers=2)
    client = server.client()
    rig.rest()
    assert server.accepted == 0
    other.add(Field.UNAUTHENTICATED, -1)
    rig.until(lambda: greeted(client))
    assert server.told == []
    other.view.release()


def test_no_stranger_goes_before_it_has_had_its_time(rig: Rig) -> None:
    """However many wait: who is far away has to be able to prove that it holds the key."""
    server = Server(rig, limits=Limits(connections=0, unauthenticated=3))
    began = time.monotonic()
    server.clients(20)
    rig.until(lambda: len(server.told) == 6)
    assert time.monotonic() - began >= 2 * GRACE
    assert set(server.reasons) == {Reason.SHED}


def test_strangers_stay_while_nobody_else_comes(rig: Rig) -> None:
    server = Server(rig, limits=Limits(connections=0, unauthenticated=2))
    strangers = server.clients(2)
    rig.until(lambda: greeted(*strangers))
    rig.turn(2 * GRACE)
    assert [stranger.ending for stranger in strangers] == [None, None]
    assert server.told == []


def test_whoever_proves_itself_lets_the_next_come_at_once(rig: Rig) -> None:
    """Nobody has to go for it, and nobody waits until somebody might."""
    target = rig.network.target()
    server = Server(rig, target.address, limits=Limits(connections=0, unauthenticated=1))
    first, second = server.clients(2)
    voice = Voice(rig, Role.S, first)
    voice.wait_for_nonce()
    rig.rest()
    began = time.monotonic()
    assert not second.received
    first.write(voice.hello())
    rig.until(lambda: greeted(second))
    assert time.monotonic() - began < GRACE / 2
    assert server.told == []


# How much there may be to compute


def many_hellos(rig: Rig, server: Server, count: int) -> list[Peer]:
    """So many clients that wait for their keys, which take very long, as it seems."""
    clients = server.clients(count)
    rig.until(lambda: greeted(*clients))
    voices = [Voice(rig, Role.S, client) for client in clients]
    for voice, client in zip(voices, clients, strict=True):
        voice.wait_for_nonce()
        client.write(voice.hello(y=TWO))

    def step() -> None:
        rig.turn()
        for client in clients:
            client.pump()

    rig.until(lambda: any(answered(client) for client in clients), step)
    time.sleep(0.15)  # so long takes an exponentiation, as it seems
    rig.turn()
    return clients


def answered(client: Peer) -> bool:
    return len(client.received) > 32


def test_no_more_are_taken_than_can_be_computed_in_time(rig: Rig) -> None:
    """Who comes when there is too much to do is refused at once; later ones are served again."""
    server = Server(rig, rig.network.silent(), weak=False, timeout=5.0)
    waiting = many_hellos(rig, server, 30)
    late = server.clients(3)
    rig.until(lambda: OVERLOADED in server.troubles)
    assert rig.slot[Field.ENDED_OVERLOAD] > 0
    rig.until(lambda: all(client.ending == RESET for client in late[:1]))
    rig.until(lambda: all(answered(client) for client in waiting))
    later = server.client()
    rig.until(lambda: greeted(later))


def test_if_there_is_too_much_to_compute_who_has_waited_least_is_first(rig: Rig) -> None:
    server = Server(rig, rig.network.silent(), weak=False, timeout=1.0)
    waiting = many_hellos(rig, server, 30)
    rig.until(lambda: answered(waiting[-1]))
    assert not answered(waiting[-2])


def test_nothing_is_computed_for_whoever_has_given_up(rig: Rig) -> None:
    server = Server(rig, rig.network.silent(), weak=False)
    clients = server.clients(5)
    rig.until(lambda: greeted(*clients))
    for client in clients:
        voice = Voice(rig, Role.S, client)
        voice.wait_for_nonce()
        client.write(voice.hello(y=TWO))
        client.pump()
    clients[-1].sock.shutdown(socket.SHUT_WR)
    rig.until(lambda: server.told)
    assert server.reasons == [Reason.CLOSED]
    assert server.told[0][1].detail == LEFT_TEXTS[Role.S, Heard.PROOF]
    assert not answered(clients[-1])


def test_of_one_address_only_so_many_strangers_get_in(rig: Rig) -> None:
    """Its newest are refused, those of others are not, and it may come again when it is known."""
    limits = Limits(connections=0, unauthenticated_per_source=2)
    target = rig.network.target()
    server = Server(rig, target.address, limits=limits)
    strangers = server.clients(2)
    rig.until(lambda: greeted(*strangers))
    refused = server.client()
    rig.until(lambda: refused.ending == RESET)
    assert [ending for _, ending in server.told] == [(Cause.HANDSHAKE, TOO_MANY, 0, 0)]
    elsewhere = server.client("127.0.0.2")
    rig.until(lambda: greeted(elsewhere))
    hello(rig, strangers[0])
    rig.until(lambda: target.contacted)
    again = server.client()
    rig.until(lambda: greeted(again))
    assert len(server.told) == 1


def test_an_ipv4_address_in_the_guise_of_an_ipv6_one_is_no_network(rig: Rig) -> None:
    """What all of these have in common is not a source."""
    listener = rig.network.listener(host="::")
    server = Server(
        rig, listener=listener, limits=Limits(connections=0, unauthenticated_per_source=1)
    )
    port = listener.sock.getsockname()[1]
    clients = []
    for ours, theirs in (("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.1"), ("::1", "::1")):
        sock = socket.socket(socket.AF_INET6 if ":" in ours else socket.AF_INET)
        sock.bind((ours, 0))
        sock.connect((theirs, port))
        clients.append(rig.peer(sock))
    rig.until(lambda: greeted(*clients))
    assert server.told == []


def test_unix_clients_are_of_no_address(rig: Rig) -> None:
    listener = rig.network.listener("unix")
    limits = Limits(connections=0, unauthenticated_per_source=1)
    server = Server(rig, listener=listener, limits=limits)
    clients = server.clients(3)
    rig.until(lambda: greeted(*clients))


def both(*rigs: Rig) -> Callable[[], None]:
    """A step in which several workers take a turn."""

    def step() -> None:
        for rig in rigs:
            rig.turn()

    return step


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
def test_workers_get_their_share(new_rig: Callable[..., Rig], wake: int, at_once: bool) -> None:
    """Although the first of them always looks first."""
    a = new_rig()
    b = new_rig(a.counters, 2)
    listener = a.network.listener()
    servers = [Server(rig, listener=listener, wake=wake, workers=2) for rig in (a, b)]
    for count in range(1, 41):
        servers[0].client()
        if count == 40 or not at_once:
            a.until(lambda n=count: sum(s.accepted for s in servers) == n, both(a, b))
    # the last that one took, it took when it had at most a quarter more than the average, and one
    assert max(server.accepted for server in servers) <= 40 / 2 * 1.25 + 2


def test_a_worker_takes_what_the_others_do_not(new_rig: Callable[..., Rig], wake: int) -> None:
    a = new_rig()
    b = new_rig(a.counters, 2)
    listener = a.network.listener()
    server, stopped = (Server(rig, listener=listener, wake=wake, workers=2) for rig in (a, b))
    clients = server.clients(30)
    a.until(lambda: greeted(*clients))
    assert stopped.accepted == 0


# What stands in the way


def test_running_out_of_descriptors_is_said_and_harms_nobody(rig: Rig) -> None:
    server = Server(rig)
    other = rig.half()
    client = server.client()
    with no_more_descriptors():
        rig.until(lambda: server.troubles)
        assert set(server.troubles) == {TOO_MANY_FILES}
        other.write(b"others go on")
        rig.until(lambda: other.plain.received == b"others go on")
        assert waste(rig) < 0.5
        assert (server.accepted, rig.slot[Field.ACTIVE]) == (0, 1)
    rig.until(lambda: greeted(client))
    assert server.told == []


# No more of them


def test_nobody_is_accepted_any_more(rig: Rig) -> None:
    """Those that have been stay, and are told of."""
    target = rig.network.target()
    server = Server(rig, target.address)
    first = server.client()
    voice = hello(rig, first)
    rig.stop_serving()
    second = server.client()
    far = rig.accept(target)
    converse(rig, far, voice)
    rig.rest()
    assert server.accepted == 1
    server.listener.close()
    rig.until(lambda: second.ending == RESET)
    first.reset()
    rig.until(lambda: server.told)
    assert server.told[0][1].cause is Cause.RESET


@pytest.mark.parametrize("paused", ["at the limit", "for its share", "without descriptors"])
def test_it_may_be_stopped_while_it_waits(rig: Rig, paused: str) -> None:
    limits = Limits(connections=1) if paused == "at the limit" else NO_LIMITS
    server = Server(rig, workers=2, limits=limits)
    first = server.client()
    rig.until(lambda: greeted(first))
    server.clients(20)
    if paused == "without descriptors":
        with no_more_descriptors():
            rig.until(lambda: server.troubles)
            rig.stop_serving()
    else:
        rig.turn()
        rig.stop_serving()
    before = server.accepted
    first.reset()
    rig.until(lambda: server.told)
    rig.turn(0.2)
    assert server.accepted == before < 20


# Other targets


def test_those_who_come_later_are_connected_to_the_new_targets(rig: Rig) -> None:
    """And those who came before to the old ones, which they go on to try."""
    old, new = rig.network.target(), rig.network.target()
    server = Server(rig, rig.network.silent(), old.address, role=Role.C, timeout=1.0)
    server.client()
    rig.until(lambda: server.accepted == 1)
    rig.plane.retarget([rig.network.refusing()])
    rig.plane.retarget([rig.network.refusing(), new.address])
    server.client()
    rig.accept(new)
    assert not old.contacted
    rig.accept(old)
    assert server.told == []


def test_a_failure_names_the_old_target(rig: Rig) -> None:
    old, new = rig.network.silent(), rig.network.refusing()
    server = Server(rig, old, role=Role.C, timeout=0.3)
    server.client()
    rig.until(lambda: server.accepted == 1)
    rig.plane.retarget([new])
    rig.until(lambda: server.told)
    assert server.told[0][1] == (Cause.CONNECT_TIMEOUT, str(old), 0, 0)
    server.client()
    rig.until(lambda: len(server.told) == 2)
    reason = os.strerror(errno.ECONNREFUSED)
    assert server.told[1][1] == (Cause.CONNECT, f"{new}: {reason}", 0, 0)
