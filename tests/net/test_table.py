"""What others see of the connections that a plane carries: its table, histograms and counters."""

from __future__ import annotations

import time

import pytest

from spiped.crypto.sizes import PACKET_BYTES
from spiped.net.address import decode_sockaddr
from spiped.observe import entry
from spiped.observe.entry import Entry, State
from spiped.observe.slot import PLACES, TIME_BOUNDS, TIME_WORDS, Field
from spiped.plane.ending import Reason
from spiped.proto.terms import Role
from tests.net.rig import ENTRIES, RESET, Rig
from tests.net.test_accepting import Server, greeted, hello, served
from tests.net.test_relay import data_of

SMALL = 4096


def shown(rig: Rig) -> list[Entry]:
    found = [entry.read(rig.entries, index) for index in range(rig.slot[Field.ENTRIES])]
    return sorted(each for each in found if each is not None)


def the_only(rig: Rig) -> Entry:
    (only,) = shown(rig)
    return only


def test_the_table_is_the_one_that_c_writes() -> None:
    native = pytest.importorskip("spiped._native")
    ffi, lib = native.ffi, native.lib
    assert ffi.sizeof("struct plane_entry") == entry.BYTES
    assert ffi.offsetof("struct plane_entry", "sealed") == entry.SECOND_LINE
    assert [getattr(lib, f"ENTRY_{state.name}") for state in State] == list(State)
    made = ffi.new("struct plane_entry *", {
        "number": 1, "began_ms": 2, "state": 3, "peer_length": 4, "target_length": 5,
        "pipe": 6, "key": 7, "peer": b"peer" + bytes(24), "sealed": 8, "opened": 9,
        "unsent": (10, 11),
        "target": b"where" + bytes(23),
    })  # fmt: skip
    assert entry.read(memoryview(ffi.buffer(made)), 0) == Entry(
        1, 2, State.HALF_CLOSED, 6, 7, b"peer", b"where", 8, 9, (10, 11)
    )


def test_the_counters_are_those_that_c_writes() -> None:
    native = pytest.importorskip("spiped._native")
    lib = native.lib
    places = {place.name: int(place) for place in PLACES}
    for name in dir(lib):
        if name.startswith("PLANE_") and name[6:] in places and "ACCEPT_ERRORS" not in name:
            assert getattr(lib, name) == places[name[6:]], name
    assert lib.PLANE_ACCEPT_ERRORS == Field.ACCEPT_PROCESS_FILES
    assert lib.PLANE_COUNTERS <= Field.CPU_MILLISECONDS
    assert lib.TIME_WORDS == TIME_WORDS
    bounds = [lib.time_bounds[i] / 1e6 for i in range(lib.TIME_BOUNDS)]
    assert tuple(bounds) == TIME_BOUNDS


def test_a_connection_is_shown_from_its_acceptance_to_its_end(rig: Rig) -> None:
    before = time.monotonic()
    target = rig.network.target()
    server = Server(rig, target.address)
    client = server.client()
    rig.until(lambda: greeted(client))
    first = the_only(rig)
    assert (first.number, first.state, first.target) == (1, State.HANDSHAKE, b"")
    peer = decode_sockaddr(first.peer)
    assert peer is not None
    assert peer.sockaddr == client.sock.getsockname()
    assert int(before * 1000) <= first.began_ms <= time.monotonic() * 1000
    voice = hello(rig, client)
    far = rig.accept(target)
    rig.until(lambda: the_only(rig).state is State.RELAYING)
    reached = decode_sockaddr(the_only(rig).target)
    assert reached is not None
    assert reached.sockaddr[:2] == target.address.sockaddr[:2]
    client.write(voice.seal(b"twelve bytes"))
    rig.until(lambda: far.received)
    far.write(b"five!")
    far.finish()
    rig.until(lambda: the_only(rig).state is State.HALF_CLOSED)
    assert (the_only(rig).sealed, the_only(rig).opened) == (5, 12)
    client.finish()
    rig.until(lambda: server.told)
    assert shown(rig) == []


def test_what_a_slow_receiver_has_not_taken_is_shown(rig: Rig) -> None:
    target = rig.network.target(buffers=SMALL)
    server = Server(rig, target.address)
    client = server.client()
    hello(rig, client)
    far = rig.accept(target)
    client.reading = False
    far.write(data_of(8 << 20))
    rig.until(lambda: the_only(rig).unsent[0] > 0)
    assert the_only(rig).unsent[1] == 0
    client.reading = True
    rig.until(lambda: far.idle and the_only(rig).unsent == (0, 0))
    assert server.told == []


def test_whoever_finds_no_place_in_the_table_is_carried_unseen(rig: Rig) -> None:
    server = Server(rig)
    clients = server.clients(ENTRIES + 3)
    rig.until(lambda: greeted(*clients))
    assert [each.number for each in shown(rig)] == list(range(1, ENTRIES + 1))
    clients[0].reset()
    rig.until(lambda: rig.slot[Field.ACTIVE] == ENTRIES + 2)
    assert len(shown(rig)) == ENTRIES - 1
    later = server.client()
    rig.until(lambda: greeted(later))
    assert [each.number for each in shown(rig)] == [*range(2, ENTRIES + 1), ENTRIES + 4]
    assert rig.slot[Field.ENTRIES] == ENTRIES


def test_one_connection_can_be_killed(rig: Rig) -> None:
    server = Server(rig)
    clients = server.clients(3)
    rig.until(lambda: greeted(*clients))
    assert rig.plane.kill(2)
    rig.until(lambda: server.told)
    assert (server.reasons, server.numbers) == ([Reason.KILLED], [2])
    rig.until(lambda: [client.ending for client in clients] == [None, RESET, None])
    assert not rig.plane.kill(2)
    assert not rig.plane.kill(99)


def test_an_established_connection_can_be_killed(rig: Rig) -> None:
    server, client, far = served(rig)
    assert rig.plane.kill(1)
    rig.until(lambda: client.ending == far.ending == RESET)
    assert server.reasons == [Reason.KILLED]


def test_times_and_packets_are_counted(rig: Rig) -> None:
    server, client, far = served(rig)
    before = rig.slot[Field.SEALED_PACKETS]
    far.write(data_of(5000))
    rig.until(lambda: len(client.received) >= 320 + 6 * PACKET_BYTES)
    assert rig.slot[Field.SEALED_PACKETS] - before >= 5
    assert rig.slot[Field.OPENED_PACKETS] == 1
    counts = {Field.HANDSHAKE_TIME: 1, Field.CONNECT_TIME: 1, Field.CONNECTION_TIME: 0}
    for histogram, count in counts.items():
        assert sum(rig.slot.view[histogram : histogram + len(TIME_BOUNDS) + 1]) == count
        assert rig.slot[histogram + TIME_WORDS - 1] < 60e6
    client.reset()
    rig.until(lambda: server.told)
    assert sum(rig.slot.view[Field.CONNECTION_TIME : Field.CONNECTION_TIME + TIME_WORDS - 1]) == 1


def test_a_connection_of_an_encrypting_end_begins_by_connecting(rig: Rig) -> None:
    server = Server(rig, rig.network.silent(), role=Role.C)
    server.client()
    rig.until(lambda: server.accepted)
    assert the_only(rig).state is State.CONNECTING
