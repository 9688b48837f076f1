"""Who knows what the status server tells: `spiped.observe.view.View`, as a rule.

The shapes are those of docs/status.md.  Nothing here may wait: what is told is in memory already.
"""

from __future__ import annotations

from spiped.lean_typing import Any, Protocol
from spiped.observe.facts import Document
from spiped.observe.families import Family


class Source(Protocol):
    """A daemon, as far as it can be looked at."""

    def look(self) -> None:
        """To be called about once a second, for what follows from two looks."""

    def facts(self) -> Document:
        """What the supervisor says of the daemon."""

    def status(self) -> dict[str, Any]:
        """What `/status` tells, as JSON has it."""

    def connections(
        self, sort: str, descending: bool, limit: int, pipe: str | None, peer: str
    ) -> dict[str, Any]:
        """What `/connections` tells, as JSON has it.

        ``sort``: one of `spiped.observe.view.CONNECTION_FIELDS`.  ``limit``: how many at most; 0:
        all of them.  ``pipe``: only those of this one.  ``peer``: only those whose peer's address
        has this in it.
        """

    def families(self) -> list[Family]:
        """What `/metrics` tells."""
