"""Fixtures of the extension's tests: every kernel of every primitive, by name.

A test that asks for ``sha256_kernel``, ``aes256ctr_kernel`` or ``modexp_kernel`` runs once for
every kernel of that primitive that this build has and this CPU can run, with that kernel selected.
The others are skipped once each, by name, in ``test_kernels.py``.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

try:
    from spiped._native import ffi, lib
except ImportError:
    ffi = lib = None


class NoExtension(pytest.Module):
    """What a test file becomes where the extension was not built: one visible skip."""

    def collect(self) -> list[Any]:
        pytest.skip("the extension spiped._native is not built")


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Any:
    return NoExtension.from_parent(parent, path=module_path) if lib is None else None


class Kernel(NamedTuple):
    """A kernel by its names, and by the numbers that registry.h knows it by."""

    primitive: str
    name: str
    numbers: tuple[int, int]

    @property
    def state(self) -> int:
        return lib.kernel_state(*self.numbers)


def kernels(primitive: str) -> list[Kernel]:
    """Return the table of a primitive; nothing if there is no extension."""
    if lib is None:
        return []
    primitives = [ffi.string(lib.primitive_name(i)).decode() for i in range(lib.primitive_count())]
    p = primitives.index(primitive)
    return [
        Kernel(primitive, ffi.string(lib.kernel_name(p, k)).decode(), (p, k))
        for k in range(lib.kernel_count(p))
    ]


def kernel_fixture(primitive: str) -> Callable[..., Any]:
    """Return a fixture that selects each available kernel in turn and yields its name."""
    available = [k for k in kernels(primitive) if k.state == lib.KERNEL_AVAILABLE]

    @pytest.fixture(params=available, ids=lambda kernel: kernel.name, name=f"{primitive}_kernel")
    def select(request: pytest.FixtureRequest) -> Iterator[str]:
        p, k = request.param.numbers
        former = lib.kernel_selected(p)
        lib.kernel_select(p, k)
        yield request.param.name
        lib.kernel_select(p, former)

    return select


sha256_kernel = kernel_fixture("sha256")
aes256ctr_kernel = kernel_fixture("aes256ctr")
modexp_kernel = kernel_fixture("modexp")
