"""A generation: the workers that were forked with the same key and targets."""

from __future__ import annotations

import enum
import time

from spiped.crypto import wipe
from spiped.net.address import SocketAddress, encode_addresses
from spiped.net.reactor import Timer
from spiped.plane.pipe_settings import PipeSettings
from spiped.service.worker_process import WorkerProcess


class State(enum.Enum):
    """The states of a generation, in order; one that cannot start skips to `DRAINING`."""

    STARTING = "starting"  # not all of its workers are ready
    SERVING = "serving"
    DRAINING = "draining"  # it accepts nobody any more
    GONE = "gone"  # its last worker has ended, and its key has been erased


class Generation:
    """Owns the key of its pipe, and erases it when the last of its workers has ended."""

    def __init__(self, number: int, pipe: PipeSettings, state: State = State.STARTING) -> None:
        self.number = number
        self.pipe = pipe
        self.state = state
        self.drains_since: float | None = None  # by the monotonic clock
        self.timeout: Timer | None = None  # its connections have some time to end
        self.workers: list[WorkerProcess] = []

    @property
    def all_ready(self) -> bool:
        return all(worker.ready for worker in self.workers)

    @property
    def ports(self) -> set[int]:
        """The TCP ports of its targets; its workers' sandbox lets them connect to no others."""
        return {address.sockaddr[1] for address in self.pipe.targets if not address.is_unix}

    def retarget(self, targets: list[SocketAddress]) -> None:
        """New connections are made to these."""
        self.pipe = self.pipe._replace(targets=targets)
        for worker in self.workers:
            worker.tell("targets", addresses=encode_addresses(targets))

    def drain(self) -> None:
        """Accept nobody any more; the workers leave with their last connections."""
        self._dismiss("drain")

    def stop(self) -> None:
        """Reset all connections, and end."""
        self._dismiss("stop")

    def _dismiss(self, order: str) -> None:
        self.state = State.DRAINING
        if self.drains_since is None:
            self.drains_since = time.monotonic()
        for worker in self.workers:
            worker.tell(order)
        self._check_gone()

    def remove(self, worker: WorkerProcess) -> None:
        """A worker has ended."""
        self.workers.remove(worker)
        self._check_gone()

    def _check_gone(self) -> None:
        if self.state is State.DRAINING and not self.workers:
            self.state = State.GONE
            self.erase_key()
            if self.timeout is not None:
                self.timeout.cancel()

    def erase_key(self) -> None:
        """Erase our copy of the key: in this process, if that is a child."""
        wipe(self.pipe.K)
