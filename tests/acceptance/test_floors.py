"""The oldest versions of what spiped needs, as Debian 12 has them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import run, venv

pytestmark = pytest.mark.acceptance

BUILD = ("setuptools==66.1.1", "wheel", "cffi==1.15.1")

# Debian installs the same library under another name, so that it does not stand in another's place.
CIPHERS = ("pycryptodome==3.11.0", "pycryptodomex==3.11.0")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="cffi 1.15 is for Python before 3.12")
@pytest.mark.parametrize("cipher", CIPHERS)
def test_it_builds_and_runs_with_them(sources: Path, place: Path, cipher: str) -> None:
    python = str(venv(place / "old", *BUILD, cipher, "psutil>=5.9", "rich"))
    words = ["-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "."]
    run(python, *words, cwd=sources, more={"SPIPED_REQUIRE_NATIVE": "1"})
    for backend in ("native", "pure"):
        more = {"SPIPED_BACKEND": backend}
        run(python, "-m", "bench.demo", "--mib", "8", cwd=sources, more=more)
    listed = run(python, "-m", "spiped.crypto", cwd=place)
    assert "selected" in listed.stdout
