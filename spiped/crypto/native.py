"""The back end in C: a thin wrapper of the extension, and the choice among its kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator

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


class Kernel(NamedTuple):
    """An entry of a primitive's table."""

    primitive: str
    name: str
    state: str
    selected: bool


def kernels() -> Iterator[Kernel]:
    """Every kernel of every primitive, in order of preference."""
    for p in range(lib.primitive_count()):
        primitive = ffi.string(lib.primitive_name(p)).decode()
        for k in range(lib.kernel_count(p)):
            yield Kernel(
                primitive,
                ffi.string(lib.kernel_name(p, k)).decode(),
                STATES[lib.kernel_state(p, k)],
                lib.kernel_selected(p) == k,
            )


def _allowed(restriction: str) -> list[str]:
    """The names in SPIPED_KERNELS (separated by commas), all of which must exist."""
    names = [name for name in restriction.split(",") if name]
    known = {kernel.name for kernel in kernels()}
    for name in names:
        if name not in known:
            raise OperatorError(f"SPIPED_KERNELS: no kernel is named {name}")
    return names


def select_kernels(restriction: str = "") -> list[str]:
    """Select the first kernel of each primitive that works; returns warnings.

    ``restriction`` names the kernels that may be used, separated by commas; the portable ones
    always may.  A kernel that disagrees with the portable one is passed over with a warning.
    """
    allowed = _allowed(restriction)
    warnings = []
    for p in range(lib.primitive_count()):
        for k in range(lib.kernel_count(p)):
            kernel = ffi.string(lib.kernel_name(p, k)).decode()
            if lib.kernel_state(p, k) != lib.KERNEL_AVAILABLE:
                continue
            if allowed and kernel != "portable" and kernel not in allowed:
                continue
            if lib.kernel_selftest(p, k):
                lib.kernel_select(p, k)
                break
            primitive = ffi.string(lib.primitive_name(p)).decode()
            warnings.append(f"kernel {primitive} {kernel} failed its self-test and is not used")
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
