"""The back end without compiled code of ours: hashlib, hmac and pycryptodome.

It is the readable reference and serves where the extension cannot be built.  Secrets leave copies
in immutable objects of those libraries, which only the interpreter's reuse of memory erases.
"""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import mmap
import os
import sys
import weakref

try:
    from Crypto.Cipher import AES
    from Crypto.Math.Numbers import Integer
except ImportError:  # as Debian calls it
    from Cryptodome.Cipher import AES  # type: ignore[import-not-found,no-redef]
    from Cryptodome.Math.Numbers import Integer  # type: ignore[import-not-found,no-redef]

from spiped.crypto.backend import Buffer, wipe
from spiped.crypto.group14 import EXPONENT_BASE, GENERATOR, P
from spiped.crypto.sizes import CIPHERTEXT_BYTES, GROUP_BYTES, KEY_BYTES, MESSAGE_MAX, PACKET_BYTES

# The mode's module is imported at its first use, for which a worker may lack the file system.
AES.new(bytes(32), AES.MODE_CTR, nonce=bytes(8))

name = "pure"
locked_per_connection = 0  # Python's objects cannot be told where to be

PR_SET_DUMPABLE = 4  # prctl(2)

# loads the mode now: later, its file may be out of reach
AES.new(bytes(KEY_BYTES), AES.MODE_CTR, nonce=bytes(8))


def random_secret(length: int) -> bytearray:
    return bytearray(os.urandom(length))


def forbid_dumps() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


_pages: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()  # with a secret each
_unlocked: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()  # those that may be swapped out


def secret_memory(length: int) -> memoryview:
    assert length <= mmap.PAGESIZE
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_DONTDUMP"):
        page.madvise(mmap.MADV_DONTDUMP)
    _pages.add(page)
    _lock(page)
    return memoryview(page)[:length]  # keeps the page, which the system erases in the end


def _lock(page: mmap.mmap) -> None:
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    if ctypes.CDLL(None).mlock(ctypes.c_void_p(address), ctypes.c_size_t(len(page))) != 0:
        _unlocked.add(page)


def lock_secrets() -> None:
    for page in _pages:
        _lock(page)


def secrets_are_locked() -> bool:
    return not _unlocked


def wipe_secrets() -> None:
    for page in _pages:
        page[:] = bytes(len(page))


def sha256(data: Buffer) -> bytearray:
    return bytearray(hashlib.sha256(data).digest())


def hmac_sha256(key: Buffer, data: Buffer) -> bytearray:
    return bytearray(hmac.digest(key, data, "sha256"))


def equal(a: Buffer, b: Buffer) -> bool:
    return hmac.compare_digest(a, b)


def _power(base: Integer, x: Buffer) -> bytearray:
    # constant time if this is pycryptodome's own arithmetic in C, but it may be another library's
    exponent = Integer(EXPONENT_BASE) + Integer.from_bytes(bytes(x))
    return bytearray(pow(base, exponent, Integer(P)).to_bytes(GROUP_BYTES))


def power_of_generator(x: Buffer) -> bytearray:
    return _power(Integer(GENERATOR), x)


def power(base: Buffer, x: Buffer) -> bytearray:
    return _power(Integer.from_bytes(bytes(base)), x)


class PurePacketKey:
    """One direction's keys; `hmac` offers no expanded form, so they are kept as they came."""

    def __init__(self, E: Buffer, H: Buffer) -> None:
        self._E = bytearray(E)
        self._H = bytearray(H)

    def _crypt(self, number: int, data: Buffer) -> bytes:
        nonce = number.to_bytes(8, "big")  # the block counter fills the other half
        return AES.new(self._E, AES.MODE_CTR, nonce=nonce, initial_value=0).encrypt(data)

    def _tag(self, number: int, ciphertext: bytes) -> bytes:
        return hmac.digest(self._H, ciphertext + number.to_bytes(8, "big"), "sha256")

    def seal_many(self, number: int, plaintext: Buffer) -> bytes:
        assert len(plaintext) > 0
        packets = []
        for start in range(0, len(plaintext), MESSAGE_MAX):
            message = bytes(plaintext[start : start + MESSAGE_MAX])
            padded = message.ljust(MESSAGE_MAX, b"\0") + len(message).to_bytes(4, "big")
            ciphertext = self._crypt(number, padded)
            packets.append(ciphertext + self._tag(number, ciphertext))
            number += 1
        return b"".join(packets)

    def open_many(self, number: int, packets: Buffer) -> tuple[bytes, int, str | None]:
        assert len(packets) % PACKET_BYTES == 0
        messages: list[bytes] = []
        for start in range(0, len(packets), PACKET_BYTES):
            packet = bytes(packets[start : start + PACKET_BYTES])
            ciphertext, tag = packet[:CIPHERTEXT_BYTES], packet[CIPHERTEXT_BYTES:]
            if not equal(tag, self._tag(number, ciphertext)):
                return b"".join(messages), len(messages), "bad tag"
            padded = self._crypt(number, ciphertext)
            length = int.from_bytes(padded[MESSAGE_MAX:], "big")
            if not 1 <= length <= MESSAGE_MAX:
                return b"".join(messages), len(messages), "bad length"
            messages.append(padded[:length])
            number += 1
        return b"".join(messages), len(messages), None

    def wipe(self) -> None:
        wipe(self._E, self._H)


packet_key = PurePacketKey
