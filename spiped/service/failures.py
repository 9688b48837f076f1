"""Failing connections of a worker: some are told one by one, of the others how many there were.

A stranger can make connections fail faster than anybody can read, and every message costs more than
the connection did.  So the plane tells only so many, and counts the others (`Service.tell_burst`).
"""

from __future__ import annotations

from collections.abc import Callable

from spiped.net.reactor import Reactor
from spiped.observe.log.events import MoreFailed
from spiped.observe.log.kinds import Event
from spiped.observe.slot import Slot
from spiped.plane.diagnosis import BRIEF
from spiped.plane.ending import Reason

SUMMARY = 10.0  # seconds from a failure that is told to the summary of those that were not

# What is no failure, or is told in another way
OTHERS = (Reason.CLEAN, Reason.ABORTED, Reason.LEFT, Reason.OVERLOAD)
FAILURES = [reason for reason in Reason if reason not in OTHERS]


class Failures:
    """Says how many connections have failed beside those that were told."""

    def __init__(
        self, pipe: str, reactor: Reactor, slot: Slot, tell: Callable[[Event], None]
    ) -> None:
        self._pipe = pipe
        self._reactor = reactor
        self._slot = slot
        self._tell = tell
        self._known = {reason: slot[reason.counter] for reason in FAILURES}
        self._due = False

    def told(self, reason: Reason) -> None:
        """One that has failed for this reason is told."""
        self._known[reason] += 1
        if not self._due:
            self._due = True
            self._reactor.call_later(SUMMARY, self._on_due)

    def sum_up(self) -> bool:
        """Tell of those that have not been told, if there are any."""
        more = {reason: self._slot[reason.counter] - self._known[reason] for reason in FAILURES}
        more = {reason: number for reason, number in more.items() if number > 0}
        if not more:
            return False
        for reason, number in more.items():
            self._known[reason] += number
        frequent = sorted(more, key=lambda reason: -more[reason])
        causes = " ".join(f"{reason.word}={more[reason]}" for reason in frequent)
        detail = ", ".join(f"{more[reason]} {BRIEF[reason]}" for reason in frequent)
        self._tell(MoreFailed(self._pipe, sum(more.values()), causes, detail))
        return True

    def _on_due(self) -> None:
        self._due = self.sum_up()
        if self._due:
            self._reactor.call_later(SUMMARY, self._on_due)
