"""The tables of kernels: their order, and that every kernel passes its own test."""

import pytest

from spiped._native import ffi, lib

PRIMITIVES = ("sha256", "aes256ctr", "modexp")


def names(primitive: str) -> list[str]:
    number = PRIMITIVES.index(primitive)
    return [
        ffi.string(lib.kernel_name(number, i)).decode() for i in range(lib.kernel_count(number))
    ]


def selftest(primitive: str) -> int:
    number = PRIMITIVES.index(primitive)
    return lib.kernel_selftest(number, lib.kernel_selected(number))


def test_primitives_are_in_their_promised_order() -> None:
    found = [ffi.string(lib.primitive_name(i)).decode() for i in range(lib.primitive_count())]
    assert tuple(found) == PRIMITIVES


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_every_table_ends_in_the_portable_kernel(primitive: str) -> None:
    found = names(primitive)
    assert len(set(found)) == len(found)
    assert found[-1] == "portable"
    last = lib.kernel_state(PRIMITIVES.index(primitive), len(found) - 1)
    assert last == lib.KERNEL_AVAILABLE


def test_preferences_of_sha256() -> None:
    assert names("sha256") == ["shani-x2", "shani", "avx512-x16", "avx2-x8", "armce", "portable"]


def test_selftest_of_sha256(sha256_kernel: str) -> None:
    assert selftest("sha256") == 1


def test_selftest_of_aes256ctr(aes256ctr_kernel: str) -> None:
    assert selftest("aes256ctr") == 1


def test_selftest_of_modexp(modexp_kernel: str) -> None:
    assert selftest("modexp") == 1
