"""What tests of installations share: a copy of the sources, and an interpreter for everybody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT, lack
from tests.process.test_identity import USER

BUILT = (".venv", "build", "dist", "*.egg-info", "__pycache__", "*.so", "*.o", ".*_cache")
NOT_SOURCES = (".git", *BUILT)

LONG = 900.0  # seconds that the longest of the commands may take: packages come from the network


def run(*words: str, cwd: Path, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; what it says is shown if it fails."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    how = {"env": env | how.pop("more", {}), "text": True, "timeout": LONG} | how
    done = subprocess.run(words, cwd=cwd, stdout=-1, stderr=subprocess.STDOUT, **how)
    print(*words, done.stdout, sep="\n")
    assert done.returncode == 0, f"{words} failed: {done.stdout[-2000:]}"
    return done


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can reach."""
    with tempfile.TemporaryDirectory(prefix="spiped-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def sources(place: Path) -> Path:
    """A copy of the sources, as after a checkout."""
    copy = place / "sources"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    return copy


def venv(path: Path, *packages: str) -> Path:
    """A bare environment with these packages; returns its python."""
    run(sys.executable, "-m", "venv", str(path), cwd=path.parent)
    python = path / "bin" / "python"
    if packages:
        run(str(python), "-m", "pip", "install", "-q", *packages, cwd=path.parent)
    return python


@pytest.fixture
def public_python() -> str:
    """An interpreter that other users can execute as well, and that can make environments."""
    if os.geteuid() != 0:
        return sys.executable
    become = {"user": USER.pw_uid, "group": USER.pw_gid, "extra_groups": []}
    for python in (str(Path(sys.executable).resolve()), "/usr/bin/python3"):
        with suppress(OSError):
            words: Sequence[str] = (python, "-c", "import ensurepip, venv, ctypes")
            if subprocess.run(words, cwd="/", stderr=-1, **become).returncode == 0:
                break
    else:
        lack(f"{USER.pw_name} can execute no Python that has venv (python3-venv)")
    return python
