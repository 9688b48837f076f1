"""Whether the target can be reached, as its connections tell: nobody else is asked."""

from __future__ import annotations

from spiped.observe.counters import Counters
from spiped.observe.log.events import TargetDown, TargetUp
from spiped.observe.log.log import Log
from spiped.observe.slot import Field


class TargetState:
    """Down when connecting has failed since the last look and never succeeded; up when it has."""

    def __init__(self, counters: Counters, log: Log, pipe: str, target: str) -> None:
        self._counters = counters
        self._log = log
        self._pipe = pipe
        self._target = target
        self.is_down = False
        self._was_up = False
        self._seen = self._count()

    def look(self) -> None:
        """See what has happened since the last time."""
        (failed, succeeded), self._seen = self._seen, self._count()
        failed, succeeded = self._seen[0] - failed, self._seen[1] - succeeded
        self._was_up |= succeeded > 0
        if succeeded > 0 and self.is_down:
            self.is_down = False
            self._log.event(TargetUp(self._pipe, self._target))
        elif succeeded == 0 and failed > 0 and not self.is_down:
            self.is_down = True
            self._log.event(TargetDown(self._pipe, self._target))

    @property
    def word(self) -> str:
        if self.is_down:
            return "down"
        return "up" if self._was_up else "unknown"

    def _count(self) -> tuple[int, int]:
        total = self._counters.total
        failed = total(Field.ENDED_UNREACHED) + total(Field.ENDED_UNANSWERED)
        return failed, total(Field.ESTABLISHED)
