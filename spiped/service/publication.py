"""What others can see of the daemon: the supervisor writes it where they look (`observe.facts`).

The workers' counters and connections are there without anybody's doing.  This adds what only the
supervisor knows, and what the system says of the workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from spiped import __version__
from spiped.lean_typing import Any, NamedTuple
from spiped.observe.counters import Counters
from spiped.observe.facts import Document, Facts
from spiped.observe.log.log import Log
from spiped.observe.slot import Field
from spiped.process.usage import own_files, usage_of
from spiped.service.generation import Generation


class About(NamedTuple):
    """What stays as it is for as long as the program runs."""

    pipe: str  # its name
    mode: str  # encrypt or decrypt
    source: str
    target: str
    key: str
    limit: int  # of connections; 0: none
    unauthenticated_limit: int
    started: float  # when the daemon was; seconds since 1970


class Now(NamedTuple):
    """What changes."""

    state: str
    ready: bool
    generation: int  # the one in charge
    last_reload: dict[str, Any] | None
    addresses: list[str]  # of the target
    resolved: float | None  # when these were looked up
    target_error: str  # why they could not be, the last time
    target_state: str
    generations: list[Generation]


class Publication:
    """Writes the facts, and samples what workers use."""

    def __init__(self, counters: Counters, log: Log, about: About, look: Callable[[], Now]) -> None:
        self.facts = Facts()
        self._counters = counters
        self._log = log
        self._about = about
        self._look = look
        self._process = _own_process()  # what the supervisor uses
        self._lines_lost = 0  # as far as they have been counted

    def write(self) -> None:
        """Say how the daemon is now."""
        lost = self._log.lines_lost
        self._counters.slot(0).add(Field.LOG_DROPPED, lost - self._lines_lost)
        self._lines_lost = lost
        self.facts.write({**document(self._about, self._look()), "process": self._process})

    def sample(self) -> None:
        """See what the workers use, and we."""
        self._process = _own_process()
        for generation in self._look().generations:
            for worker in generation.workers:
                usage = usage_of(worker.pid) if worker.file is None else None
                if usage is not None:
                    slot = self._counters.slot(worker.slot)
                    slot.view[Field.CPU_MILLISECONDS] = int(usage.cpu_seconds * 1000)
                    slot.view[Field.MEMORY_BYTES] = usage.memory_bytes


def _own_process() -> dict[str, Any]:
    usage, files = usage_of(os.getpid()), own_files()
    return {
        "cpu_seconds": None if usage is None else usage.cpu_seconds,
        "memory_bytes": None if usage is None else usage.memory_bytes,
        "open_files": None if files is None else files.open,
        "max_files": None if files is None else files.limit,
    }


def document(about: About, now: Now) -> Document:
    """The facts, by the names of docs/status.md."""
    return {
        "version": __version__,
        "pid": os.getpid(),
        "name": about.pipe,
        "state": now.state,
        "ready": now.ready,
        "started": about.started,
        "generation": now.generation,
        "last_reload": now.last_reload,
        "keys": [about.key],
        "pipes": [
            {
                "name": about.pipe,
                "mode": about.mode,
                "source": about.source,
                "targets": [
                    {
                        "name": about.target,
                        "addresses": now.addresses,
                        "resolved": now.resolved,
                        "error": now.target_error,
                        "state": now.target_state,
                    }
                ],
                "keys": [{"name": about.key, "active": True, "last_seen": None}],
                "limit": about.limit,
                "unauthenticated_limit": about.unauthenticated_limit,
            }
        ],
        "workers": [
            {
                "id": worker.serial,
                "slot": worker.slot,
                "pid": worker.pid,
                "generation": generation.number,
                "state": generation.state.value if worker.ready else "starting",
            }
            for generation in now.generations
            for worker in generation.workers
            if worker.file is None  # it counts elsewhere, and is about to be replaced
        ],
    }
