"""Fixtures for all tests."""

from __future__ import annotations

import importlib
import os

import pytest

from spiped.crypto import Backend
from tests.daemons import Stage
from tests.daemons import stage as stage


def backends() -> list[str]:
    """The back ends that this run is about: both, or the one that SPIPED_BACKEND names."""
    wanted = os.environ.get("SPIPED_BACKEND")
    return [wanted] if wanted else ["native", "pure"]


@pytest.fixture(params=backends())
def crypto(request: pytest.FixtureRequest) -> Backend:
    """Each back end of the cryptography."""
    module = importlib.import_module(f"spiped.crypto.{request.param}")
    if request.param == "native":
        assert module.select_kernels() == []
    return module


@pytest.fixture(params=backends())
def backend(request: pytest.FixtureRequest, stage: Stage) -> str:
    """Each back end, for our programs on the stage."""
    stage.env["SPIPED_BACKEND"] = request.param
    return request.param
