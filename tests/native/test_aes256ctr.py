"""AES-256-CTR: every kernel against FIPS 197, SP 800-38A and another implementation, at lengths
and batch sizes that break its lanes, in buffers whose neighbouring bytes it must not touch."""

from functools import lru_cache

import pytest
from Crypto.Cipher import AES

from spiped._native import ffi, lib
from tests.native.guarded import BATCH_SIZES, Guarded, guarded, pattern, placements

# FIPS 197, C.3 and SP 800-38A, F.5.5
FIPS_KEY = bytes(range(32))
FIPS_BLOCK = bytes.fromhex("00112233445566778899aabbccddeeff")
FIPS_RESULT = bytes.fromhex("8ea2b7ca516745bfeafc49904b496089")
# The key of FIPS 197, A.3 and of SP 800-38A, F.5.5
KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")

LENGTHS = (1, 15, 16, 17, 1023, 1024, 1028)
NUMBER = 0x0123456789ABCDEF


def expand(secret: bytes):
    key = ffi.new("struct aes256_key *")
    lib.aes256_key_init(key, secret)
    return key


@lru_cache(maxsize=512)
def reference(secret: bytes, number: int, block: int, data: bytes) -> bytes:
    """One stream by pycryptodome, from its ECB mode: the counter is ours alone to get right."""
    count = -(-len(data) // 16)
    mask = 2**64 - 1
    counters = b"".join(
        (number & mask).to_bytes(8, "big") + ((block + i) & mask).to_bytes(8, "big")
        for i in range(count)
    )
    keystream = AES.new(secret, AES.MODE_ECB).encrypt(counters)
    return bytes(a ^ b for a, b in zip(data, keystream, strict=False))


def crypt(secret: bytes, number: int, block: int, data: bytes) -> bytes:
    """One stream by the selected kernel."""
    out = ffi.new("uint8_t[]", len(data))
    lib.aes256ctr_many(expand(secret), number, block, data, 0, out, 0, len(data), 1)
    return bytes(out)


def lay_out(streams: list[bytes], stride: int, gap: bytes) -> bytes:
    """The streams at their strides, with ``gap`` repeated between them."""
    between = (gap * stride)[: stride - len(streams[0])]
    return between.join(streams)


def test_key_expansion():
    """FIPS 197, A.3: the words that are easiest to get wrong, and the last ones."""
    key = expand(KEY)  # which owns the memory
    words = bytes(ffi.buffer(key.round))
    assert len(words) == 60 * 4
    expected = {
        0: "603deb10",
        7: "0914dff4",
        8: "9ba35411",  # RotWord, SubWord, Rcon
        12: "a8b09c1a",  # SubWord alone
        16: "d59aecb8",
        20: "b5a9328a",
        56: "fe4890d1",
        57: "e6188d0b",
        58: "046df344",
        59: "706c631e",
    }
    assert {i: words[4 * i : 4 * i + 4].hex() for i in expected} == expected


def test_key_expansion_of_every_byte_value():
    """Each input of the S-box, in each position of a word: the expanded key must encrypt right."""
    for value in range(256):
        for secret in (bytes([value]) * 32, bytes((value + 7 * i) % 256 for i in range(32))):
            assert crypt(secret, 1, 2, bytes(16)) == reference(secret, 1, 2, bytes(16))


def test_fips_197_block(aes256ctr_kernel):
    number, block = (int.from_bytes(half, "big") for half in (FIPS_BLOCK[:8], FIPS_BLOCK[8:]))
    assert crypt(FIPS_KEY, number, block, bytes(16)) == FIPS_RESULT
    # The same block in every lane, wherever it falls.
    for lane in range(64):
        keystream = crypt(FIPS_KEY, number, block - lane, bytes(16 * 64))
        assert keystream[16 * lane : 16 * lane + 16] == FIPS_RESULT


def test_sp_800_38a(aes256ctr_kernel):
    """F.5.5, CTR-AES256.Encrypt: four blocks from the counter f0f1...ff on."""
    plaintext = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    ciphertext = bytes.fromhex(
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )
    number, block = 0xF0F1F2F3F4F5F6F7, 0xF8F9FAFBFCFDFEFF
    assert crypt(KEY, number, block, plaintext) == ciphertext
    assert crypt(KEY, number, block, ciphertext) == plaintext


@pytest.mark.parametrize("length", LENGTHS)
def test_batches(aes256ctr_kernel, length):
    """Batch sizes, alignments, guard pages; from one buffer to another and in place."""
    places = list(placements())
    in_stride, out_stride = length + 5, length + 36
    for n, count in enumerate(BATCH_SIZES):
        data = pattern(length * count)
        plain = [data[i * length : (i + 1) * length] for i in range(count)]
        secret = pattern(32 + n)[n:]
        key = expand(secret)
        expected = [reference(secret, NUMBER + i, 0, plain[i]) for i in range(count)]
        # All placements for the small batches; for the large ones, a different few each time.
        for side, gap in places if count <= 9 else places[n % 5 :: 5]:
            source = guarded(lay_out(plain, in_stride, b"\x11"), side, gap)
            target = guarded(bytes((count - 1) * out_stride + length), side, (gap * 7) % 16)
            lib.aes256ctr_many(
                key, NUMBER, 0, source.pointer, in_stride, target.pointer, out_stride, length, count
            )
            assert target.read() == lay_out(expected, out_stride, b"\0")
            assert source.read() == lay_out(plain, in_stride, b"\x11")

            lib.aes256ctr_many(
                key, NUMBER, 0, source.pointer, in_stride, source.pointer, in_stride, length, count
            )
            assert source.read() == lay_out(expected, in_stride, b"\x11")


def test_every_length(aes256ctr_kernel):
    key, data = expand(KEY), pattern(3 * 600)
    for length in range(1, 600):
        plain = [data[i * length : (i + 1) * length] for i in range(3)]
        target = Guarded(3 * length, "end")
        lib.aes256ctr_many(key, NUMBER, 0, data, length, target.pointer, length, length, 3)
        assert target.read() == b"".join(reference(KEY, NUMBER + i, 0, plain[i]) for i in range(3))


def test_nothing_to_do(aes256ctr_kernel):
    key = expand(KEY)
    target = Guarded(16, "end")
    before = target.read()
    lib.aes256ctr_many(key, 0, 0, before, 16, target.pointer, 16, 0, 1)
    lib.aes256ctr_many(key, 0, 0, before, 16, target.pointer, 16, 16, 0)
    assert target.read() == before


def test_one_input_for_all_streams(aes256ctr_kernel):
    """A stride of 0, as the length trailers of a batch of full packets use it."""
    key = expand(KEY)
    for length in (4, 16, 300):
        for count in BATCH_SIZES:
            data = guarded(pattern(length), "end")
            target = guarded(bytes((count - 1) * 1060 + length), "end")
            lib.aes256ctr_many(
                key, NUMBER, 64, data.pointer, 0, target.pointer, 1060, length, count
            )
            expected = [reference(KEY, NUMBER + i, 64, pattern(length)) for i in range(count)]
            assert target.read() == lay_out(expected, 1060, b"\0")


@pytest.mark.parametrize("short_of_carry", [1, 2, 7, 8, 15, 16, 17, 40])
@pytest.mark.parametrize("bit", [8, 16, 32, 63, 64])
def test_carries(aes256ctr_kernel, bit, short_of_carry):
    """Number and block index are 64-bit integers that do not run into each other."""
    start = 2**bit - short_of_carry
    data = pattern(1028)
    assert crypt(KEY, NUMBER, start, data) == reference(KEY, NUMBER, start, data)
    out = ffi.new("uint8_t[]", 50 * 20)
    lib.aes256ctr_many(expand(KEY), start, 2**64 - 1, data, 20, out, 20, 20, 50)
    assert bytes(out) == b"".join(
        reference(KEY, start + i, 2**64 - 1, data[i * 20 : (i + 1) * 20]) for i in range(50)
    )


def test_unaligned_block_offset(aes256ctr_kernel):
    """Starting at any block gives the same bytes as starting at block 0."""
    data = pattern(1028)
    whole = crypt(KEY, NUMBER, 0, data)
    for block in range(65):
        assert crypt(KEY, NUMBER, block, data[16 * block :]) == whole[16 * block :]
