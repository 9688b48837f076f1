"""A limit to the rate of events that anybody can cause: never more than somebody can read."""

from __future__ import annotations

import time

BURST = 10  # events that may come at once,
INTERVAL = 1.0  # and how many seconds later another one may


class RateLimit:
    """A token bucket."""

    def __init__(self, burst: int = BURST, interval: float = INTERVAL) -> None:
        self._burst = burst
        self._interval = interval
        self._budget = float(burst)
        self._budget_at = time.monotonic()

    def admits(self) -> bool:
        """There may be one more now."""
        now = time.monotonic()
        earned = (now - self._budget_at) / self._interval
        self._budget = min(self._burst, self._budget + earned)
        self._budget_at = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True
