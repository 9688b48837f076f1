"""Packets: the vectors, all kernel combinations, and every way in which a packet can be bad.

``reference_seal`` is the format in five lines of another implementation.  What open must
never do (deliver something unverified, leave something behind, write too far) is tested for each
position in a batch.
"""

import hashlib
import hmac
import json
from itertools import pairwise
from pathlib import Path

import pytest
from Crypto.Cipher import AES

from spiped._native import ffi, lib
from tests.native.guarded import BATCH_SIZES, Guarded, guarded, pattern

MESSAGE = 1024
CIPHERTEXT = 1028
PACKET = 1060

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vectors.json").read_text())
PACKETS = [
    pytest.param(case, packet, id=f"{case['name']}-{packet['direction']}-"
                 f"{packet['number']}-{packet['length']}")
    for case in VECTORS["cases"]
    for packet in case["packets"]
]  # fmt: skip

E, H = pattern(64)[:32], pattern(64)[32:]
NUMBER = 0xFFFFFFF0  # a carry out of 32 bits within the first group of packets


def expand(E: bytes, H: bytes):
    key = ffi.new("struct packet_key *")
    lib.packet_key_init(key, E, H)
    return key


KEY = expand(E, H)


def reference_seal(E: bytes, H: bytes, number: int, message: bytes, length: int | None = None):
    """One packet; ``length`` is what its trailer claims, ``message`` what precedes the padding."""
    length = len(message) if length is None else length
    trailer = length.to_bytes(4, "big")
    number_bytes = (number % 2**64).to_bytes(8, "big")
    cipher = AES.new(E, AES.MODE_CTR, nonce=number_bytes, initial_value=0)
    ciphertext = cipher.encrypt(message.ljust(MESSAGE, b"\0") + trailer)
    return ciphertext + hmac.digest(H, ciphertext + number_bytes, "sha256")


def reference_seal_all(data: bytes, number: int) -> list[bytes]:
    messages = [data[i : i + MESSAGE] for i in range(0, len(data), MESSAGE)]
    return [reference_seal(E, H, number + i, message) for i, message in enumerate(messages)]


def seal(key, number: int, plaintext: bytes, side: str = "end", gap: int = 0) -> bytes:
    count = -(-len(plaintext) // MESSAGE)
    source = guarded(plaintext, side, gap)
    packets = Guarded(count * PACKET, side, gap)
    sealed = lib.packet_seal_many(
        key, number % 2**64, source.pointer, len(plaintext), packets.pointer
    )
    assert sealed == count
    assert source.read() == plaintext
    return packets.read()


def open_(
    key, number: int, packets: bytes, side: str = "end", gap: int = 0
) -> tuple[int, int, bytes]:
    """Return status, number of good packets and what they carried.  All that the call may write
    of its buffer, and it may write nothing else, is *length bytes."""
    count = len(packets) // PACKET
    source = guarded(packets, side, gap)
    target = guarded(b"\x5a" * (count * MESSAGE), side, gap)
    length, opened = ffi.new("size_t *", 99), ffi.new("size_t *", 99)
    status = lib.packet_open_many(
        key, number % 2**64, source.pointer, count, target.pointer, length, opened
    )
    assert source.read() == packets
    plaintext = target.read()
    rest = plaintext[length[0] :]
    assert rest == b"\x5a" * len(rest)
    assert opened[0] <= count
    assert length[0] <= opened[0] * MESSAGE
    return status, opened[0], plaintext[: length[0]]


def corrupt(packet: bytes, offset: int, mask: int = 0x01) -> bytes:
    return packet[:offset] + bytes([packet[offset] ^ mask]) + packet[offset + 1 :]


# The vectors


def keys_of(case: dict, direction: str):
    side = {"C->S": "C", "S->C": "S"}[direction]
    return expand(bytes.fromhex(case[f"E_{side}"]), bytes.fromhex(case[f"H_{side}"]))


@pytest.mark.parametrize(("case", "packet"), PACKETS)
def test_vectors(aes256ctr_kernel, sha256_kernel, case, packet):
    key, number = keys_of(case, packet["direction"]), packet["number"]
    message = bytes.fromhex(VECTORS["messages"][str(packet["length"])])
    sealed = bytes.fromhex(packet["packet"])
    assert seal(key, number, message) == sealed
    assert open_(key, number, sealed) == (lib.PACKET_OK, 1, message)
    # Replayed, or as another direction's.
    assert open_(key, number + 1, sealed) == (lib.PACKET_BAD_TAG, 0, b"")
    other = keys_of(case, {"C->S": "S->C", "S->C": "C->S"}[packet["direction"]])
    assert open_(other, number, sealed) == (lib.PACKET_BAD_TAG, 0, b"")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("C->S_pkt0_length_0_validMAC_must_drop", "PACKET_BAD_LENGTH"),
        ("C->S_pkt0_length_1025_validMAC_must_drop", "PACKET_BAD_LENGTH"),
        ("C->S_pkt0_length_ffffffff_validMAC_must_drop", "PACKET_BAD_LENGTH"),
        ("C->S_pkt0_bad_mac_last_byte_must_drop", "PACKET_BAD_TAG"),
        ("C->S_pkt0_length1_nonzero_padding_upstream_ACCEPTS", "PACKET_OK"),
    ],
)
def test_rejections(aes256ctr_kernel, sha256_kernel, name, status):
    key = keys_of(VECTORS["cases"][0], "C->S")
    found, opened, plaintext = open_(key, 0, bytes.fromhex(VECTORS["rejection"][name]))
    assert found == getattr(lib, status)
    assert (opened, len(plaintext)) == ((1, 1) if found == lib.PACKET_OK else (0, 0))


def test_every_rejection_vector_is_tested():
    assert len([name for name in VECTORS["rejection"] if "_pkt" in name]) == 5


# Batches


@pytest.mark.parametrize("count", BATCH_SIZES)
def test_batches(aes256ctr_kernel, sha256_kernel, count):
    """Full and short last messages, misaligned, against a guard page on either side."""
    for last in (1, 13, 1023, 1024):
        data = pattern((count - 1) * MESSAGE + last)
        expected = b"".join(reference_seal_all(data, NUMBER))
        for side, gap in (("end", 0), ("start", 0), ("end", 3), ("start", 13)):
            assert seal(KEY, NUMBER, data, side, gap) == expected
            assert open_(KEY, NUMBER, expected, side, gap) == (lib.PACKET_OK, count, data)


def test_every_length(aes256ctr_kernel):
    data = pattern(MESSAGE)
    for length in range(1, MESSAGE + 1):
        packet = seal(KEY, length, data[:length])
        assert packet == reference_seal(E, H, length, data[:length])
        assert open_(KEY, length, packet) == (lib.PACKET_OK, 1, data[:length])


def test_short_messages_are_joined(aes256ctr_kernel, sha256_kernel):
    """A peer may send short packets anywhere; runs of full ones lie between them."""
    lengths = [1024] * 5 + [1, 1023, 17, 16, 1024, 1024, 500] + [1024] * 60 + [64] * 50 + [3]
    data = pattern(sum(lengths))
    ends = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    messages = [data[a:b] for a, b in pairwise(ends)]
    packets = b"".join(reference_seal(E, H, NUMBER + i, m) for i, m in enumerate(messages))
    assert open_(KEY, NUMBER, packets) == (lib.PACKET_OK, len(lengths), data)


@pytest.mark.parametrize("bit", [8, 16, 32, 48, 64])
def test_packet_number_carries(aes256ctr_kernel, sha256_kernel, bit):
    """Numbers are 64-bit and, were they ever to get there, start again behind the last."""
    number = 2**bit - 11
    data = pattern(20 * MESSAGE)
    packets = b"".join(reference_seal_all(data, number))
    assert seal(KEY, number, data) == packets
    assert open_(KEY, number, packets) == (lib.PACKET_OK, 20, data)


# Bad packets


@pytest.mark.parametrize("count", [1, 2, 3, 16, 47, 48, 49])
def test_bad_tag(aes256ctr_kernel, sha256_kernel, count):
    """Any byte of any packet changed: the ones before it are delivered, and nothing else."""
    data = pattern(count * MESSAGE - 7)
    packets = reference_seal_all(data, NUMBER)
    regions = {0, 1, 15, 16, 512, 1008, 1023, 1024, 1027, 1028, 1029, 1044, 1059}
    for position in {0, 1, count // 2, 47, 48, count - 2, count - 1} & set(range(count)):
        for offset in regions:
            bad = list(packets)
            bad[position] = corrupt(bad[position], offset, 1 << (offset % 8))
            assert open_(KEY, NUMBER, b"".join(bad)) == (
                lib.PACKET_BAD_TAG,
                position,
                data[: position * MESSAGE],
            )


def test_every_bit_of_the_tag_counts():
    packet = reference_seal(E, H, NUMBER, b"message")
    for offset in range(CIPHERTEXT, PACKET):
        for bit in range(8):
            bad = corrupt(packet, offset, 1 << bit)
            assert open_(KEY, NUMBER, bad) == (lib.PACKET_BAD_TAG, 0, b"")


@pytest.mark.parametrize("length", [0, 1025, 1028, 1060, 65536, 2**31, 2**32 - 1])
def test_bad_length(aes256ctr_kernel, sha256_kernel, length):
    """An authentic packet that claims what it cannot hold; nothing of it may show."""
    for count in (1, 2, 17, 48, 97):
        data = pattern(count * MESSAGE)
        packets = reference_seal_all(data, NUMBER)
        for position in {0, count // 2, 47, 48, count - 1} & set(range(count)):
            message = data[position * MESSAGE :][:MESSAGE]
            bad = list(packets)
            bad[position] = reference_seal(E, H, NUMBER + position, message, length)
            assert open_(KEY, NUMBER, b"".join(bad)) == (
                lib.PACKET_BAD_LENGTH,
                position,
                data[: position * MESSAGE],
            )


def test_the_first_fault_counts(aes256ctr_kernel, sha256_kernel):
    """Two faults in one group, in either order."""
    data = pattern(16 * MESSAGE)
    packets = reference_seal_all(data, NUMBER)
    for first in (0, 3, 8):
        second = first + 4
        tag_first, length_first = list(packets), list(packets)
        tag_first[first] = corrupt(packets[first], 700)
        tag_first[second] = reference_seal(E, H, NUMBER + second, b"", 0)
        length_first[first] = reference_seal(E, H, NUMBER + first, b"", 0)
        length_first[second] = corrupt(packets[second], 700)
        before = data[: first * MESSAGE]
        assert open_(KEY, NUMBER, b"".join(tag_first)) == (lib.PACKET_BAD_TAG, first, before)
        assert open_(KEY, NUMBER, b"".join(length_first)) == (lib.PACKET_BAD_LENGTH, first, before)


def test_order_matters(aes256ctr_kernel, sha256_kernel):
    """Exchanged, repeated and missing packets are bad tags at the place where it happens."""
    data = pattern(6 * MESSAGE)
    p = reference_seal_all(data, NUMBER)
    for order, good in (
        ([0, 2, 1, 3], 1),
        ([0, 1, 1, 2], 2),
        ([0, 1, 3], 2),
        ([1], 0),
    ):
        packets = b"".join(p[i] for i in order)
        assert open_(KEY, NUMBER, packets) == (lib.PACKET_BAD_TAG, good, data[: good * MESSAGE])


# Keys


def test_key_wipe():
    key = expand(E, H)
    assert bytes(ffi.buffer(key)).strip(b"\0")
    lib.packet_key_wipe(key)
    assert not bytes(ffi.buffer(key)).strip(b"\0")


def test_both_keys_matter():
    data = pattern(MESSAGE)
    packet = seal(KEY, 0, data)
    digest = hashlib.sha256(E).digest()
    assert open_(expand(E, digest), 0, packet)[0] == lib.PACKET_BAD_TAG
    # Without authentication of the key of the cipher, the length betrays a wrong one.
    assert open_(expand(digest, H), 0, packet)[0] == lib.PACKET_BAD_LENGTH
