"""Fixtures of the extension's tests: every kernel of every primitive, by name.

A test that asks for ``sha256_kernel``, ``aes256ctr_kernel`` or ``modexp_kernel`` runs once for
every kernel of that primitive, with that kernel selected.  A kernel that this build or this CPU
lacks is skipped and says why.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


def kernel_fixture(primitive: str) -> Callable[..., Any]:
    """Return a fixture that selects each kernel of ``primitive`` in turn and yields its name."""
    number, names = 0, []
    if lib is not None:
        number = next(
            i
            for i in range(lib.primitive_count())
            if ffi.string(lib.primitive_name(i)).decode() == primitive
        )
        names = [
            ffi.string(lib.kernel_name(number, i)).decode() for i in range(lib.kernel_count(number))
        ]

    @pytest.fixture(params=range(len(names)), ids=names, name=f"{primitive}_kernel")
    def select(request: pytest.FixtureRequest) -> Iterator[str]:
        kernel = request.param
        state = lib.kernel_state(number, kernel)
        if state == lib.KERNEL_ABSENT:
            pytest.skip(f"{primitive} kernel {names[kernel]} is not compiled in")
        if state == lib.KERNEL_UNAVAILABLE:
            pytest.skip(f"this CPU cannot run the {primitive} kernel {names[kernel]}")
        former = lib.kernel_selected(number)
        lib.kernel_select(number, kernel)
        yield names[kernel]
        lib.kernel_select(number, former)

    return select


sha256_kernel = kernel_fixture("sha256")
aes256ctr_kernel = kernel_fixture("aes256ctr")
modexp_kernel = kernel_fixture("modexp")
