"""The event loop of a process: descriptors, timers, and computations that take their turn."""

from __future__ import annotations

import errno
import heapq
import math
import select
import selectors
import time
from collections import deque
from collections.abc import Callable

from spiped.lean_typing import Protocol

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
NOTHING = 0  # watch for a hang-up or an error only,
HANGUP = 4  # which is reported as this

# Seconds until the system is asked again for room in an epoll set, when it had none.
ROOM_RETRY = 0.05
NO_ROOM = (errno.ENOMEM, errno.ENOSPC)

# Computations (an exponentiation each) between two looks at the descriptors: one, so that a burst
# of handshakes delays what else there is to do by no more than that.
JOBS_PER_TURN = 1

CANCELLED_MIN = 64  # timers that may be left in a heap although they were cancelled

WAIT_MAX = 86400.0  # seconds; what is due later is looked at again: systems have a limit


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Timer:
    """A call that is due at a time; `cancel` may be called at any time, also afterwards."""

    __slots__ = ("_timers", "callback")

    def __init__(self, timers: Timers, callback: Callable[[], None]) -> None:
        self._timers = timers
        self.callback: Callable[[], None] | None = callback  # None: nothing is due any more

    def cancel(self) -> None:
        if self.callback is not None:
            self.callback = None
            self._timers.on_cancelled()


class Timers:
    """A heap of timers.  Those that were cancelled go when they are as many as the others."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._made = 0
        self._cancelled = 0  # that are still in the heap

    def add(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self, callback)
        if when < math.inf:
            self._made += 1  # no two are equal, so that timers are never compared
            heapq.heappush(self._heap, (when, self._made, timer))
        return timer

    def on_cancelled(self) -> None:
        self._cancelled += 1
        if 2 * self._cancelled > len(self._heap) + CANCELLED_MIN:
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def next_due(self) -> float | None:
        """When the first is due; None if there is none."""
        while self._heap and self._heap[0][2].callback is None:
            self._pop()
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Call back what is due."""
        while self._heap and self._heap[0][0] <= now:
            timer = self._pop()
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()

    def _pop(self) -> Timer:
        timer = heapq.heappop(self._heap)[2]
        self._cancelled -= timer.callback is None
        return timer


class _Watch:
    """What is watched for on a descriptor, and who is called."""

    __slots__ = ("callback", "events", "registered")

    def __init__(self, events: int, callback: Callable[[int], None]) -> None:
        self.events = events
        self.callback = callback
        self.registered = False  # not yet, if the system had no room for it


class Reactor:
    """Waits, and calls back.  Callbacks must not block; an exception of theirs ends the loop.

    ``wait``, if set, does the waiting in place of the selector, whose descriptor is `fileno`: it is
    called with a timeout in seconds (None: no limit), returns at the latest when either is due, and
    says whether it is the descriptor.  That is how the data plane in C relays while Python sleeps.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers = Timers()
        self._jobs: deque[Callable[[], None]] = deque()
        self._running = False
        self._watches: dict[int, _Watch] = {}
        # `selectors` cannot express that only a hang-up is waited for; a nested epoll set can
        self._hangups = select.epoll() if hasattr(select, "epoll") else None
        if self._hangups is not None:
            self.watch(self._hangups, READ, self._on_hangups)
        self.wait: Callable[[float | None], bool] | None = None

    def fileno(self) -> int:
        """A descriptor that is readable when this loop has something to do (epoll, kqueue)."""
        fileno: Callable[[], int] = self._selector.fileno
        return fileno()

    def watch(self, sock: HasFileno, events: int, callback: Callable[[int], None]) -> None:
        """Call back with the events (`READ`, `WRITE`) that are there, for as long as they are.

        Replaces what was watched for on this socket before.  With `NOTHING`, only a hang-up or an
        error is waited for, and reported as `HANGUP`; otherwise it is reported as whatever is
        watched for.
        """
        fd = sock.fileno()
        old = self._watches.get(fd)
        if old is not None and old.events == events:
            old.callback = callback
            return
        watch = self._watches[fd] = _Watch(events, callback)
        if old is not None and old.registered and NOTHING not in (old.events, events):
            self._selector.modify(fd, events, watch)
            watch.registered = True
            return
        if old is not None:
            self._unregister(fd, old)
        self._register(fd, watch)

    def unwatch(self, sock: HasFileno) -> None:
        """Stop watching a socket, if it is watched.  It must not have been closed yet."""
        fd = sock.fileno()
        watch = self._watches.pop(fd, None)
        if watch is not None:
            self._unregister(fd, watch)

    def _register(self, fd: int, watch: _Watch) -> None:
        """If the system has no room for one more, try again later: that harms nobody else."""
        if self._watches.get(fd) is not watch:  # stopped or replaced in the meantime
            return
        try:
            if watch.events != NOTHING:
                self._selector.register(fd, watch.events, watch)
            elif self._hangups is not None:
                self._hangups.register(fd, 0)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self.call_later(ROOM_RETRY, lambda: self._register(fd, watch))
        else:
            watch.registered = True

    def _unregister(self, fd: int, watch: _Watch) -> None:
        if not watch.registered:
            return
        if watch.events != NOTHING:
            self._selector.unregister(fd)
        elif self._hangups is not None:
            self._hangups.unregister(fd)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back once, ``delay`` seconds from now; never, if that is infinite."""
        return self._timers.add(time.monotonic() + delay, callback)

    def compute(self, job: Callable[[], None]) -> None:
        """Call back soon, in turn with other computations and with everything else."""
        self._jobs.append(job)

    def run(self) -> None:
        """Run until `stop` is called."""
        self._running = True
        while self._running:
            self._turn()

    def stop(self) -> None:
        """Make `run` return once the present callback has."""
        self._running = False

    def close(self) -> None:
        self._selector.close()
        if self._hangups is not None:
            self._hangups.close()

    def _turn(self) -> None:
        if self.wait is None:
            ready = self._selector.select(self._timeout())
        else:
            ready = self._selector.select(0) if self.wait(self._timeout()) else []
        for key, events in ready:
            # a callback may have stopped, or changed, what is still in this list
            watch = self._watches.get(key.fd)
            if watch is not None and watch is key.data:
                watch.callback(events)
        self._timers.run(time.monotonic())
        for _ in range(min(JOBS_PER_TURN, len(self._jobs))):
            self._jobs.popleft()()

    def _timeout(self) -> float | None:
        if self._jobs or not self._running:
            return 0.0
        due = self._timers.next_due()
        return None if due is None else min(max(0.0, due - time.monotonic()), WAIT_MAX)

    def _on_hangups(self, events: int) -> None:
        assert self._hangups is not None
        hung = [(fd, self._watches.get(fd)) for fd, _ in self._hangups.poll(0)]
        for fd, watch in hung:  # a callback may have stopped, or replaced, what comes behind it
            if watch is not None and watch is self._watches.get(fd):
                watch.callback(HANGUP)
