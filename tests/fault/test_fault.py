"""No failing system call hurts anybody but the connection that it was made for.

The short form of ``make fault``: every call in every state of a connection, in both roles and on
both back ends, but not with every error.
"""

from __future__ import annotations

import errno

import pytest

from tests.conftest import backends
from tests.daemons import Stage
from tests.fault.faults import cases, sample
from tests.fault.plan import Call, Fault, How, Where
from tests.fault.run import ROLES, Tally, run
from tests.fault.scene import Scene
from tests.fault.states import STATES

# Of the faults that are tried: not every back end makes every call in every state.
MISSED_MAX = 0.1


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("role", ROLES)
def test_a_failing_call_breaks_no_promise(role: str, backend: str) -> None:
    tally = Tally()
    run(role, backend, sample(ROLES[role], backend), tally)
    assert tally.broken == []
    assert len(tally.missed) < MISSED_MAX * tally.trials, tally.missed
    wanted = {case.fault.call.name for case in cases(ROLES[role], backend)}
    wanted -= {Call.malloc.name} if backend == "pure" else set()
    assert set(tally.injected) == wanted
    assert tally.states == {state.name for state in STATES.values() if ROLES[role] in state.roles}


def test_whatever_is_broken_is_noticed(stage: Stage) -> None:
    """A fault that strikes a bystander is as good as a worker that harms it."""
    scene = Scene(stage, ROLES["-d"], backends()[0])
    fault = Fault(Call.recv, Where.ANYWHERE, errno.ECONNRESET, How.FAIL_DEAD, times=4)
    trial = scene.trial(STATES["idle"], fault)
    assert trial.hits
    assert any("bystander" in promise for promise in trial.broken)
