"""Memory for secrets: no two share any, what is freed is erased, and locked while it is there."""

import os
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from spiped._native import ffi, lib

SIZES = (32, 1216, 1840)  # a program has few


def contents(memory: Any, size: int) -> bytes:
    return bytes(ffi.buffer(memory, size))


def fill(memory: Any, size: int, byte: int) -> None:
    ffi.buffer(memory, size)[:] = bytes([byte]) * size


def locked_bytes() -> int:
    found = re.search(r"^VmLck:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def test_all_that_comes_is_zero_aligned_and_apart() -> None:
    choice = random.Random(1)
    held: list[tuple[Any, int, int]] = []
    for turn in range(5000):
        if held and choice.random() < 0.5 - (turn > 4000) * 0.3 + (turn < 1000) * -0.3:
            memory, size, byte = held.pop(choice.randrange(len(held)))
            assert contents(memory, size) == bytes([byte]) * size
            lib.secret_free(memory, size)
        else:
            size = choice.choice(SIZES)
            memory = lib.secret_alloc(size)
            assert int(ffi.cast("uintptr_t", memory)) % 16 == 0
            assert contents(memory, size) == bytes(size)
            byte = choice.randrange(1, 256)
            fill(memory, size, byte)
            held.append((memory, size, byte))
    for memory, size, byte in held:
        assert contents(memory, size) == bytes([byte]) * size
        lib.secret_free(memory, size)


def test_null_can_be_freed() -> None:
    lib.secret_free(ffi.NULL, 32)


@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="nobody may look there")
def test_what_is_freed_is_erased() -> None:
    """A neighbour keeps the memory mapped, so that we can look."""
    neighbour, memory = lib.secret_alloc(1216), lib.secret_alloc(1216)
    fill(memory, 1216, 0xA5)
    lib.secret_free(memory, 1216)
    assert contents(memory, 1216) == bytes(1216)
    lib.secret_free(neighbour, 1216)


def test_everything_can_be_erased_at_once() -> None:
    held = [(lib.secret_alloc(size), size) for size in SIZES for _ in range(20)]
    for memory, size in held:
        fill(memory, size, 0xA5)
    lib.secret_wipe_all()
    for memory, size in held:
        assert contents(memory, size) == bytes(size)
        lib.secret_free(memory, size)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_it_is_locked_in_a_child_too_and_given_back() -> None:
    before = locked_bytes()
    held = [lib.secret_alloc(1840) for _ in range(100)]
    assert lib.secret_lock_error() == 0
    locked = locked_bytes()
    assert locked >= before + 100 * 1840
    pid = os.fork()
    if pid == 0:
        inherited = locked_bytes()
        lib.secret_lock_all()
        os._exit(0 if inherited == 0 and locked_bytes() >= locked else 1)
    assert os.waitpid(pid, 0)[1] == 0
    for memory in held:
        lib.secret_free(memory, 1840)
    assert locked_bytes() <= before + 16384
