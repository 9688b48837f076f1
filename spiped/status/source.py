"""What the status server tells, and who knows it.

The shapes are those of docs/status.md.  Whoever implements `Source` reads memory that is there
already: nothing here may wait.
"""

from __future__ import annotations

from spiped.lean_typing import Any, Protocol
from spiped.observe.families import Family

# The fields of a connection, by any of which the list can be sorted
CONNECTION_FIELDS = (
    "id",
    "pipe",
    "key",
    "worker",
    "peer",
    "target",
    "state",
    "age",
    "idle",
    "sealed",
    "opened",
    "sealed_rate",
    "opened_rate",
    "queued",
)


class NoSuchPipe(LookupError):
    """A question is about a pipe that there is not; its text says which there are."""


class Source(Protocol):
    """A daemon, as far as it can be looked at."""

    def status(self) -> dict[str, Any]:
        """What `/status` tells, as JSON has it."""

    def connections(
        self, sort: str, descending: bool, limit: int, pipe: str | None
    ) -> dict[str, Any]:
        """What `/connections` tells, as JSON has it.

        ``sort``: one of `CONNECTION_FIELDS`.  ``limit``: how many at most; 0: all of them.
        ``pipe``: only those of this one.  Raises NoSuchPipe.
        """

    def families(self) -> list[Family]:
        """What `/metrics` tells."""

    def ready(self) -> bool:
        """The daemon listens, a worker answers, and no shutdown has been announced."""

    def live(self) -> bool:
        """The supervisor lives."""
