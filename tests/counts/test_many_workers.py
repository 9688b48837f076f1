"""Nothing that a worker does costs more because there are many of them, but for one sum over their
slots when it accepts.

What two CPUs cannot show as time is counted: calls of the system, cache lines of the shared
counters, workers that wake, and memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.counts.counting import Programs, Scene, count_calls, count_lines
from tests.daemons import Daemon, Stage, echoes, is_echoed, wait_until

FEW, MORE, MANY = 2, 16, 64  # workers

MESSAGES = [Scene(act, role) for act in ("bulk", "round-trip") for role in "ed"]
ACCEPTS = [Scene(act, role) for act in ("arrival", "connection") for role in "ed"]
ACCEPTS += [Scene("stranger", "d")]

in_messages = pytest.mark.parametrize("scene", MESSAGES, ids=lambda scene: scene.name)
in_accepts = pytest.mark.parametrize("scene", ACCEPTS, ids=lambda scene: scene.name)
in_both = pytest.mark.parametrize("scene", MESSAGES + ACCEPTS, ids=lambda scene: scene.name)


@in_both
def test_calls_of_the_system_do_not_grow(programs: Programs, tmp_path: Path, scene: Scene) -> None:
    few, more, many = (
        count_calls(programs, tmp_path, scene, workers)[1] for workers in (FEW, MORE, MANY)
    )
    assert few == more == many


@in_messages
def test_a_message_touches_its_workers_lines_alone(programs: Programs, scene: Scene) -> None:
    few, more, many = (count_lines(programs, scene, workers) for workers in (FEW, MORE, MANY))
    assert few == more == many
    # clang tells of a line that is read and then written as of one that is written
    assert few.pop("own read") <= few["own written"]
    assert few.pop("own written") > 0
    assert not any(few.values())


@in_accepts
def test_an_accept_reads_one_line_of_each_slot_and_writes_to_its_own(
    programs: Programs, scene: Scene
) -> None:
    for workers in (FEW, MORE, MANY):
        lines = count_lines(programs, scene, workers)
        assert lines["others read"] == workers  # slot 0, and all but its own
        assert lines["used read"] == 1
        assert lines["others written"] == lines["used written"] == 0
    assert lines["own written"] == count_lines(programs, scene, FEW)["own written"]


# Real daemons

CONNECTIONS = 200
MEMORY_LEEWAY = 1.1
HERD = 2.0  # times the wakes of few workers; if all woke, it would be 32


def private_kb(pid: int) -> int:
    """Memory that a process shares with no other."""
    return _sum_of(f"/proc/{pid}/smaps_rollup", "Private_Clean:", "Private_Dirty:")


def wakes(daemon: Daemon) -> int:
    """How often its workers have slept, and been woken."""
    return sum(_sum_of(f"/proc/{pid}/status", "voluntary_ctxt_switches:") for pid in daemon.workers)


def _sum_of(file: str, *names: str) -> int:
    rows = [line.split() for line in Path(file).read_text().splitlines()]
    return sum(int(row[1]) for row in rows if row[0] in names)


class Spent(NamedTuple):
    memory: int  # KB, of the worker that has most
    wakes: int  # for all connections


def spend(stage: Stage, workers: int) -> Spent:
    """What a daemon with so many workers spends on one connection after another."""
    server = stage.spiped("-d", stage.echo().address, "--workers", str(workers), "-n", "0")
    wait_until(lambda: len(server.workers) == workers, "all workers are there")
    client = stage.spiped("-e", server.source, "--workers", "1", "-n", "0")
    with client.connect() as peer:
        assert echoes(peer)
    before = wakes(server)
    assert all(is_echoed(client.source) for _ in range(CONNECTIONS))
    return Spent(max(map(private_kb, server.workers)), wakes(server) - before)


def test_neither_memory_nor_wakes_grow_with_the_workers(stage: Stage) -> None:
    few, more, many = (spend(stage, workers) for workers in (FEW, MORE, MANY))
    print(few, more, many)
    assert max(more.memory, many.memory) < MEMORY_LEEWAY * few.memory
    assert max(more.wakes, many.wakes) < HERD * few.wakes
