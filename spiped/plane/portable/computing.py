"""Computing: the exponentiations that handshakes wait for, in which order, and how many.

Work that comes to nothing is what an overloaded plane must not do.  So the second exponentiation of
a handshake goes before the first of another, a plane takes on no more than it can compute in half
of the time that a handshake has, and if it turns out to be slower, those come first who have waited
least.  The counterpart of `_native/plane/computing.c`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from spiped.net.reactor import Reactor

POWERS = 2  # exponentiations of a handshake
ALWAYS = 16  # so many may wait, however slow it seems to be
SAMPLES = 64  # that the average interval is of, about
LONGEST = 0.1  # seconds that an interruption may add to it

Job = Callable[[], None]  # does nothing if it is not wanted any more


class Computing:
    """Jobs, one per turn of the reactor."""

    def __init__(self, reactor: Reactor, allowed: float) -> None:
        """``allowed``: how long a handshake may take, in seconds."""
        self._reactor = reactor
        self._allowed = allowed
        self._second: deque[Job] = deque()
        self._first: deque[Job] = deque()
        self._done_at: float | None = None  # the last one, if others waited then
        self._interval = 0.0  # from one to the next while others wait, on average; 0: unknown

    def add(self, job: Job, is_second: bool) -> None:
        """Do a job when it is its turn."""
        (self._second if is_second else self._first).append(job)
        self._reactor.compute(self._do_next)

    @property
    def is_full(self) -> bool:
        """A connection that came now would wait for too long."""
        return len(self._first) >= ALWAYS and self._wait > self._allowed / 2

    @property
    def _wait(self) -> float:
        """How long a connection waits for its keys that comes now."""
        return POWERS * len(self._first) * self._interval

    def _do_next(self) -> None:
        if self._second:
            job = self._second.popleft()
        elif self._wait > self._allowed:
            job = self._first.pop()
        else:
            job = self._first.popleft()
        job()
        now = time.monotonic()
        if self._done_at is not None:
            took = min(LONGEST, now - self._done_at)
            self._interval += (took - self._interval) / SAMPLES if self._interval else took
        self._done_at = now if self._first or self._second else None
