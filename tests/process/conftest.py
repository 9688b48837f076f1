"""Fixtures for tests of whole programs."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import spiped
from tests.daemons import Stage
from tests.helpers import lack
from tests.process.programs import write_program
from tests.process.test_identity import USER


@pytest.fixture
def public_place() -> Iterator[Path]:
    """A directory that every user can reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="spiped-test-") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place


@pytest.fixture
def program_for_everybody(stage: Stage, public_place: Path) -> str:
    """A program that a lesser user can run as well, wherever we and our Python are installed."""
    library = public_place / "lib"
    shutil.copytree(Path(spiped.__file__).parent, library / "spiped")
    backend = importlib.util.find_spec("_cffi_backend")
    if backend is not None and backend.origin is not None:
        shutil.copy(backend.origin, library)
    subprocess.run(["chmod", "-R", "a+rX", str(library)], check=True)
    stage.env["PYTHONPATH"] = str(library)
    for python in (str(Path(sys.executable).resolve()), "/usr/bin/python3"):
        program = write_program(public_place / "spiped", python=python)
        with suppress(OSError):
            if stage.run(program, "-v", user=USER.pw_uid, cwd="/").returncode == 0:
                break
    else:
        lack(f"{USER.pw_name} may not run any Python")
    return program
