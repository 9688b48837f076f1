"""Fixtures for the machines of the protocol."""

from __future__ import annotations

import importlib
from typing import NamedTuple

import pytest

from spiped.crypto import Backend
from spiped.proto.handshake import Handshake
from tests.conftest import backends
from tests.proto.machines import Machine, NativeHandshake


class Maker(NamedTuple):
    """How to make a handshake: ``make(crypto, role, K, secrets, require_pfs=...)``."""

    make: Machine
    crypto: Backend


MACHINES = [f"python-{name}" for name in backends()] + (["c"] if "native" in backends() else [])


@pytest.fixture(params=MACHINES)
def maker(request: pytest.FixtureRequest) -> Maker:
    """Each handshake machine, the one in Python with each back end."""
    if request.param == "c":
        native = importlib.import_module("spiped.crypto.native")
        assert native.select_kernels() == []
        return Maker(NativeHandshake, native)
    backend = importlib.import_module(f"spiped.crypto.{request.param.removeprefix('python-')}")
    return Maker(Handshake, backend)
