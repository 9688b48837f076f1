"""How many CPUs this process has: those that it may run on, and not more than it gets time of."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

from spiped.lean_typing import suppress

GROUPS, OWN_GROUPS = "/sys/fs/cgroup", "/proc/self/cgroup"  # cgroups(7)
V1_CONTROLLERS = ("cpu", "cpu,cpuacct")


def available_cpus() -> int:
    """At least 1."""
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    else:
        import psutil  # slow to import, and only needed where the system call is missing

        cpus = psutil.cpu_count() or 1
    return max(1, math.ceil(min(cpus, _quota())))


def _quota() -> float:
    """CPUs' worth of time that the control groups of this process allow; inf: no limit."""
    lowest = math.inf
    with suppress(OSError, ValueError), open(OWN_GROUPS) as file:
        for line in file:
            number, controllers, path = line.rstrip("\n").split(":", 2)
            if number == "0":
                lowest = min(
                    lowest, _lowest(GROUPS, path, _v2), _lowest(f"{GROUPS}/unified", path, _v2)
                )
            elif "cpu" in controllers.split(","):
                for name in V1_CONTROLLERS:
                    lowest = min(lowest, _lowest(f"{GROUPS}/{name}", path, _v1))
    return lowest


def _lowest(base: str, path: str, read: Callable[[str], float]) -> float:
    """The lowest quota of a group and of those that it is in, up to the root that we can see."""
    lowest = math.inf
    while True:
        with suppress(OSError, ValueError, ZeroDivisionError):
            lowest = min(lowest, read(base + path.rstrip("/")))
        if path in ("", "/"):
            return lowest
        path = os.path.dirname(path)


def _v2(group: str) -> float:
    with open(f"{group}/cpu.max") as file:
        quota, period = file.read().split()
    return math.inf if quota == "max" else int(quota) / int(period)


def _v1(group: str) -> float:
    with open(f"{group}/cpu.cfs_quota_us") as file:
        quota = int(file.read())
    with open(f"{group}/cpu.cfs_period_us") as file:
        period = int(file.read())
    return math.inf if quota <= 0 else quota / period
