"""Fixtures for tests of whole programs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def public_place() -> Iterator[Path]:
    """A directory that every user can reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="spiped-test-") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place
