"""SHA-256: every kernel agrees with the standard, with hashlib, and keeps to its buffers."""

import hashlib
import itertools
import struct

import pytest

from spiped._native import ffi, lib
from tests.native.guarded import BATCH_SIZES, SIDES, Guarded, guarded, pattern, placements

pytestmark = pytest.mark.usefixtures("sha256_kernel")

# FIPS 180-2, appendix B, and NIST's "Examples with intermediate values": the messages with one
# and two blocks, the million a's, and the empty message.
FIPS_180 = {
    "empty": (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    "one block": (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    "two blocks": (
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
    "112 bytes": (
        b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
        b"hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    ),
    "a million a's": (
        b"a" * 1_000_000,
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    ),
}

INITIAL = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip


def sha256(data: Guarded) -> bytes:
    digest = Guarded(32, "end")
    lib.sha256(data.pointer, data.size, digest.pointer)
    return digest.read()


def padded(message: bytes) -> bytes:
    """Return the message with the padding of FIPS 180-4, 5.1.1."""
    return message + b"\x80" + bytes(-(len(message) + 9) % 64) + struct.pack(">Q", 8 * len(message))


@pytest.mark.parametrize(("message", "digest"), FIPS_180.values(), ids=FIPS_180.keys())
def test_official_vectors(message: bytes, digest: str) -> None:
    for side in SIDES:
        assert sha256(guarded(message, side)).hex() == digest


def test_every_length_around_the_block_boundaries() -> None:
    for length in range(260):
        message = pattern(length)
        for side in SIDES:
            assert sha256(guarded(message, side)) == hashlib.sha256(message).digest(), length


@pytest.mark.parametrize("count", BATCH_SIZES)
@pytest.mark.parametrize("blocks", [1, 2, 17])
def test_many_messages(count: int, blocks: int) -> None:
    """Messages of `blocks` blocks, padding included, at every stride and place that matters."""
    size = 64 * blocks
    for (side, gap), slack in itertools.product(placements(), (0, 36)):
        stride = size + slack
        # Cut from one pattern, so that no two messages are equal.
        source = pattern(count * size)
        messages = [source[i * size : (i + 1) * size - 9] for i in range(count)]
        data = bytes(slack).join(padded(message) for message in messages)
        buffer = guarded(data, side, gap)
        # The states are uint32_t: aligned to 4, flush against the same side.
        states = Guarded(32 * count, side).write(struct.pack("=8I", *INITIAL) * count)
        lib.sha256_compress_many(
            ffi.cast("uint32_t (*)[8]", states.address), buffer.pointer, stride, blocks, count
        )
        found = struct.unpack(f"={8 * count}I", states.read())
        expected = b"".join(hashlib.sha256(message).digest() for message in messages)
        assert struct.pack(f">{8 * count}I", *found) == expected, (side, gap, slack)
        assert buffer.read() == data


def test_nothing_to_do() -> None:
    """No blocks, or no messages: the states stay as they are and no data is read."""
    states = Guarded(64, "end").write(bytes(range(64)))
    nowhere = Guarded(0, "start").pointer
    for blocks, count in [(0, 2), (3, 0), (0, 0)]:
        lib.sha256_compress_many(
            ffi.cast("uint32_t (*)[8]", states.address), nowhere, 64, blocks, count
        )
        assert states.read() == bytes(range(64))
