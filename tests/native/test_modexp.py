"""Group-14 exponentiation: every kernel against Python's ``pow``.

The exponent is always 2^258 + x.  ``SPIPED_EXHAUSTIVE=1`` multiplies the random cases to 100,000,
which takes some ten minutes, nearly all of it Python's.
"""

import ctypes
import functools
import importlib.util
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from spiped._native import ffi, lib
from tests.native.guarded import Guarded, guarded, placements

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "_native"
MODEXP = NATIVE / "kernels" / "modexp"
VECTORS = json.loads((ROOT / "tests" / "vectors" / "vectors.json").read_text())

P = int(VECTORS["group14_p"], 16)
X_MAX = 2**256 - 1
BYTES, SECRET_BYTES = 256, 32

RANDOM_CASES = 100_000 if os.environ.get("SPIPED_EXHAUSTIVE") == "1" else 3_000

# What the kernels put into a digit, and their Montgomery constants R.
DIGIT_BITS = (28, 29, 52, 61, 64)
POWERS_OF_R = (28 * 74, 29 * 72, 52 * 40, 61 * 34, 64 * 32)

EDGE_EXPONENTS = (
    0,
    1,
    2,
    X_MAX,
    X_MAX - 1,
    int("a5" * 32, 16),
    int("5a" * 32, 16),
    int("55" * 32, 16),
    int("aa" * 32, 16),
    1 << 255,
    (1 << 255) - 1,
    int("f0" * 32, 16),
    int("00ff" * 16, 16),
)


def power(base: int, x: int) -> int:
    """Return base^(2^258 + x) mod p as the selected kernel has it."""
    y = ffi.new("uint8_t[256]")
    lib.group14_power(base.to_bytes(BYTES, "big"), x.to_bytes(SECRET_BYTES, "big"), y)
    return int.from_bytes(ffi.buffer(y), "big")


def power_of_generator(x: int) -> int:
    """Return 2^(2^258 + x) mod p as the selected kernel has it."""
    y = ffi.new("uint8_t[256]")
    lib.group14_power_of_generator(x.to_bytes(SECRET_BYTES, "big"), y)
    return int.from_bytes(ffi.buffer(y), "big")


@functools.cache
def expected(base: int, x: int) -> int:
    """Return base^(2^258 + x) mod p; computed once for all kernels."""
    return pow(base, 2**258 + x, P)


@functools.cache
def random_cases() -> tuple[tuple[int, int], ...]:
    """Return (base, x); a third of them with long runs of equal bits."""
    source = random.Random(0x14)

    def number(bits: int, index: int) -> int:
        if index % 3:
            return source.getrandbits(bits)
        n = 0
        while n.bit_length() < bits:
            run = source.randrange(1, 130)
            n = n << run | (source.getrandbits(1) and (1 << run) - 1)
            n |= n == 0
        return n >> n.bit_length() - bits

    return tuple((number(2048, i) % P, number(256, i)) for i in range(RANDOM_CASES // 2))


def boundaries() -> Iterator[int]:
    """Yield every bit at which a digit of some kernel begins."""
    bits = {bit for width in DIGIT_BITS for bit in range(width, 2048, width)}
    yield from sorted(bits)


def edge_bases() -> Iterator[int]:
    """Yield bases with carries and borrows at every digit's boundary."""
    yield from (0, 1, 2, 3, P - 1, P - 2, P - 3, (P - 1) // 2, (P + 1) // 2)
    for bit in boundaries():
        yield from (1 << bit, (1 << bit) - 1, P - (1 << bit))


def edge_bases_in_montgomery_form() -> Iterator[int]:
    """Yield bases that a kernel itself turns into digits that are all ones or all zeros."""
    for bits_of_r in POWERS_OF_R:
        inverse = pow(2, -bits_of_r, P)
        for bit in boundaries():
            yield ((1 << bit) - 1) * inverse % P
        for number in (1, P - 1, 2**2047, 2**2047 - 1, 2**2048 - 2**2000):
            yield number % P * inverse % P
        for width in DIGIT_BITS:
            # Digits as far from zero as those with a sign get: the largest sums of products.
            ones = sum(1 << bit for bit in range(0, 2048 - width, width))
            for digit in (1 << width - 1, (1 << width - 1) - 1, (1 << width - 1) + 1):
                yield ones * digit * inverse % P
                yield -ones * digit * inverse % P


def load_make_tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_tables", MODEXP / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_prime_is_that_of_rfc_3526() -> None:
    # The prime's definition, and the primality of p and (p - 1) / 2, to some bases.
    assert load_make_tables().P == P
    for base in (2, 3, 5, 7, 11):
        assert pow(base, P - 1, P) == 1
        assert pow(base, (P - 1) // 2 - 1, (P - 1) // 2) == 1


def test_the_tables_are_what_their_generator_writes(capsys: pytest.CaptureFixture[str]) -> None:
    load_make_tables().main()
    assert capsys.readouterr().out == (MODEXP / "modexp_tables.c").read_text()


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_vectors(modexp_kernel: str, case: dict[str, str]) -> None:
    for ours, theirs in ("CS", "SC"):
        if case[f"x_{ours}"] is None:
            continue  # a weak handshake: no exponentiation on this side
        x = int(case[f"x_{ours}"], 16)
        assert power_of_generator(x) == int(case[f"y_{ours}"], 16)
        assert power(int(case[f"y_{theirs}"], 16), x) == int(case["y_SC"], 16)


@pytest.mark.parametrize("x", EDGE_EXPONENTS, ids=lambda x: f"{x:x}"[:12])
def test_edge_exponents(modexp_kernel: str, x: int) -> None:
    assert power_of_generator(x) == expected(2, x)
    for base in (0, 1, 2, P - 1, P - 2, 0xC0FFEE << 1900):
        assert power(base, x) == expected(base, x), hex(base)


def test_every_bit_of_the_exponent(modexp_kernel: str) -> None:
    for bit in range(256):
        assert power_of_generator(1 << bit) == expected(2, 1 << bit), bit
        if bit % 8 == 0:
            assert power(3, 1 << bit) == expected(3, 1 << bit), bit


def test_edge_bases(modexp_kernel: str) -> None:
    for i, base in enumerate(edge_bases()):
        x = EDGE_EXPONENTS[i % len(EDGE_EXPONENTS)]
        assert power(base, x) == expected(base, x), hex(base)


def test_edge_bases_in_montgomery_form(modexp_kernel: str) -> None:
    for i, base in enumerate(edge_bases_in_montgomery_form()):
        x = EDGE_EXPONENTS[i % len(EDGE_EXPONENTS)]
        assert power(base, x) == expected(base, x), hex(base)


def test_random(modexp_kernel: str) -> None:
    for base, x in random_cases():
        assert power(base, x) == expected(base, x), (hex(base), hex(x))
        assert power_of_generator(x) == expected(2, x), hex(x)


def test_both_sides_agree(modexp_kernel: str) -> None:
    source = random.Random(1)
    for _ in range(10):
        ours, theirs = source.getrandbits(256), source.getrandbits(256)
        shared = power(power_of_generator(theirs), ours)
        assert shared == power(power_of_generator(ours), theirs)


@pytest.mark.parametrize(("side", "gap"), list(placements()))
def test_buffers_anywhere(modexp_kernel: str, side: str, gap: int) -> None:
    base, x = (P - 12345) >> 3, X_MAX // 7
    y = Guarded(BYTES, side, gap)
    base_buffer = guarded(base.to_bytes(BYTES, "big"), side, gap)
    x_buffer = guarded(x.to_bytes(SECRET_BYTES, "big"), side, gap)

    lib.group14_power(base_buffer.pointer, x_buffer.pointer, y.pointer)
    assert int.from_bytes(y.read(), "big") == expected(base, x)
    y.write(bytes(BYTES))
    lib.group14_power_of_generator(x_buffer.pointer, y.pointer)
    assert int.from_bytes(y.read(), "big") == expected(2, x)
    assert base_buffer.read() == base.to_bytes(BYTES, "big")
    assert x_buffer.read() == x.to_bytes(SECRET_BYTES, "big")


def test_the_digits_of_32_bit_cpus(tmp_path: Path) -> None:
    # The portable kernel is another one where the compiler has no 128-bit integers.
    compiler = os.environ.get("CC", "cc").split()
    if shutil.which(compiler[0]) is None:
        pytest.skip("there is no C compiler")
    library = tmp_path / "modexp32.so"
    sources = [*MODEXP.glob("*.c"), NATIVE / "kernels" / "cpu" / "cpu.c"]
    subprocess.run(
        [
            *compiler,
            *("-std=gnu11", "-O2", "-fPIC", "-shared", "-U__SIZEOF_INT128__"),
            f"-I{NATIVE}",
            *(str(source) for source in sources),
            *("-o", str(library)),
        ],
        check=True,
    )
    narrow = ctypes.CDLL(str(library))
    y = ctypes.create_string_buffer(BYTES)
    bases = [*edge_bases(), *edge_bases_in_montgomery_form()]
    for i, base in enumerate(bases):
        x = EDGE_EXPONENTS[i % len(EDGE_EXPONENTS)]
        narrow.group14_power(base.to_bytes(BYTES, "big"), x.to_bytes(SECRET_BYTES, "big"), y)
        assert int.from_bytes(y.raw, "big") == expected(base, x), hex(base)
        narrow.group14_power_of_generator(x.to_bytes(SECRET_BYTES, "big"), y)
        assert int.from_bytes(y.raw, "big") == expected(2, x), hex(x)
