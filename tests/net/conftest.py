"""The data planes, and rigs that hold one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

import pytest

from spiped.crypto import Backend
from spiped.net.reactor import Reactor
from spiped.observe.counters import Counters
from spiped.observe.slot import Slot
from spiped.plane.interface import Plane
from spiped.plane.portable.plane import PortablePlane
from tests.conftest import backends
from tests.net.rig import Rig, no_descriptor_leaks

PLANES = [
    name
    for name, backend in (
        ("native", "native"),
        ("portable-native", "native"),
        ("portable-pure", "pure"),
    )
    if backend in backends()
]


def _crypto(plane: str) -> Backend:
    backend: Backend = importlib.import_module(f"spiped.crypto.{plane.rpartition('-')[2]}")
    return backend


def make_rig(plane: str, counters: Counters | None = None, index: int = 1) -> Rig:
    """A rig with the plane of this name."""
    crypto = _crypto(plane)

    def make(reactor: Reactor, slot: Slot, entries: memoryview) -> Plane:
        if plane != "native":
            return PortablePlane(reactor, crypto, slot, entries)
        native_plane = importlib.import_module("spiped.plane.native")
        if not native_plane.AVAILABLE:
            pytest.skip("no data plane in C on this system")
        return native_plane.NativePlane(reactor, slot, entries)

    return Rig(make, crypto, counters, index)


@pytest.fixture(params=PLANES)
def plane(request: pytest.FixtureRequest) -> str:
    """The name of each data plane, with each back end that it can use."""
    name: str = request.param
    return name


@pytest.fixture
def new_rig(plane: str) -> Iterator[Callable[..., Rig]]:
    """Make rigs with each data plane; they are closed afterwards."""
    rigs: list[Rig] = []

    def make(counters: Counters | None = None, index: int = 1) -> Rig:
        rigs.append(make_rig(plane, counters, index))
        return rigs[-1]

    _crypto(plane)  # its import may open descriptors for good
    with no_descriptor_leaks():
        yield make
        for rig in reversed(rigs):
            rig.close()


@pytest.fixture
def rig(new_rig: Callable[..., Rig]) -> Rig:
    """A rig with each data plane."""
    return new_rig()
