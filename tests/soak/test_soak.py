"""A short soak is without a fault, and the account that it keeps would show one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers import lack
from tests.soak.havoc import Footprint, Kill, Totals
from tests.soak.run import Plan, Result, soak

PLAN = Plan(seconds=6, warm_up=1.5, rate=80, span=1, havoc_every=0.4, seed=1)


def test_a_short_soak_is_without_a_fault(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        lack("only root can see which connections a worker carries")
    with soak(tmp_path, PLAN) as run:
        result = run.run(lambda result: None)
    assert result.faults() == []
    assert result.kills > 0
    assert sum(result.ended.values()) > 100
    assert result.bytes > 0


COUNTED = Totals(now=0, listed=0, accepted=1, established=1, ended=1, opened=7, shaken=1)


def good() -> Result:
    """The result of a soak with one connection."""
    footprint = Footprint(1, (10, 10), 1 << 20)
    return Result(
        opened=1,
        footprints=[("e", footprint, footprint)],
        received={"e": 7},
        counted={"e": COUNTED},
    )


BAD = {
    "lost": {"lost": [{"e": 1, "d": 2, "began": 0.0, "ended": 1.0}]},
    "wrong": {"wrong": ["another byte than was sent"]},
    "not counted": {"opened": 2},
    "still open": {"counted": {"e": COUNTED._replace(now=1)}},
    "still listed": {"counted": {"e": COUNTED._replace(listed=1)}},
    "no end": {"counted": {"e": COUNTED._replace(ended=0)}},
    "no time": {"counted": {"e": COUNTED._replace(shaken=0)}},
    "bytes not counted": {"received": {"e": 8}},
    "descriptors": {
        "footprints": [("e", Footprint(1, (10, 10), 0), Footprint(1, (10, 11), 0))],
    },
    "memory": {
        "footprints": [("e", Footprint(1, (10, 10), 0), Footprint(1, (10, 10), 1 << 30))],
    },
}


@pytest.mark.parametrize("what", BAD)
def test_a_fault_would_show(what: str) -> None:
    assert good().faults() == []
    result = good()
    for name, value in BAD[what].items():
        setattr(result, name, value)
    assert len(result.faults()) == 1


@pytest.mark.parametrize(
    ("end", "when", "port_e", "port_d", "excused"),
    [
        ("e", 1.5, 7, 9, True),
        ("e", 1.5, 8, 7, False),  # another worker's
        ("e", 2.5, 7, 9, False),  # it was lost before
        ("e", 0.5, 7, 9, False),  # it came later, from the same port
        ("d", 1.5, 9, 7, True),
        ("d", 1.5, 7, 9, False),
        ("d", 1.5, 9, 0, True),  # the target has not said yet how it was reached
        ("e", 1.5, 9, 0, False),
    ],
)
def test_only_the_death_of_its_own_worker_excuses_the_loss_of_a_connection(
    end: str, when: float, port_e: int, port_d: int, excused: bool
) -> None:
    lost: dict[str, object] = {"e": port_e, "d": port_d, "began": 1.0, "ended": 2.0}
    assert Kill(when, end, frozenset({7})).excuses(lost) == excused
