"""HMAC-SHA256: every SHA-256 kernel agrees with RFC 4231, with the hmac module, and keeps to its
buffers."""

import hmac
import struct

import pytest

from spiped._native import ffi, lib
from tests.native.guarded import BATCH_SIZES, SIDES, Guarded, guarded, pattern, placements

pytestmark = pytest.mark.usefixtures("sha256_kernel")

PACKET_CIPHERTEXT, PACKET = 1028, 1060
KEY = bytes(range(1, 33))

# RFC 4231, section 4: key, data, HMAC-SHA-256.
RFC_4231 = {
    "case 1": (
        b"\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ),
    "case 2, a key shorter than the tag": (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    "case 3, key and data longer than a block together": (
        b"\xaa" * 20,
        b"\xdd" * 50,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ),
    "case 4, the same with another key": (
        bytes(range(0x01, 0x1A)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    "case 5, truncated to 128 bits": (
        b"\x0c" * 20,
        b"Test With Truncation",
        "a3b6167473100ee06e0c796c2955552b",
    ),
    "case 6, a key longer than a block": (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    "case 7, key and data longer than a block": (
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. "
        b"The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
}


def one(key: bytes, message: bytes, side: str) -> bytes:
    secret, data, tag = guarded(key, side), guarded(message, side), Guarded(32, side)
    lib.hmac_sha256(secret.pointer, len(key), data.pointer, len(message), tag.pointer)
    return tag.read()


def reference(message: bytes, number: int) -> bytes:
    return hmac.digest(KEY, message + struct.pack(">Q", number % 2**64), "sha256")


def expanded_key() -> "ffi.CData":
    key = ffi.new("struct hmac_sha256_key *")
    lib.hmac_sha256_key_init(key, KEY, len(KEY))
    return key


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("key", "data", "tag"), RFC_4231.values(), ids=RFC_4231.keys())
def test_official_vectors(key: bytes, data: bytes, tag: str, side: str) -> None:
    assert one(key, data, side).hex()[: len(tag)] == tag


def test_every_length_of_key_and_message() -> None:
    for length in range(200):
        key, message = pattern(length), pattern(2 * length)[length:]
        for side in SIDES:
            assert one(key, message, side) == hmac.digest(key, message, "sha256"), length
            assert one(key[:32], message, side) == hmac.digest(key[:32], message, "sha256")


@pytest.mark.parametrize("count", BATCH_SIZES)
@pytest.mark.parametrize("side", SIDES)
def test_packets_in_place(count: int, side: str) -> None:
    """Packets one behind the other, each tag written directly behind its ciphertext."""
    key, number = expanded_key(), 2**32 - 3
    for _, gap in placements():
        source = pattern(count * PACKET)
        packets = guarded(source, side, gap)
        tags = packets.pointer + PACKET_CIPHERTEXT
        lib.hmac_sha256_many(
            key, number, packets.pointer, PACKET, PACKET_CIPHERTEXT, count, tags, PACKET
        )
        expected = bytearray(source)
        for i in range(count):
            start, end = i * PACKET, i * PACKET + PACKET_CIPHERTEXT
            expected[end : end + 32] = reference(source[start:end], number + i)
        assert packets.read() == expected, gap


@pytest.mark.parametrize("count", BATCH_SIZES)
@pytest.mark.parametrize("side", SIDES)
def test_tags_apart(count: int, side: str) -> None:
    """Tags in a buffer of their own; the last message ends at the end of its buffer."""
    key = expanded_key()
    for _, gap in placements():
        source = pattern(count * PACKET - 32)
        messages, tags = guarded(source, side, gap), Guarded(count * 32, side, gap)
        lib.hmac_sha256_many(
            key, 7, messages.pointer, PACKET, PACKET_CIPHERTEXT, count, tags.pointer, 32
        )
        assert tags.read() == b"".join(
            reference(source[i * PACKET :][:PACKET_CIPHERTEXT], 7 + i) for i in range(count)
        )
        assert messages.read() == source


@pytest.mark.parametrize("side", SIDES)
def test_every_length_of_numbered_messages(side: str) -> None:
    """The final part takes one block or two; whole blocks come before it or do not.  The number
    carries from its low half into its high half, and wraps."""
    key = expanded_key()
    for length in range(200):
        for number in (2**32 - 1, 2**64 - 2):
            source = pattern(3 * length)
            messages, tags = guarded(source, side), Guarded(3 * 32, side)
            lib.hmac_sha256_many(key, number, messages.pointer, length, length, 3, tags.pointer, 32)
            assert tags.read() == b"".join(
                reference(source[i * length : (i + 1) * length], number + i) for i in range(3)
            ), length


def test_no_messages() -> None:
    nowhere = Guarded(0, "start").pointer
    lib.hmac_sha256_many(expanded_key(), 0, nowhere, PACKET, PACKET_CIPHERTEXT, 0, nowhere, 32)
