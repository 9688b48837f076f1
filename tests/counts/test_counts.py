"""The data plane spends no more than it did, and no less: the table in the tree says how much.

Whoever changes that on purpose runs `make counts-update` and commits the table as well.
"""

from __future__ import annotations

import platform

import pytest

from tests.counts.counting import (
    SCENES,
    TABLE,
    Programs,
    Scene,
    Table,
    calls_between_marks,
    count_all,
    instructions_by_file,
)

LEEWAY = 0.02  # of the instructions

each_scene = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)


@pytest.fixture(scope="module")
def table() -> Table:
    """The one in the tree."""
    table = Table.from_json(TABLE.read_text())
    if platform.machine() != table.machine:
        pytest.skip(f"the table is of {table.machine}, where calls have other names")
    return table


@pytest.fixture(scope="module")
def counted(table: Table, programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Table:
    return count_all(programs, tmp_path_factory.mktemp("counts"))


def test_the_table_has_every_scene(table: Table) -> None:
    assert list(table.scenes) == [scene.name for scene in SCENES]


@each_scene
def test_the_calls_of_the_system_are_those_in_the_table(
    table: Table, counted: Table, scene: Scene
) -> None:
    expected, found = table.scenes[scene.name], counted.scenes[scene.name]
    assert (found.times, found.clock) == (expected.times, expected.clock)
    assert found.calls == expected.calls


@each_scene
def test_the_instructions_are_those_in_the_table(
    table: Table, counted: Table, scene: Scene
) -> None:
    if counted.compiler != table.compiler:
        pytest.skip(f"the table's instructions are those of {table.compiler}")
    expected, found = table.scenes[scene.name], counted.scenes[scene.name]
    assert found.instructions == pytest.approx(expected.instructions, rel=LEEWAY)


def test_what_a_called_function_costs_is_not_counted_for_its_caller() -> None:
    text = """\
events: Ir
fl=/a.c
fn=outer
10 5
fi=/inline.h
+3 2
fe=/a.c
12 1
cfi=/b.c
cfn=inner
calls=1 7
13 1000

fl=/b.c
fn=inner
7 1000
totals: 1008
"""
    assert instructions_by_file(text) == {"/a.c": 6, "/inline.h": 2, "/b.c": 1000}


def test_what_is_outside_of_the_plane_is_no_call_of_its() -> None:
    text = """\
poll([{fd=3}], 1, 0) = 1
getuid()                                = 0
epoll_wait(3, [], 256, 0)               = 1
getgid()                                = 0
recvfrom(5, "", 1, 0, NULL, NULL)       = 1
getuid()                                = 0
epoll_wait(3, [], 256, 0)               = 1
getgid()                                = 0
+++ exited with 0 +++
"""
    assert calls_between_marks(text) == {"epoll_wait": 2}
