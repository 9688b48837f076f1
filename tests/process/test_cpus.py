"""How many workers there are by default: as many as there is CPU time for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spiped.process import cpus
from tests.daemons import Stage, wait_until
from tests.process.surroundings import privately

CPUS = 4  # of the machine, in the first tests

# What a process finds about its control groups, and how many CPUs it has by that
QUOTAS: dict[str, tuple[str, dict[str, str], int]] = {
    "version 2, one CPU": ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
    "version 2, a part of one": ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
    "version 2, one and a half": ("0::/a\n", {"a/cpu.max": "150000 100000\n"}, 2),
    "version 2, more than there are": ("0::/a\n", {"a/cpu.max": "900000 100000\n"}, CPUS),
    "version 2, no limit": ("0::/a\n", {"a/cpu.max": "max 100000\n"}, CPUS),
    "version 2, a limit further up": (
        "0::/a/b/c\n",
        {"a/b/c/cpu.max": "max 100000\n", "a/b/cpu.max": "200000 100000\n", "a/cpu.max": "max 1\n"},
        2,
    ),
    "version 2, the lowest of several": (
        "0::/a/b\n",
        {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "100000 100000\n"},
        1,
    ),
    "version 2, of a group that cannot be seen": (
        "0::/../../outside\n",
        {"cpu.max": "100000 100000\n"},
        1,
    ),
    "version 1": (
        "4:cpu,cpuacct:/a\n3:memory:/a\n0::/\n",
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "50000\n"},
        1,
    ),
    "version 1, no limit": (
        "4:cpu:/a\n",
        {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
        CPUS,
    ),
    "version 1 and 2": (
        "4:cpu:/\n0::/a\n",
        {"cpu/cpu.cfs_quota_us": "-1\n", "unified/a/cpu.max": "200000 100000\n"},
        2,
    ),
    "nonsense": ("0::/a\n", {"a/cpu.max": "much 0\n"}, CPUS),
    "a period of nothing": ("0::/a\n", {"a/cpu.max": "1000 0\n"}, CPUS),
    "nothing": ("", {}, CPUS),
    "no form that anybody knows": ("what is this\n", {"cpu.max": "100000 100000\n"}, CPUS),
}


@pytest.mark.parametrize("what", QUOTAS)
def test_quotas_of_control_groups_count(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, files, expected = QUOTAS[what]
    groups = tmp_path / "groups"
    for name, content in files.items():
        path = groups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(cpus, "GROUPS", str(groups))
    monkeypatch.setattr(cpus, "OWN_GROUPS", str(tmp_path / "own"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(CPUS)))
    assert cpus.available_cpus() == expected


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_a_container_with_one_cpu_gets_one_worker(stage: Stage) -> None:
    own = stage.directory / "groups"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        base = own if number == "0" else own / controllers
        group = Path(str(base) + path)
        group.mkdir(parents=True, exist_ok=True)
        if number == "0":
            (group / "cpu.max").write_text("100000 100000\n")
        elif "cpu" in controllers.split(","):
            (group / "cpu.cfs_quota_us").write_text("100000\n")
            (group / "cpu.cfs_period_us").write_text("100000\n")
    beginning = privately(stage, 'mount --bind "$1" /sys/fs/cgroup', str(own))
    limited = stage.spiped("-d", "[127.0.0.1]:9", beginning=beginning, background=True)
    assert len(limited.workers) == 1
    told = stage.spiped(
        "-d", "[127.0.0.1]:9", "--workers", "3", beginning=beginning, background=True
    )
    wait_until(lambda: len(told.workers) == 3, "there are as many as were asked for")
