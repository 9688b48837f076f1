"""A status process, and one that lives for a whole file of tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import free_port
from tests.status.rig import Status, serving


@pytest.fixture(scope="module")
def status() -> Iterator[Status]:
    """At a TCP address and at a UNIX socket; for tests that leave it as it is."""
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(f"[127.0.0.1]:{free_port()}", str(Path(directory, "status"))) as status,
    ):
        yield status


@pytest.fixture(params=("tcp", "unix"))
def address(request: pytest.FixtureRequest, status: Status) -> str:
    """Each of its addresses."""
    return status.addresses[("tcp", "unix").index(request.param)]
