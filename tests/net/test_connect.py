"""Reaching the target: several addresses, one time limit, every way to fail."""

from __future__ import annotations

import errno
import math
import os
import socket
from typing import Any

import pytest

from spiped.net.address import SocketAddress
from spiped.observe.slot import Field
from spiped.plane.ending import Cause
from spiped.proto.handshake import Role
from tests.helpers import lack
from tests.net.network import Target
from tests.net.rig import RESET, Outcome, Peer, Rig, no_more_descriptors, tcp_pair, unix_pair
from tests.net.voice import Voice, converse

REFUSED = os.strerror(errno.ECONNREFUSED)


def attempt(rig: Rig, *targets: SocketAddress, **options: Any) -> Outcome:
    """Have an encrypting end connect; its client waits, and says nothing."""
    client, accepted = unix_pair()
    rig.peer(client)
    return rig.carry(Role.C, accepted, *targets, **options)


def ending(rig: Rig, outcome: Outcome) -> tuple[object, ...]:
    rig.until(lambda: outcome.ending)
    assert outcome.ending is not None
    assert rig.slot[Field.ESTABLISHED] == 0
    return tuple(outcome.ending)


def reaches(rig: Rig, target: Target) -> Peer:
    """The plane has connected, and begins its handshake."""
    peer = rig.accept(target)
    rig.until(lambda: len(peer.received) == 32)
    return peer


# It is reached


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_target_is_reached(rig: Rig, transport: str) -> None:
    target = rig.network.target(transport)
    outcome = attempt(rig, target.address)
    reaches(rig, target)
    assert outcome.ending is None


def test_an_ipv6_target_is_reached(rig: Rig) -> None:
    try:
        target = rig.network.target(host="::1")
    except OSError:
        lack("no IPv6 here")
    attempt(rig, target.address)
    reaches(rig, target)


def test_the_next_address_is_tried_when_one_refuses(rig: Rig) -> None:
    target = rig.network.target()
    attempt(rig, rig.network.refusing(), rig.network.missing(), target.address)
    reaches(rig, target)


def test_the_first_address_that_answers_is_taken(rig: Rig) -> None:
    first, second = rig.network.target(), rig.network.target()
    attempt(rig, first.address, second.address)
    reaches(rig, first)
    rig.rest()
    assert not second.contacted


def test_a_decrypting_end_tries_all_addresses_too(rig: Rig) -> None:
    target = rig.network.target()
    theirs, accepted = unix_pair()
    rig.carry(Role.S, accepted, rig.network.refusing(), rig.network.missing(), target.address)
    voice = Voice(rig, Role.S, rig.peer(theirs))
    voice.wait_for_nonce()
    voice.peer.write(voice.hello())
    converse(rig, rig.accept(target), voice)


def test_a_silent_address_does_not_hide_the_next(rig: Rig) -> None:
    """It gets its share of the time, and no more."""
    target = rig.network.target()
    outcome = attempt(rig, rig.network.silent(), target.address, timeout=1.0)
    rig.accept(target)
    assert outcome.ending is None


def test_without_a_limit_there_is_no_hurry(rig: Rig) -> None:
    target = rig.network.target()
    attempt(rig, rig.network.refusing(), target.address, timeout=math.inf)
    waiting = attempt(rig, rig.network.silent(), timeout=math.inf)
    reaches(rig, target)
    rig.rest()
    assert waiting.ending is None


def test_a_full_unix_backlog_is_tried_again_until_there_is_room(rig: Rig) -> None:
    target = rig.network.full()
    outcome = attempt(rig, target.address)
    rig.rest()
    assert outcome.ending is None
    target.make_room()
    reaches(rig, target)


# It is not


def test_a_refusal_is_reported_with_its_address(rig: Rig) -> None:
    address = rig.network.refusing()
    assert ending(rig, attempt(rig, address)) == (Cause.CONNECT, f"{address}: {REFUSED}", 0, 0)


def test_a_missing_unix_target_is_reported(rig: Rig) -> None:
    address = rig.network.missing()
    reason = os.strerror(errno.ENOENT)
    assert ending(rig, attempt(rig, address)) == (Cause.CONNECT, f"{address}: {reason}", 0, 0)


def test_the_last_failure_is_the_one_that_is_reported(rig: Rig) -> None:
    last, silent = rig.network.refusing(), rig.network.silent()
    for others in ([rig.network.missing()], [silent], [silent, rig.network.missing()]):
        outcome = attempt(rig, *others, last, timeout=0.5)
        assert ending(rig, outcome) == (Cause.CONNECT, f"{last}: {REFUSED}", 0, 0)
    outcome = attempt(rig, last, silent, timeout=0.2)
    assert ending(rig, outcome) == (Cause.CONNECT_TIMEOUT, str(silent), 0, 0)


def test_the_time_is_up_when_nobody_answers(rig: Rig) -> None:
    silent = rig.network.silent()
    outcome = attempt(rig, silent, silent, timeout=0.2)
    assert ending(rig, outcome) == (Cause.CONNECT_TIMEOUT, str(silent), 0, 0)


@pytest.mark.parametrize("timeout", [0.0, 1e-9, 1e-300])
def test_a_time_limit_that_is_over_at_once_is_not_told_from_within(
    rig: Rig, timeout: float
) -> None:
    silent = rig.network.silent()
    outcome = attempt(rig, silent, timeout=timeout)  # which looks at that
    assert ending(rig, outcome) == (Cause.CONNECT_TIMEOUT, str(silent), 0, 0)


def test_a_full_unix_backlog_is_tried_again_until_the_time_is_up(rig: Rig) -> None:
    target = rig.network.full()
    outcome = attempt(rig, target.address, timeout=0.2)
    assert ending(rig, outcome) == (Cause.CONNECT_TIMEOUT, str(target.address), 0, 0)
    target.make_room()
    rig.rest()
    assert not target.contacted


def want(rig: Rig, role: Role, peer: Peer) -> None:
    """On behalf of a client of an end in this role, give reason to connect to the target."""
    if role is Role.S:
        voice = Voice(rig, Role.S, peer)
        voice.wait_for_nonce()
        peer.write(voice.hello())


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


in_both_roles = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)


@in_both_roles
def test_a_shortage_of_descriptors_is_waited_out(rig: Rig, role: Role) -> None:
    other = rig.half()
    target = rig.network.target()
    theirs, accepted = tcp_pair()
    peer = rig.peer(theirs)
    with no_more_descriptors():
        outcome = rig.carry(role, accepted, target.address)
        want(rig, role, peer)
        rig.rest()
        assert not outcome.ending
        other.write(b"others go on")
        rig.until(lambda: other.plain.received == b"others go on")
    rig.accept(target)


def test_a_target_that_refuses_leaves_nothing_behind_for_the_next(rig: Rig) -> None:
    """For which there is no descriptor at the moment, while the peer has something to say."""
    first, second = rig.network.target(backlog=0), rig.network.target()
    rig.network.crowd(first)
    theirs, accepted = tcp_pair()
    peer = rig.peer(theirs)
    rig.carry(Role.S, accepted, first.address, second.address)
    lowest = os.dup(0)
    os.close(lowest)
    want(rig, Role.S, peer)
    rig.until(lambda: is_open(lowest))  # which is for the first target
    rig.rest()
    with no_more_descriptors(lowest):
        first.close()  # whoever knocks there the next time is refused
        rig.until(lambda: not is_open(lowest))
        peer.write(bytes(100))
        rig.rest()
    rig.accept(second)


@in_both_roles
def test_a_shortage_of_descriptors_that_lasts_ends_that_connection_alone(
    rig: Rig, role: Role
) -> None:
    other = rig.half()
    target = rig.network.target()
    theirs, accepted = tcp_pair()
    peer = rig.peer(theirs)
    with no_more_descriptors():
        outcome = rig.carry(role, accepted, target.address, timeout=0.2)
        want(rig, role, peer)
        rig.until(lambda: outcome.ending)
        reason = "Too many open files in this process (`ulimit -n`)"
        detail = f"{reason}, which is no fault of the target's"
        assert outcome.ending == (Cause.CONNECT, detail, 0, 0)
        assert rig.slot[Field.ENDED_SHORTAGE] == 1
        rig.until(lambda: peer.ending == RESET)
        other.write(b"others go on")
        rig.until(lambda: other.plain.received == b"others go on")


def test_many_may_fail_at_once(rig: Rig) -> None:
    """More than can be told at once."""
    address = rig.network.refusing()
    outcomes = [attempt(rig, address) for _ in range(150)]
    rig.until(lambda: all(outcome.ending for outcome in outcomes))
    assert {outcome.ending for outcome in outcomes} == {
        (Cause.CONNECT, f"{address}: {REFUSED}", 0, 0)
    }


# Where it comes from


def test_a_connection_comes_from_where_it_is_asked_to(rig: Rig) -> None:
    target = rig.network.target()
    attempt(rig, target.address, bind=SocketAddress(socket.AF_INET, ("127.0.0.2", 0)))
    assert reaches(rig, target).sock.getpeername()[0] == "127.0.0.2"


def test_a_unix_connection_comes_from_the_path_it_is_asked_to(rig: Rig) -> None:
    target, bind = rig.network.target("unix"), rig.network.missing()
    attempt(rig, target.address, bind=bind)
    assert reaches(rig, target).sock.getpeername() == bind.sockaddr


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_place_that_is_taken_fails_the_attempt(rig: Rig, transport: str) -> None:
    """With a port of one's own, there is one connection to a target at a time."""
    target = rig.network.target(transport)
    if transport == "tcp":
        port = rig.network.refusing().sockaddr[1]
        bind = SocketAddress(socket.AF_INET, ("127.0.0.2", port))
    else:
        bind = rig.network.missing()
    first = attempt(rig, target.address, bind=bind)
    rig.until(lambda: target.contacted)
    cause, detail, _, _ = ending(rig, attempt(rig, target.address, bind=bind))
    assert cause is Cause.CONNECT
    reasons = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
    assert detail in [f"{target.address}: {os.strerror(number)}" for number in reasons]
    assert first.ending is None


def test_the_wrong_kind_of_place_fails_the_attempt(rig: Rig) -> None:
    """For that address: there may be another for which it is right."""
    target, other = rig.network.target(), rig.network.target("unix")
    reason = os.strerror(errno.EAFNOSUPPORT)
    for bind in (SocketAddress(socket.AF_INET6, ("::1", 0, 0, 0)), rig.network.missing()):
        outcome = attempt(rig, target.address, bind=bind)
        assert ending(rig, outcome) == (Cause.CONNECT, f"{target.address}: {reason}", 0, 0)
    attempt(rig, target.address, other.address, bind=bind)
    reaches(rig, other)


# It is given up


@pytest.mark.parametrize("kind", ["reachable", "refusing", "silent", "full"])
def test_an_attempt_that_is_aborted_is_reported_once(rig: Rig, kind: str) -> None:
    target = rig.network.full() if kind == "full" else rig.network.target()
    address = {"refusing": rig.network.refusing, "silent": rig.network.silent}.get(
        kind, lambda: target.address
    )()
    outcome = attempt(rig, address, timeout=0.1)
    rig.plane.abort_all()
    assert ending(rig, outcome) == (Cause.SHUTDOWN, "", 0, 0)
    target.make_room()
    rig.turn(0.2)  # an Outcome that is called again fails
    if target.contacted:
        far = rig.accept(target)
        rig.until(lambda: far.ending == RESET)
