"""A limit to the rate of events that anybody can cause: never more than somebody can read."""

from __future__ import annotations

import time

BURST = 10  # events that may come at once,
RATE = 1.0  # and how many a second after that


class RateLimit:
    """A token bucket, and how many found it empty."""

    def __init__(self) -> None:
        self._budget = float(BURST)
        self._budget_at = time.monotonic()
        self._suppressed = 0

    def admits(self) -> bool:
        """There may be one more now."""
        now = time.monotonic()
        self._budget = min(BURST, self._budget + (now - self._budget_at) * RATE)
        self._budget_at = now
        if self._budget < 1:
            self._suppressed += 1
            return False
        self._budget -= 1
        return True

    def take_suppressed(self) -> int:
        """How many have been refused since the last time."""
        taken, self._suppressed = self._suppressed, 0
        return taken
