"""What a program finds around it: a view of the file system, and a system that refuses things."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.daemons import Stage, needs
from tests.process import refuse

# To a process outside of the initial user namespace, or without CAP_SYS_ADMIN
NO_PRIVATE_VIEW = "a private view of the file system is not allowed here (it needs root)"


def privately(stage: Stage, script: str = "", *arguments: str) -> list[str]:
    """The beginning of a command that has a view of the file system of its own.

    ``script``: what the shell does to that first, with these arguments.
    """
    unshare = [needs("unshare"), "--mount", "--propagation", "private"]
    whole = f'set -e\n{script}\nshift {len(arguments)}\nexec "$@"'
    beginning = [*unshare, "sh", "-c", whole, "sh", *arguments]
    if stage.run(*beginning, "true").returncode != 0:
        pytest.skip(NO_PRIVATE_VIEW)
    return beginning


def lacking(stage: Stage, **calls: str) -> list[str]:
    """The beginning of a command for which system calls fail with these errors."""
    words = ",".join(f"{call}={error}" for call, error in calls.items())
    beginning = [sys.executable, refuse.__file__, words]
    if stage.run(*beginning, "/bin/true").returncode != 0:
        pytest.skip("this kernel cannot be made to lack something")
    return beginning


# Replaces /dev by a directory, in which there are the devices that programs need.
FAKE_DEV = """
cd "$1"
for device in null urandom random zero full; do
    touch "$device" && mount --bind "/dev/$device" "$device"
done
mount --rbind . /dev
cd "$OLDPWD"
"""


def with_devices(stage: Stage) -> tuple[Path, list[str]]:
    """A directory, and the beginning of a command to which it is /dev."""
    devices = stage.directory / "dev"
    devices.mkdir(exist_ok=True)
    return devices, privately(stage, FAKE_DEV, str(devices))
