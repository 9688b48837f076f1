"""The event loop: who is called, when, and who is not called any more."""

from __future__ import annotations

import math
import os
import socket
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from spiped.net.reactor import HANGUP, NOTHING, READ, WRITE, Reactor
from spiped.net.sockets import close_with_reset
from tests.net.rig import no_descriptor_leaks, tcp_pair

Sockets = tuple[socket.socket, socket.socket]


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    with no_descriptor_leaks():
        reactor = Reactor()
        yield reactor
        reactor.close()


@pytest.fixture
def sockets() -> Iterator[Callable[..., Sockets]]:
    """Make pairs of sockets; they are closed afterwards."""
    made: list[socket.socket] = []

    def make(pair: Callable[[], Sockets] = socket.socketpair) -> Sockets:
        both = pair()
        for sock in both:
            sock.setblocking(False)
        made.extend(both)
        return both

    yield make
    for sock in made:
        sock.close()


def turns(reactor: Reactor, count: int = 3) -> None:
    """Let the loop turn a few times without waiting for anything."""

    def again() -> None:
        nonlocal count
        count -= 1
        if count <= 0:
            reactor.stop()
        else:
            reactor.call_later(0, again)

    reactor.call_later(0, again)
    reactor.run()


def run_until(reactor: Reactor, condition: Callable[[], object], deadline: float = 30.0) -> None:
    """Let the loop wait until a condition holds that its own callbacks bring about."""
    expired: list[bool] = []

    def check() -> None:
        if condition():
            reactor.stop()
        else:
            reactor.call_later(0.001, check)

    timer = reactor.call_later(deadline, lambda: (expired.append(True), reactor.stop())[0])
    check()
    if not condition():
        reactor.run()
    timer.cancel()
    assert not expired


# Timers


def test_timers_are_called_in_the_order_in_which_they_are_due(reactor: Reactor) -> None:
    called: list[str] = []
    reactor.call_later(0.03, reactor.stop)
    reactor.call_later(0.02, lambda: called.append("last"))
    reactor.call_later(0.01, lambda: called.append("second"))
    reactor.call_later(0, lambda: called.append("first"))
    reactor.run()
    assert called == ["first", "second", "last"]


def test_timers_for_the_same_moment_keep_their_order(reactor: Reactor) -> None:
    called: list[int] = []
    for number in range(50):
        reactor.call_later(0, lambda number=number: called.append(number))
    turns(reactor)
    assert called == list(range(50))


def test_a_cancelled_timer_is_not_called(reactor: Reactor) -> None:
    called: list[str] = []
    second = None

    def first() -> None:
        called.append("first")
        assert second is not None
        second.cancel()

    done = reactor.call_later(0, first)
    second = reactor.call_later(0, lambda: called.append("second"))
    turns(reactor)
    assert called == ["first"]
    done.cancel()  # also afterwards


@pytest.mark.parametrize("delay", [86400, math.inf])
def test_timers_that_were_cancelled_take_no_memory(reactor: Reactor, delay: float) -> None:
    """Each connection has one that is due in a day, say, and ends long before."""
    open_ones = [reactor.call_later(86400, reactor.stop) for _ in range(10)]
    tracemalloc.start()
    try:
        for _ in range(20_000):
            reactor.call_later(delay, reactor.stop).cancel()
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    for timer in open_ones:
        timer.cancel()


def test_a_timer_that_is_infinitely_far_away_is_never_called(reactor: Reactor) -> None:
    called: list[str] = []
    timer = reactor.call_later(math.inf, lambda: called.append("never"))
    reactor.call_later(0.01, reactor.stop)
    reactor.run()  # waits for the other one
    assert called == []
    timer.cancel()


def test_timers_run_although_a_descriptor_is_always_ready(
    reactor: Reactor, sockets: Callable[..., Sockets]
) -> None:
    busy, _ = sockets()
    served = 0

    def serve(events: int) -> None:
        nonlocal served
        served += 1

    reactor.watch(busy, WRITE, serve)
    reactor.call_later(0.01, reactor.stop)
    reactor.run()
    assert served > 1


# Descriptors


def test_events_are_reported_for_as_long_as_they_are_there(
    reactor: Reactor, sockets: Callable[..., Sockets]
) -> None:
    ours, theirs = sockets()
    seen: list[int] = []
    reactor.watch(ours, READ, seen.append)
    turns(reactor)
    assert seen == []
    theirs.send(b"x")
    turns(reactor)
    assert len(seen) >= 2
    assert set(seen) == {READ}
    ours.recv(1)
    del seen[:]
    turns(reactor)
    assert seen == []


def test_watching_again_replaces_what_was_watched_for(
    reactor: Reactor, sockets: Callable[..., Sockets]
) -> None:
    ours, theirs = sockets()
    theirs.send(b"x")
    first: list[int] = []
    second: list[int] = []
    reactor.watch(ours, READ, first.append)
    reactor.watch(ours, READ | WRITE, second.append)
    turns(reactor)
    assert first == []
    assert set(second) == {READ | WRITE}
    del second[:]
    reactor.watch(ours, READ | WRITE, first.append)  # only the callback
    turns(reactor)
    assert second == []
    assert set(first) == {READ | WRITE}
    del first[:]
    reactor.watch(ours, NOTHING, first.append)
    turns(reactor)
    assert first == []
    reactor.watch(ours, READ, second.append)
    turns(reactor)
    assert set(second) == {READ}
    reactor.unwatch(ours)
    reactor.unwatch(ours)
    del second[:]
    turns(reactor)
    assert second == []


def test_a_socket_that_is_not_watched_any_more_is_not_called(
    reactor: Reactor, sockets: Callable[..., Sockets]
) -> None:
    """Both are ready in the same turn; whichever comes first stops the other."""
    pairs = [sockets(), sockets()]
    called: list[socket.socket] = []

    def stop_other(ours: socket.socket, other: socket.socket) -> None:
        called.append(ours)
        reactor.unwatch(other)

    for (ours, theirs), (other, _) in (pairs, pairs[::-1]):
        theirs.send(b"x")
        reactor.watch(ours, READ, lambda events, a=ours, b=other: stop_other(a, b))
    turns(reactor)
    assert len(set(called)) == 1


@pytest.mark.parametrize("events", [READ, NOTHING], ids=["data", "hang-up"])
def test_a_new_socket_does_not_inherit_the_events_of_a_closed_one(
    reactor: Reactor, sockets: Callable[..., Sockets], events: int
) -> None:
    """It may have got its number within the same turn."""
    pairs = [sockets(tcp_pair), sockets(tcp_pair)]
    fresh, _ = sockets()
    called: list[socket.socket] = []
    replaced: list[socket.socket] = []
    inherited: list[int] = []

    def replace_other(ours: socket.socket, other: socket.socket) -> None:
        called.append(ours)
        number = other.fileno()
        reactor.unwatch(ours)
        reactor.unwatch(other)
        other.close()
        os.dup2(fresh.fileno(), number)
        replaced.append(socket.socket(fileno=number))
        reactor.watch(replaced[0], events, inherited.append)

    for (ours, theirs), (other, _) in (pairs, pairs[::-1]):
        reactor.watch(ours, events, lambda events, a=ours, b=other: replace_other(a, b))
        if events == READ:
            theirs.send(b"x")
        else:
            close_with_reset(theirs)
    turns(reactor)
    assert len(called) == len(replaced) == 1
    assert inherited == []
    reactor.unwatch(replaced[0])
    replaced[0].close()


@pytest.mark.parametrize("pair", [socket.socketpair, tcp_pair], ids=["unix", "tcp"])
def test_a_hang_up_is_noticed_although_nothing_is_wanted(
    reactor: Reactor, sockets: Callable[..., Sockets], pair: Callable[[], Sockets]
) -> None:
    ours, theirs = sockets(pair)
    seen: list[int] = []

    def on_events(events: int) -> None:
        seen.append(events)
        reactor.unwatch(ours)

    reactor.watch(ours, NOTHING, on_events)
    theirs.send(b"data is not a hang-up")
    turns(reactor)
    theirs.shutdown(socket.SHUT_WR)  # nor is an end
    turns(reactor)
    assert seen == []
    close_with_reset(theirs)
    run_until(reactor, lambda: seen)
    assert seen == [HANGUP]


def test_a_reset_is_reported_as_what_is_watched_for(
    reactor: Reactor, sockets: Callable[..., Sockets]
) -> None:
    ours, theirs = sockets(tcp_pair)
    seen: list[int] = []
    reactor.watch(ours, READ, seen.append)
    close_with_reset(theirs)
    run_until(reactor, lambda: seen)
    assert set(seen) == {READ}


# Computations


def test_computations_take_turns_with_everything_else(
    reactor: Reactor, sockets: Callable[..., Sockets]
) -> None:
    """One for each look at the descriptors, so that a burst does not hold those up."""
    busy, _ = sockets()
    log: list[str] = []
    reactor.watch(busy, WRITE, lambda events: log.append("event"))
    for number in range(5):
        reactor.compute(lambda number=number: log.append(f"job {number}"))
    reactor.compute(reactor.stop)
    reactor.run()
    assert [entry for entry in log if entry != "event"] == [f"job {n}" for n in range(5)]
    assert all(log[i - 1] == "event" for i, entry in enumerate(log) if entry != "event")


def test_a_computation_does_not_wait_for_anything(reactor: Reactor) -> None:
    reactor.call_later(3600, lambda: pytest.fail("waited for a timer"))
    reactor.compute(lambda: reactor.compute(reactor.stop))
    reactor.run()


# Waiting elsewhere


def test_somebody_else_may_do_the_waiting(
    reactor: Reactor, sockets: Callable[..., Sockets]
) -> None:
    """It is told for how long, and its word is taken for whether there are events."""
    ours, theirs = sockets()
    theirs.send(b"x")
    timeouts: list[float | None] = []
    seen: list[int] = []

    def wait(timeout: float | None) -> bool:
        timeouts.append(timeout)
        if len(timeouts) == 3:
            reactor.call_later(3600, lambda: None)
        if len(timeouts) == 4:
            reactor.stop()
        return len(timeouts) == 2

    reactor.wait = wait
    reactor.watch(ours, READ, seen.append)
    reactor.run()
    assert seen == [READ]
    assert timeouts[:3] == [None, None, None]
    assert timeouts[3] is not None
    assert 3000 < timeouts[3] <= 3600


def test_its_descriptor_is_readable_when_there_is_something_to_do(
    reactor: Reactor, sockets: Callable[..., Sockets]
) -> None:
    import select

    ours, theirs = sockets()
    reactor.watch(ours, READ, lambda events: None)
    assert select.select([reactor.fileno()], [], [], 0)[0] == []
    theirs.send(b"x")
    assert select.select([reactor.fileno()], [], [], 30)[0] == [reactor.fileno()]


def test_an_exception_ends_the_loop(reactor: Reactor) -> None:
    def fail() -> None:
        raise RuntimeError("ours")

    reactor.call_later(0, fail)
    with pytest.raises(RuntimeError, match="ours"):
        reactor.run()
