"""Events of one kind that anybody can cause: some are told, the others are counted."""

from __future__ import annotations

from collections.abc import Callable

from spiped.observe.log.events import Suppressed
from spiped.observe.log.kinds import Event
from spiped.observe.log.rate_limit import RateLimit


class Rationed:
    """Tells events of one kind, as often as a rate limit admits."""

    def __init__(self, limit: RateLimit, tell: Callable[[Event], None]) -> None:
        self._limit = limit
        self._tell = tell
        self._left_out = 0

    def tell(self, make: Callable[[], Event]) -> None:
        """Tell one now, or count it; then it is not made."""
        if not self._limit.admits():
            self._left_out += 1
            return
        self._tell(make())
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            self._tell(Suppressed(left_out))
