"""Secrets: comparison finds every difference, and nothing beside the strings is looked at."""

import pytest

from spiped._native import lib
from tests.native.guarded import SIDES, guarded, pattern

LENGTHS = (*range(1, 35), 63, 64, 65)


def equal(a: bytes, b: bytes, side: str, gap: int) -> int:
    assert len(a) == len(b)
    left, right = guarded(a, side, gap), guarded(b, side)
    return lib.equal_in_constant_time(left.pointer, right.pointer, len(a))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("gap", [0, 3])
def test_equal_strings(side: str, gap: int) -> None:
    for length in (0, *LENGTHS):
        assert equal(pattern(length), pattern(length), side, gap) == 1


@pytest.mark.parametrize("side", SIDES)
def test_every_bit_counts(side: str) -> None:
    for length in LENGTHS:
        string = int.from_bytes(pattern(length), "big")
        for bit in range(8 * length):
            other = (string ^ 1 << bit).to_bytes(length, "big")
            assert equal(pattern(length), other, side, 0) == 0


def test_differences_do_not_cancel_each_other() -> None:
    """The same bits in two places, and everything at once."""
    for length in LENGTHS:
        assert equal(bytes(length), b"\xff" * length, "end", 0) == 0
        for distance in {1, 4, 8, 16} & set(range(length)):
            other = bytearray(length)
            other[0] = other[distance] = 0x80
            assert equal(bytes(length), bytes(other), "end", 0) == 0
