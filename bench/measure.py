"""What processes use: CPU time and memory of whole process trees, over both ends of a pair."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil


def tree(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes and all their descendants that are still there."""
    found: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found += [process, *process.children(recursive=True)]
    return found


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """User and system time of the processes, their descendants, and those these have outlived."""
    total = 0.0
    for process in tree(processes):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            ticks = times.user + times.system
            total += _running_seconds(process.pid, ticks)
            total += times.children_user + times.children_system
    return total


def _running_seconds(pid: int, otherwise: float) -> float:
    """The time of one process from its CPU clock, which is finer than the ticks in /proc.

    clock_getcpuclockid(3) makes the number of that clock from the pid like this.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return otherwise


def pin(processes: Iterable[psutil.Process], cpus: set[int]) -> None:
    """Let the processes and their descendants, with all their threads, run on these CPUs alone."""
    for process in tree(processes):
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, cpus)


def pss_bytes(processes: Iterable[psutil.Process]) -> int:
    """The memory of the processes and their descendants, shared pages divided among their users.

    Raises PermissionError for processes that do not let others look, unless we are root.
    """
    total = 0
    for process in tree(processes):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) << 10
    return total
