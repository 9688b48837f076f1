"""Reload: a new generation with the key of now; the old one drains when the new one is ready.

The target is looked up at the same time, and the workers hear of its addresses when they are there:
a new key does not wait for a name service.
"""

from __future__ import annotations

from spiped.crypto.sizes import KEY_BYTES
from spiped.errors import OperatorError
from spiped.net.address import SocketAddress
from spiped.observe.log.events import ReloadFailed
from spiped.observe.log.key_warnings import key_warnings
from spiped.service.holdings import Holdings
from spiped.service.targets import Targets
from spiped.service.worker_set import WorkerSet


class Reload:
    """Reloads, one at a time."""

    def __init__(self, holdings: Holdings, worker_set: WorkerSet, pipe: str) -> None:
        """``pipe``: its name."""
        self._holdings = holdings
        self._set = worker_set
        self._pipe = pipe
        self._again = False  # as soon as the one that is under way has come to an end
        self.failure = ""  # why the last one failed, if it did

    def request(self, targets: Targets) -> None:
        """Start a generation; a mistake of the operator's leaves all as it is.

        While one is on its way to take over, others wait, and are then done as one.
        """
        self._holdings.log.reopen()
        if self._set.coming is None:
            self._begin()
        else:
            self._again = True
        targets.refresh()

    def on_settled(self, failure: str = "") -> None:
        """The generation that was under way has taken over, or has failed for this reason."""
        self.failure = failure
        if self._again:
            self._again = False
            self._begin()

    def on_new_targets(self, targets: list[SocketAddress]) -> None:
        """The target's name stands for something else now."""
        in_charge = self._set.coming or self._set.in_charge
        if in_charge is None:
            return
        ports = in_charge.ports
        self._set.retarget(targets)
        if not in_charge.ports <= ports:  # which the sandbox of these workers does not allow
            if self._set.coming is not None:
                self._again = True
            else:
                self._begin()

    def _begin(self) -> None:
        in_charge = self._set.in_charge
        assert in_charge is not None
        crypto, key_file = self._holdings.crypto, self._holdings.key_file
        if key_file.can_be_read_again:
            try:
                key = key_file.read_again(crypto)
            except OperatorError as error:
                self.failure = error.line
                self._holdings.log.event(ReloadFailed(self._pipe, error.line))
                return
            for warning in key_warnings(key_file.path, key):
                self._holdings.log.event(warning)
            K = key.K
        else:  # the key stays
            K = crypto.secret_memory(KEY_BYTES)
            K[:] = in_charge.pipe.K
        self._set.begin(in_charge.pipe._replace(K=K))
