"""The source archive: complete, and good enough to build, install and demonstrate from it alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from spiped import __version__
from tests.acceptance.conftest import NOT_SOURCES, run, venv
from tests.daemons import needs
from tests.helpers import ROOT

pytestmark = pytest.mark.acceptance

NOT_RELEASED = (".ci/", ".gitignore", "tests/fuzz/findings/")


class Release(NamedTuple):
    archive: Path
    wheel: Path


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """What `make dist` makes of a copy of the sources."""
    copy = tmp_path_factory.mktemp("dist") / "sources"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    more = {"SPIPED_REQUIRE_NATIVE": "1"}
    run(needs("make"), "dist", f"PYTHON={sys.executable}", cwd=copy, more=more)
    (archive,) = (copy / "dist").glob("*.tar.gz")
    (wheel,) = (copy / "dist").glob("*.whl")
    return Release(archive, wheel)


@pytest.fixture
def unpacked(release: Release, tmp_path: Path) -> Path:
    with tarfile.open(release.archive) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / f"spiped-{__version__}"


def test_the_archive_has_every_file_of_the_sources(unpacked: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("this is no checkout: nobody knows which files there are")
    tracked = {name for name in listed.stdout.splitlines() if not name.startswith(NOT_RELEASED)}
    released = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert tracked - released == set()
    made = {name for name in released - tracked if ".egg-info/" not in name}
    assert made == {"PKG-INFO", "setup.cfg"}


def test_the_wheel_has_the_program_and_nothing_else(release: Release) -> None:
    assert "-cp310-abi3-" in release.wheel.name
    names = zipfile.ZipFile(release.wheel).namelist()
    assert any(name.startswith("spiped/_native.") and name.endswith(".so") for name in names)
    assert "spiped/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"spiped", f"spiped-{__version__}.dist-info"}


def test_the_demonstration_runs_from_the_archive_with_its_wheel(
    release: Release, unpacked: Path, tmp_path: Path
) -> None:
    """In an environment that has nothing but that wheel and what it asks for."""
    python = venv(tmp_path / "bare", f"{release.wheel}[demo]")
    run(str(python), "-m", "bench.demo", "--mib", "64", cwd=unpacked)
    run(str(python.with_name("spipe")), "-v", cwd=tmp_path)


def test_it_tells_an_index_all_that_readers_expect(release: Release, tmp_path: Path) -> None:
    python = venv(tmp_path / "judge", "pyroma", "twine")
    judged = run(str(python), "-m", "pyroma", "--min=10", str(release.archive), cwd=tmp_path)
    assert "Final rating: 10/10" in judged.stdout
    run(str(python), "-m", "twine", "check", "--strict", *map(str, release), cwd=tmp_path)
