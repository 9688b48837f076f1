"""The tables of kernels: their order, and that every kernel passes its own test."""

import pytest

from spiped._native import ffi, lib
from tests.native.conftest import Kernel, kernels

# The preferred one first.
PREFERENCES = {
    "sha256": [
        *("shani-x3", "shani-x3-sse", "shani-x2", "shani", "avx512-x16", "avx2-x8"),
        *("armce-x3", "armce-x2", "armce", "portable"),
    ],
    "aes256ctr": ["vaes-avx512", "vaes-avx2", "aesni", "armce", "portable"],
    "modexp": ["ifma", "avx2", "mulx", "portable"],
}

ALL = [
    pytest.param(kernel, id=f"{primitive}-{kernel.name}")
    for primitive in PREFERENCES
    for kernel in kernels(primitive)
]


def test_primitives_are_in_their_promised_order() -> None:
    found = [ffi.string(lib.primitive_name(i)).decode() for i in range(lib.primitive_count())]
    assert found == list(PREFERENCES)


@pytest.mark.parametrize("primitive", PREFERENCES)
def test_kernels_are_in_order_of_preference(primitive: str) -> None:
    assert [kernel.name for kernel in kernels(primitive)] == PREFERENCES[primitive]


@pytest.mark.parametrize("primitive", PREFERENCES)
def test_every_table_ends_in_a_portable_kernel_that_is_available(primitive: str) -> None:
    last = kernels(primitive)[-1]
    assert last.name == "portable"
    assert last.state == lib.KERNEL_AVAILABLE


@pytest.mark.parametrize("kernel", ALL)
def test_every_kernel_is_tested_and_passes_its_own_test(kernel: Kernel) -> None:
    """What cannot be tested here is named once, here."""
    if kernel.state == lib.KERNEL_ABSENT:
        pytest.skip(f"the {kernel.primitive} kernel {kernel.name} is not compiled in")
    if kernel.state == lib.KERNEL_UNAVAILABLE:
        pytest.skip(f"this CPU cannot run the {kernel.primitive} kernel {kernel.name}")
    assert lib.kernel_selftest(*kernel.numbers) == 1
