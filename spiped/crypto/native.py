"""The back end in C: a thin wrapper of the extension, and the choice among its kernels."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

from spiped._native import ffi, lib
from spiped.crypto.backend import Buffer
from spiped.crypto.sizes import GROUP_BYTES, MESSAGE_MAX, PACKET_BYTES, TAG_BYTES
from spiped.errors import OperatorError
from spiped.lean_typing import Any, NamedTuple

name = "native"
locked_per_connection = 4096  # itself, and its handshake

STATES = {
    lib.KERNEL_ABSENT: "not compiled in",
    lib.KERNEL_UNAVAILABLE: "compiled in",
    lib.KERNEL_AVAILABLE: "available",
}

FAULTS = {
    lib.PACKET_OK: None,
    lib.PACKET_BAD_TAG: "bad tag",
    lib.PACKET_BAD_LENGTH: "bad length",
}


# How often a kernel is timed in each round: in turns, so that a changing clock meets all alike, and
# a first time for warming up.  The least time counts: who is interrupted once has had two others.
ROUNDS = (1, 2)

# By how much a kernel has to be faster than one that stands before it in the table.
MARGIN = 1.03

# The nanoseconds of each kernel of a primitive, for each size of a batch.
Times = dict[int, list[int]]

# The times by which the kernels in use were chosen; a primitive that left no choice has none.
_times: dict[int, Times] = {}


class Kernel(NamedTuple):
    """An entry of a primitive's table."""

    primitive: str
    name: str
    state: str
    selected: bool  # for batches of some size
    batches: list[tuple[int, int | None, bool]]  # size, nanoseconds if timed, selected


def _name(p: int, k: int) -> str:
    return str(ffi.string(lib.kernel_name(p, k)).decode())


def _batches(p: int) -> range:
    return range(lib.batch_size_count(p))


def kernels() -> Iterator[Kernel]:
    """Every kernel of every primitive, in the order of its table."""
    for p in range(lib.primitive_count()):
        primitive = ffi.string(lib.primitive_name(p)).decode()
        times = _times.get(p, {})
        for k in range(lib.kernel_count(p)):
            state = lib.kernel_state(p, k)
            batches = [
                (
                    lib.batch_size(p, b),
                    times[k][b] if k in times else None,
                    state == lib.KERNEL_AVAILABLE and lib.kernel_selected_for(p, b) == k,
                )
                for b in _batches(p)
            ]
            selected = any(used for _, _, used in batches)
            yield Kernel(primitive, _name(p, k), STATES[state], selected, batches)


def time_kernels(p: int, candidates: Iterable[int]) -> Times:
    """Time kernels of a primitive."""
    batches = _batches(p)
    times = {k: [sys.maxsize] * len(batches) for k in candidates}
    for runs in ROUNDS:
        for k, least in times.items():
            for b in batches:
                least[b] = min(least[b], lib.kernel_time(p, k, b, runs))
    return times


def time_all() -> None:
    """Time what the choice had no need to time, too, for those who want to see it."""
    for p in range(lib.primitive_count()):
        times = _times.setdefault(p, {})
        for k in range(lib.kernel_count(p)):
            if k not in times and lib.kernel_state(p, k) == lib.KERNEL_AVAILABLE:
                times |= time_kernels(p, [k])


def fastest(times: Times, b: int) -> int:
    """The first kernel in the table that is as fast as any other, but for the margin."""
    enough = min(of_kernel[b] for of_kernel in times.values()) * MARGIN
    return min(k for k, of_kernel in times.items() if of_kernel[b] <= enough)


def _allowed(restriction: str) -> list[str]:
    """The names in SPIPED_KERNELS (separated by commas), all of which must exist."""
    names = [name for name in restriction.split(",") if name]
    known = {kernel.name for kernel in kernels()} if names else set()
    for name in names:
        if name not in known:
            raise OperatorError(f"SPIPED_KERNELS: no kernel is named {name}")
    return names


def _candidates(p: int, allowed: list[str]) -> list[int]:
    """The kernels that may be used instead of the portable one."""
    return [
        k
        for k in range(lib.kernel_count(p) - 1)
        if lib.kernel_state(p, k) == lib.KERNEL_AVAILABLE
        and (not allowed or _name(p, k) in allowed)
    ]


def _select(p: int, times: Times, portable: int) -> Iterator[str]:
    """Select the fastest kernels of a primitive that pass their own tests; yields warnings."""
    tested = {portable}
    for b in _batches(p):
        while (k := fastest(times, b) if times else portable) not in tested:
            if lib.kernel_selftest(p, k):
                tested.add(k)
            else:
                del times[k]
                primitive = ffi.string(lib.primitive_name(p)).decode()
                yield f"kernel {primitive} {_name(p, k)} failed its self-test and is not used"
        lib.kernel_select_for(p, k, b)


def select_kernels(restriction: str = "") -> list[str]:
    """Select the fastest kernels of each primitive; returns warnings.

    This happens once, before anything is forked, and takes a fraction of a millisecond.
    ``restriction`` names the kernels that may be used, separated by commas, instead of the portable
    ones: then nothing is timed, and the one that stands first in its table is used for everything.
    A kernel that disagrees with the portable one is passed over with a warning.
    """
    allowed = _allowed(restriction)
    warnings: list[str] = []
    _times.clear()
    for p in range(lib.primitive_count()):
        candidates = _candidates(p, allowed)
        if allowed or len(candidates) < 2:
            times = {k: [0] * len(_batches(p)) for k in candidates}
        else:
            times = _times[p] = time_kernels(p, candidates)
        warnings += _select(p, dict(times), lib.kernel_count(p) - 1)
    return warnings


def _view(data: Buffer) -> Any:
    return ffi.from_buffer("uint8_t[]", data)


def random_secret(length: int) -> bytearray:
    secret = bytearray(length)
    status = lib.random_fill(_view(secret), length)
    if status != 0:
        raise OSError(status, os.strerror(status))
    return secret


def forbid_dumps() -> None:
    lib.forbid_dumps()


def secret_memory(length: int) -> memoryview:
    memory = lib.secret_alloc(length)
    if memory == ffi.NULL:
        raise MemoryError
    owner = ffi.gc(memory, lambda memory: lib.secret_free(memory, length))
    return memoryview(ffi.buffer(owner, length))  # keeps the owner


lock_secrets = lib.secret_lock_all
wipe_secrets = lib.secret_wipe_all


def secrets_are_locked() -> bool:
    return bool(lib.secret_lock_error() == 0)


def sha256(data: Buffer) -> bytearray:
    digest = bytearray(TAG_BYTES)
    lib.sha256(_view(data), len(data), _view(digest))
    return digest


def hmac_sha256(key: Buffer, data: Buffer) -> bytearray:
    tag = bytearray(TAG_BYTES)
    lib.hmac_sha256(_view(key), len(key), _view(data), len(data), _view(tag))
    return tag


def equal(a: Buffer, b: Buffer) -> bool:
    assert len(a) == len(b)
    return bool(lib.equal_in_constant_time(_view(a), _view(b), len(a)))


def power_of_generator(x: Buffer) -> bytearray:
    y = bytearray(GROUP_BYTES)
    lib.group14_power_of_generator(_view(x), _view(y))
    return y


def power(base: Buffer, x: Buffer) -> bytearray:
    y = bytearray(GROUP_BYTES)
    lib.group14_power(_view(base), _view(x), _view(y))
    return y


class NativePacketKey:
    """One direction's expanded keys, in memory that cffi owns."""

    def __init__(self, E: Buffer, H: Buffer) -> None:
        self._key = ffi.new("struct packet_key *")
        lib.packet_key_init(self._key, _view(E), _view(H))

    def seal_many(self, number: int, plaintext: Buffer) -> bytes:
        count = -(-len(plaintext) // MESSAGE_MAX)
        assert count > 0
        packets = bytearray(count * PACKET_BYTES)
        lib.packet_seal_many(self._key, number, _view(plaintext), len(plaintext), _view(packets))
        return bytes(packets)

    def open_many(self, number: int, packets: Buffer) -> tuple[bytes, int, str | None]:
        count, rest = divmod(len(packets), PACKET_BYTES)
        assert rest == 0
        if count == 0:
            return b"", 0, None
        plaintext = bytearray(count * MESSAGE_MAX)
        length, opened = ffi.new("size_t *"), ffi.new("size_t *")
        status = lib.packet_open_many(
            self._key, number, _view(packets), count, _view(plaintext), length, opened
        )
        return bytes(memoryview(plaintext)[: length[0]]), opened[0], FAULTS[status]

    def wipe(self) -> None:
        lib.packet_key_wipe(self._key)


packet_key = NativePacketKey
