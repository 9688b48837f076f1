"""Looks at a daemon again and again, in a thread, so that nobody waits for it but the thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from spiped.top.address import Address
from spiped.top.client import Answer, Query, ask

# After an answer that took long, the next question waits for this many times as long: whoever looks
# on may take a part of the status server's time, but not all of it.
RESPITE = 4


class Poller:
    """What comes is in `results`; `notify` is called, in the thread, when something has come."""

    def __init__(
        self, address: Address, query: Query, interval: float, notify: Callable[[], None]
    ) -> None:
        self._address = address
        self._interval = interval
        self._notify = notify
        self._query = query
        self._at_once = threading.Event()
        self.results: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()
        self.asking_since: float | None = None  # a question is on its way
        # It is not waited for at the end of the program: a name server can take its time.
        threading.Thread(target=self._run, daemon=True).start()

    def want(self, query: Query) -> None:
        """From now on, ask for this, and at once if it is something else."""
        if query != self._query:
            self._query = query
            self._at_once.set()

    def _run(self) -> None:
        while True:
            self._at_once.clear()
            begun = self.asking_since = time.monotonic()
            result: Answer | Exception
            try:
                result = ask(self._address, self._query)
                pause = max(self._interval, RESPITE * (time.monotonic() - begun))
            except Exception as error:  # for whoever takes the results to judge
                result, pause = error, self._interval
            self.asking_since = None
            self.results.put(result)
            self._notify()
            self._at_once.wait(max(0.0, begun + pause - time.monotonic()))
