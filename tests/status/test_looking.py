"""Whoever only looks sees what is written, also by another version, and cannot write."""

from __future__ import annotations

import fcntl
import os

import pytest

from spiped.observe.counters import Counters
from spiped.observe.facts import Facts
from spiped.observe.slot import Field
from spiped.observe.view import CONNECTION_FIELDS, View
from spiped.process.descriptors import close_all_but
from spiped.process.fork import fork
from tests.status.example import Daemon, Scenario, counters_for


@pytest.fixture
def seen() -> tuple[Counters, Facts, View]:
    """What two processes share: here, by two maps in one.  Written before are other counters."""
    older = Counters(2, entries=3)
    older.slot(1).add(Field.ACCEPTED, 5)
    older.slot(1).add(Field.ACTIVE, 2)
    writing = Counters(3, [os.dup(older.files()[0])], entries=9)
    writing.use(3)
    facts = Facts()
    looking = View(
        Counters(1, [os.dup(file) for file in writing.files()], entries=9),
        Facts(os.dup(facts.fileno())),
    )
    looking.only_look(lambda seen: None)
    return writing, facts, looking


def test_totals_include_what_another_version_has_counted(
    seen: tuple[Counters, Facts, View],
) -> None:
    writing, facts, looking = seen
    facts.write({"pipes": [{"name": "a"}]})
    writing.slot(1).add(Field.ACCEPTED, 7)
    (pipe,) = looking.status()["pipes"]
    assert pipe["connections"]["accepted"] == 12 == writing.total(Field.ACCEPTED)


def test_slots_that_are_added_are_seen(seen: tuple[Counters, Facts, View]) -> None:
    writing, facts, looking = seen
    writing.use(40)
    writing.slot(39).add(Field.ACCEPTED, 3)
    facts.write({"workers": [{"id": 9, "slot": 39}]})
    (worker,) = looking.status()["workers"]
    assert worker["accepted"] == 3


def test_whoever_looks_cannot_write(seen: tuple[Counters, Facts, View]) -> None:
    """Not by mistake, which is an exception; and not on purpose."""
    _, facts, looking = seen
    facts.write({})
    with pytest.raises(TypeError, match="read-only"):
        looking._counters.slot(1).add(Field.ACCEPTED, 1)
    with pytest.raises(TypeError, match="read-only"):
        looking._facts.write({"a": 1})
    for file in (*looking._counters.files(), looking._facts.fileno()):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(file, b"x")


def test_a_slot_that_somebody_still_refers_to_is_a_mistake_of_ours() -> None:
    counters = counters_for(Scenario(connections=0))
    slot = counters.slot(1)
    with pytest.raises(BufferError):
        View(counters, Facts()).only_look(lambda seen: None)
    slot.view.release()


@pytest.mark.parametrize("field", CONNECTION_FIELDS)
@pytest.mark.parametrize("descending", [False, True])
def test_a_short_list_is_the_beginning_of_the_whole(field: str, descending: bool) -> None:
    """Whichever way it is found: for some fields, most rows are not made."""
    scenario = Scenario(connections=60)
    counters, facts = counters_for(scenario), Facts()
    daemon = Daemon(scenario, counters, facts)
    view = View(counters, facts)
    view.look()
    daemon.go_on()
    view.look()
    whole = view.connections(field, descending, 0)["connections"]
    short = view.connections(field, descending, 10)
    assert (short["total"], short["listed"]) == (60, 10)

    def values(rows: list[dict[str, object]]) -> list[object]:
        """Time goes on between the two."""
        exact = field not in ("age", "idle")
        return [row[field] if exact else round(float(str(row[field])), -1) for row in rows]

    assert values(short["connections"]) == values(whole[:10])
    assert len({row["id"] for row in short["connections"]}) == 10


def test_descriptors_stay_what_they_are_when_maps_are_exchanged() -> None:
    """A map has a descriptor of its own, which must not be closed behind its back."""
    counters, facts = counters_for(Scenario(connections=2)), Facts()
    view = View(counters, facts)

    def child() -> int:
        view.only_look(lambda seen: close_all_but(*seen))
        others = [os.dup(0) for _ in range(10)]
        view._counters.slots = 0  # as if some had been added
        view.facts()  # maps anew
        for other in others:
            os.fstat(other)
        return 0

    pid = fork(child)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_nobody_can_write_who_has_dropped_privileges_before() -> None:
    """Such a process is opaque to others, and must still find its own descriptors."""
    counters, facts = counters_for(Scenario(connections=2)), Facts()
    view = View(counters, facts)

    def child() -> int:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        view.only_look(lambda seen: None)
        files = [*counters.files(), facts.fileno()]
        return any(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE for file in files)

    pid = fork(child)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
