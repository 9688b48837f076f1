"""Fixtures for all tests."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal

import pytest

from spiped.crypto import Backend
from tests.daemons import Stage
from tests.daemons import stage as stage

NATIVE_IS_BUILT = (
    importlib.util.find_spec("spiped._native") is not None
    or os.environ.get("SPIPED_REQUIRE_NATIVE") == "1"
)


def backends() -> list[str]:
    """The back ends that this run is about: all that there are, or what SPIPED_BACKEND names."""
    wanted = os.environ.get("SPIPED_BACKEND")
    if wanted:
        return [wanted]
    return ["native", "pure"] if NATIVE_IS_BUILT else ["pure"]


def pytest_configure() -> None:
    """What a shell ignores in a background job must not be ignored by all that tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_report_header() -> str:
    missing = "" if NATIVE_IS_BUILT else " (the C extension is NOT built: nothing of it is tested)"
    return f"back ends: {', '.join(backends())}{missing}"


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
