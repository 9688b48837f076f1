"""A bad link between two machines: ``python -m tests.link.emulator SEED FD FD``.

The descriptors are TAP devices; what comes out of one goes into the other, in the end.  Conditions
come on standard input, a line of JSON each; the answer is what has been done to frames so far.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import sys
import time
from dataclasses import asdict, dataclass

ETHERNET_HEADER = 14
FRAME_MAX = 65536
BATCH = 64  # frames that are taken from a device before what is due is looked at again
SWAP_WITHIN = 256  # bytes at the end of a frame that is so long that these are payload
SWAP_FROM = 600


@dataclass(frozen=True)
class Conditions:
    """What becomes of frames; shares are of all of them, both ways alike."""

    delay: float = 0.0  # seconds
    jitter: float = 0.0  # seconds that come on top, at most: frames overtake each other
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0  # one bit is another: TCP's checksum finds that
    swap: float = 0.0  # two words of the payload change places, which it does not find
    longest: int = FRAME_MAX  # longer frames are lost; 0: the link is cut


@dataclass
class Done:
    """How many frames have met with what."""

    carried: int = 0
    lost: int = 0
    duplicated: int = 0
    corrupted: int = 0
    swapped: int = 0
    overtaken: int = 0  # were sent later than a frame that came later


class Emulator:
    """The frames on their way, and the dice."""

    def __init__(self, seed: int) -> None:
        self.conditions = Conditions()
        self.done = Done()
        self._random = random.Random(seed)
        self._queue: list[tuple[float, int, int, bytes]] = []  # when, which, whereto, what
        self._number = 0
        self._newest: dict[int, int] = {}  # by device: the latest frame that went in

    def take(self, frame: bytes, out: int) -> None:
        """A frame has come, and is to go into this device."""
        conditions, done, dice = self.conditions, self.done, self._random
        if len(frame) > conditions.longest or dice.random() < conditions.loss:
            done.lost += 1
            return
        if dice.random() < conditions.corrupt:
            done.corrupted += 1
            frame = self._with_another_bit(frame)
        if dice.random() < conditions.swap and len(frame) >= SWAP_FROM:
            done.swapped += 1
            frame = self._with_words_swapped(frame)
        self._enqueue(frame, out)
        if dice.random() < conditions.duplicate:
            done.duplicated += 1
            self._enqueue(frame, out)

    def _enqueue(self, frame: bytes, out: int) -> None:
        delay = self.conditions.delay + self._random.random() * self.conditions.jitter
        self._number += 1
        heapq.heappush(self._queue, (time.monotonic() + delay, self._number, out, frame))

    def _with_another_bit(self, frame: bytes) -> bytes:
        changed = bytearray(frame)
        changed[self._random.randrange(ETHERNET_HEADER, len(frame))] ^= 1 << self._random.randrange(
            8
        )
        return bytes(changed)

    def _with_words_swapped(self, frame: bytes) -> bytes:
        end = len(frame) & ~1
        first, second = self._random.sample(range(end - SWAP_WITHIN, end, 2), 2)
        changed = bytearray(frame)
        changed[first : first + 2], changed[second : second + 2] = (
            frame[second : second + 2],
            frame[first : first + 2],
        )
        return bytes(changed)

    def deliver(self) -> float | None:
        """Let go what is due; returns the seconds until something is again."""
        while self._queue:
            due, number, out, frame = self._queue[0]
            if (wait := due - time.monotonic()) > 0:
                return wait
            heapq.heappop(self._queue)
            os.write(out, frame)
            self.done.carried += 1
            newest = self._newest.get(out, 0)
            self.done.overtaken += number < newest
            self._newest[out] = max(number, newest)
        return None


def run(seed: int, one: int, other: int) -> None:
    emulator = Emulator(seed)
    opposite = {one: other, other: one}
    poll = select.epoll()
    for fd in (0, *opposite):
        os.set_blocking(fd, False)
        poll.register(fd, select.EPOLLIN)
    while True:
        wait = emulator.deliver()
        for fd, _ in poll.poll(wait):
            if fd == 0:
                line = os.read(0, 4096)
                if not line:
                    return
                emulator.conditions = Conditions(**json.loads(line))
                print(json.dumps(asdict(emulator.done)), flush=True)
                continue
            try:
                for _ in range(BATCH):
                    emulator.take(os.read(fd, FRAME_MAX), opposite[fd])
            except BlockingIOError:
                pass


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))
