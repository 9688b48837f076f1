"""The choice among kernels: by their times, which are made up here, or by name."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spiped._native import ffi, lib
from spiped.crypto import native
from tests.native.test_sha256 import INITIAL, padded

PRIMITIVES = range(lib.primitive_count())
BATCHES = {p: range(lib.batch_size_count(p)) for p in PRIMITIVES}
PORTABLE = {p: lib.kernel_count(p) - 1 for p in PRIMITIVES}

# What a choice is made among, here and now.
CANDIDATES = {
    p: [k for k in range(PORTABLE[p]) if lib.kernel_state(p, k) == lib.KERNEL_AVAILABLE]
    for p in PRIMITIVES
}

Time = Callable[[int, int, int], int]  # of a primitive's kernel, for batches of a size


class Stub:
    """The extension with another clock, and with kernels that fail their own tests."""

    def __init__(self, time: Time, broken: set[tuple[int, int]] | None = None) -> None:
        self.time = time
        self.broken = broken or set()
        self.asked: list[tuple[int, int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(lib, name)

    def kernel_time(self, p: int, k: int, b: int, runs: int) -> int:
        self.asked += [(p, k, b)] * runs
        return min(self.time(p, k, b) for _ in range(runs))

    @property
    def runs(self) -> int:
        return len(self.asked)

    def kernel_selftest(self, p: int, k: int) -> int:
        return 0 if (p, k) in self.broken else lib.kernel_selftest(p, k)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Restore the selection and what is known of times."""
    former = {(p, b): lib.kernel_selected_for(p, b) for p in PRIMITIVES for b in BATCHES[p]}
    yield
    native._times.clear()
    for (p, b), k in former.items():
        lib.kernel_select_for(p, k, b)


def choose(
    monkeypatch: pytest.MonkeyPatch,
    time: Time,
    restriction: str = "",
    broken: set[tuple[int, int]] | None = None,
) -> tuple[Stub, list[str]]:
    stub = Stub(time, broken)
    monkeypatch.setattr(native, "lib", stub)
    return stub, native.select_kernels(restriction)


def selection() -> dict[int, list[int]]:
    return {p: [lib.kernel_selected_for(p, b) for b in BATCHES[p]] for p in PRIMITIVES}


def everywhere(k: Callable[[int], int]) -> dict[int, list[int]]:
    return {p: [k(p)] * len(BATCHES[p]) for p in PRIMITIVES}


def first(p: int) -> int:
    return [*CANDIDATES[p], PORTABLE[p]][0]


def last(p: int) -> int:
    return [PORTABLE[p], *CANDIDATES[p]][-1]


def the_last_is_fastest(p: int, k: int, b: int) -> int:
    return 1000 - 100 * k


class Interrupted:
    """The clock of someone who does not run for a while, once."""

    def __init__(self, moment: int) -> None:
        self.runs_until_then = moment

    def __call__(self, p: int, k: int, b: int) -> int:
        self.runs_until_then -= 1
        pause = 10_000_000 if self.runs_until_then == -1 else 0
        return pause + the_last_is_fastest(p, k, b)


def all_are_equal(p: int, k: int, b: int) -> int:
    return 1000 - k  # but for the noise


def test_the_fastest_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, the_last_is_fastest)
    assert selection() == everywhere(last)
    choose(monkeypatch, lambda p, k, b: 1000 + 100 * k)
    assert selection() == everywhere(first)


def test_each_size_of_a_batch_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {p: [(first(p), last(p))[b % 2] for b in BATCHES[p]] for p in PRIMITIVES}
    choose(monkeypatch, lambda p, k, b: 100 if k == wanted[p][b] else 200)
    assert selection() == wanted


def test_of_equals_the_first_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, all_are_equal)
    assert selection() == everywhere(first)


def test_one_interruption_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stub, _ = choose(monkeypatch, the_last_is_fastest)
    for moment in range(stub.runs):
        choose(monkeypatch, Interrupted(moment))
        assert selection() == everywhere(last)


@pytest.mark.parametrize(
    ("p", "k"),
    [pytest.param(p, k, id=f"{p}-{native._name(p, k)}") for p in PRIMITIVES for k in CANDIDATES[p]],
)
def test_a_name_pins_and_nothing_is_timed(monkeypatch: pytest.MonkeyPatch, p: int, k: int) -> None:
    name = native._name(p, k)
    stub, warnings = choose(monkeypatch, the_last_is_fastest, name)
    assert not warnings
    assert not stub.asked
    # a name may stand in several tables
    named = {q: [j for j in CANDIDATES[q] if native._name(q, j) == name] for q in PRIMITIVES}
    assert selection() == everywhere(lambda q: [*named[q], PORTABLE[q]][0])


def test_of_several_names_the_first_in_the_table_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [native._name(p, k) for p in PRIMITIVES for k in CANDIDATES[p]]
    if not names:
        pytest.skip("this CPU has no kernel but the portable ones")
    stub, _ = choose(monkeypatch, the_last_is_fastest, ",".join(reversed(names)))
    assert not stub.asked
    assert selection() == everywhere(first)


def test_a_kernel_that_is_wrong_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {(p, k) for p in PRIMITIVES for k in CANDIDATES[p][-1:]}
    _, warnings = choose(monkeypatch, the_last_is_fastest, broken=broken)
    assert len(warnings) == len(broken)
    assert all("failed its self-test" in warning for warning in warnings)
    assert selection() == everywhere(lambda p: [PORTABLE[p], *CANDIDATES[p][:-1]][-1])
    broken = {(p, k) for p in PRIMITIVES for k in CANDIDATES[p]}
    _, warnings = choose(monkeypatch, all_are_equal, broken=broken)
    assert len(warnings) == len(broken)
    assert selection() == everywhere(lambda p: PORTABLE[p])


def test_what_a_choice_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    # A sample takes some microseconds: see sample() in C.
    stub, _ = choose(monkeypatch, all_are_equal)
    several = [p for p in PRIMITIVES if len(CANDIDATES[p]) > 1]
    choices = sum(len(CANDIDATES[p]) * len(BATCHES[p]) for p in several)
    assert stub.runs == sum(native.ROUNDS) * choices
    assert sum(native.ROUNDS) <= 4
    # The portable kernels are slow, and not timed.
    assert all(k != PORTABLE[p] for p, k, _ in stub.asked)


def test_a_child_has_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    stub, _ = choose(monkeypatch, the_last_is_fastest)
    asked, expected = len(stub.asked), selection()
    child = os.fork()
    if child == 0:
        os._exit(0 if selection() == expected and len(stub.asked) == asked else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_every_kernel_can_be_timed() -> None:
    for p in PRIMITIVES:
        for k in [*CANDIDATES[p], PORTABLE[p]]:
            for b in BATCHES[p]:
                assert 0 < lib.kernel_time(p, k, b, 1) < 10**9


def test_sizes_begin_at_one_and_ascend() -> None:
    for p in PRIMITIVES:
        sizes = [lib.batch_size(p, b) for b in BATCHES[p]]
        assert sizes[0] == 1
        assert sizes == sorted(set(sizes))


def test_messages_left_over_by_one_kernel_are_hashed_by_another() -> None:
    # Every combination of kernels for small and large batches, at every count.
    sha256 = 0
    messages = [random.Random(i).randbytes(119) for i in range(131)]
    digests = [hashlib.sha256(message).digest() for message in messages]
    data = b"".join(map(padded, messages))
    kernels = [*CANDIDATES[sha256], PORTABLE[sha256]]
    for small, large in itertools.product(kernels, repeat=2):
        for b in BATCHES[sha256]:
            lib.kernel_select_for(sha256, large if lib.batch_size(sha256, b) >= 12 else small, b)
        for count in [*range(1, 70), 127, 128, 131]:
            states = ffi.new("uint32_t[][8]", [INITIAL] * count)
            lib.sha256_compress_many(states, data, 128, 2, count)
            found = struct.unpack(f"={8 * count}I", ffi.buffer(states))
            assert struct.pack(f">{8 * count}I", *found) == b"".join(digests[:count]), count


def test_the_figures_are_shown() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "spiped.crypto"],
        env={key: value for key, value in os.environ.items() if key != "SPIPED_KERNELS"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert lines[0] == "backend: native"
    assert "a sample of work" in run.stdout
    for kernel in native.kernels():
        (line,) = [line for line in lines if line.split()[:2] == [kernel.primitive, kernel.name]]
        if kernel.state == "available":
            assert line.endswith(("selected", "available"))
            assert len(line.split()) == 3 + len(kernel.batches)
            assert ("*" in line) == line.endswith("selected")
        else:
            assert line.endswith(kernel.state)
    for p in PRIMITIVES:
        primitive = ffi.string(lib.primitive_name(p)).decode()
        stars = sum(line.count("*") for line in lines if line.startswith(primitive))
        assert stars == len(BATCHES[p])
