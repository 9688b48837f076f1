"""What a process has used of the machine, as the system tells anybody."""

from __future__ import annotations

import resource

import psutil

from spiped.lean_typing import NamedTuple


class Usage(NamedTuple):
    cpu_seconds: float  # of the processor, so far
    memory_bytes: int  # that it holds and shares with no file; with its parent perhaps


class Files(NamedTuple):
    """Descriptors of this process."""

    open: int
    limit: int


def own_files() -> Files | None:
    """None where the system does not tell."""
    try:
        return Files(psutil.Process().num_fds(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    except (psutil.Error, OSError):
        return None


def usage_of(pid: int) -> Usage | None:
    """None if the process is gone, or nobody may look."""
    try:
        process = psutil.Process(pid)
        cpu, memory = process.cpu_times(), process.memory_info()
    except (psutil.Error, OSError):
        return None
    return Usage(cpu.user + cpu.system, memory.rss - getattr(memory, "shared", 0))
