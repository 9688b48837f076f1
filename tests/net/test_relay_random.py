"""Any sequence of what two peers may do, compared with what has to come of it, on every plane."""

from __future__ import annotations

from typing import NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from spiped.crypto.sizes import MESSAGE_MAX
from spiped.plane import ending
from spiped.plane.ending import Cause
from spiped.proto.session import BATCH_PACKETS
from tests.net.conftest import PLANES, make_rig
from tests.net.rig import END, FOREVER, RESET, Pair, Peer, Rig, data_of, no_descriptor_leaks

BATCH = BATCH_PACKETS * MESSAGE_MAX
LENGTHS = [1, 2, 1023, 1024, 1025, 2048, 5000, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH]
BUFFERS = [0, 65536]

CLIENT, TARGET = 0, 1
STREAM = data_of(8 << 20)  # what each side writes is a beginning of this

bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
on_every_plane = pytest.mark.parametrize("plane", PLANES)


class Operation(NamedTuple):
    what: str  # of Play's methods
    side: int
    number: int = 0


sides = st.sampled_from([CLIENT, TARGET])
operations = st.one_of(
    st.builds(Operation, st.just("write"), sides, st.sampled_from(LENGTHS)),
    st.builds(Operation, st.just("turns"), sides, st.integers(1, 5)),
    st.builds(Operation, st.just("pause"), sides),
    st.builds(Operation, st.just("resume"), sides, st.sampled_from([7, 1060, 1 << 20])),
    st.builds(Operation, st.just("finish"), sides),
)


class Play:
    """A pair of connections, and what each side should have received at the end."""

    def __init__(self, rig: Rig, pair: Pair) -> None:
        self.rig = rig
        self.pair = pair
        self.sides: list[Peer] = [pair.client, pair.target]
        self.wrote = [0, 0]
        self.finished = [False, False]

    def write(self, side: int, length: int) -> None:
        if not self.finished[side]:
            start = self.wrote[side]
            self.sides[side].write(STREAM[start : start + length])
            self.wrote[side] += length

    def turns(self, side: int, count: int) -> None:
        for _ in range(count):
            self.rig.pump()

    def pause(self, side: int, number: int) -> None:
        self.sides[side].reading = False

    def resume(self, side: int, read_size: int) -> None:
        self.sides[side].reading = True
        self.sides[side].read_size = read_size if self.wrote[not side] < 50_000 else 1 << 20

    def finish(self, side: int, number: int) -> None:
        if not self.finished[side]:
            self.sides[side].finish()
        self.finished[side] = True

    def perform(self, script: list[Operation]) -> None:
        for what, side, number in script:
            getattr(self, what)(side, number)

    def resume_both(self) -> None:
        for side in (CLIENT, TARGET):
            self.resume(side, 1 << 20)

    def finish_both(self) -> None:
        for side in (CLIENT, TARGET):
            self.finish(side, 0)


@on_every_plane
@bounded
@given(
    script=st.lists(operations, max_size=25),
    plain=st.sampled_from(["tcp", "unix"]),
    crypt=st.sampled_from(["tcp", "unix"]),
    buffers=st.sampled_from(BUFFERS),
)
def test_whatever_both_sides_do_their_data_arrives(
    plane: str, script: list[Operation], plain: str, crypt: str, buffers: int
) -> None:
    with no_descriptor_leaks():
        rig = make_rig(plane)
        try:
            pair = rig.pair(plain, crypt, buffers)
            play = Play(rig, pair)
            play.perform(script)
            play.resume_both()
            play.finish_both()
            rig.until(lambda: pair.ended() and pair.client.ending and pair.target.ending)
            for side in (CLIENT, TARGET):
                assert play.sides[not side].received == STREAM[: play.wrote[side]]
                assert play.sides[side].ending == END
            assert (pair.C.cause, pair.S.cause) == (Cause.CLEAN, Cause.CLEAN)
            assert pair.C.ending is not None
            assert [pair.C.ending.sealed, pair.C.ending.opened] == play.wrote
        finally:
            rig.close()


@on_every_plane
@bounded
@patch.object(ending, "EARLY", FOREVER)
@given(
    script=st.lists(operations, max_size=15),
    side=sides,
    at_rest=st.booleans(),
    afterwards=st.lists(operations, max_size=5),
    buffers=st.sampled_from(BUFFERS),
)
def test_whenever_a_side_is_reset_the_other_learns_of_it(
    plane: str,
    script: list[Operation],
    side: int,
    at_rest: bool,
    afterwards: list[Operation],
    buffers: int,
) -> None:
    """It gets nothing but what was written; all of it if it was on its way for long enough.

    And an encrypting end that has not been served yet cannot tell why.
    """
    with no_descriptor_leaks():
        rig = make_rig(plane)
        try:
            pair = rig.pair(buffers=buffers)
            play = Play(rig, pair)
            play.perform(script)
            lost, survivor = play.sides[side], play.sides[not side]
            if at_rest:
                play.resume_both()
                rig.until(lambda: len(survivor.received) == play.wrote[side] and lost.idle)
            lost.reset()
            play.perform([operation for operation in afterwards if operation.side != side])
            over = all(play.finished)
            survivor.reading = True
            rig.until(lambda: pair.ended() and survivor.ending)
            whole = len(survivor.received) == play.wrote[side]
            assert survivor.received == STREAM[: len(survivor.received)]
            assert whole or not at_rest
            if survivor.ending == END:
                assert whole
                assert play.finished[side]
                event("ended before")
            else:
                assert survivor.ending == RESET
                event("whole" if whole else "cut")
            assert pair.C.ending is not None
            unserved = side == TARGET and pair.C.ending.opened == 0
            failed = Cause.HANDSHAKE if unserved else Cause.RESET
            assert pair.C.cause in ({failed, Cause.CLEAN} if over else {failed})
            assert pair.S.cause in ({Cause.RESET, Cause.CLEAN} if over else {Cause.RESET})
        finally:
            rig.close()
