"""Packets as streams: any messages in any pieces, and any damage to them."""

from __future__ import annotations

import importlib
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiped.crypto import Backend
from spiped.crypto.sizes import CIPHERTEXT_BYTES, MESSAGE_MAX, PACKET_BYTES
from spiped.proto.packets import Opener, Sealer
from tests.conftest import backends

E, H = bytes(range(32)), bytes(range(100, 132))
OTHER = bytes(range(50, 82))

bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # it is the same every time
)

# lengths around everything that has an end: blocks, messages, groups of them
LENGTHS = [1, 2, 15, 16, 17, 1023, 1024, 1025, 2047, 2048, 2049, 16 * 1024, 17 * 1024 + 1]
lengths = st.one_of(st.sampled_from(LENGTHS), st.integers(1, 4000))
writes = st.lists(lengths, min_size=1, max_size=6)
cuts = st.lists(st.integers(1, 3 * PACKET_BYTES), min_size=1, max_size=20)


def text(length: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(length)


def messages_of(sizes: list[int]) -> list[bytes]:
    return [text(length, seed) for seed, length in enumerate(sizes)]


def open_in_pieces(opener: Opener, stream: bytes, pieces: list[int]) -> bytes:
    """Open a stream, cut as `pieces` say, over and over; stops at a fault."""
    opened = b""
    position = count = 0
    while position < len(stream) and opener.fault is None:
        size = pieces[count % len(pieces)]
        opened += opener.open(stream[position : position + size])
        position += size
        count += 1
    return opened


def packets_of(crypto: Backend, count: int) -> tuple[list[bytes], list[bytes]]:
    """Messages of different lengths, and each one's packet."""
    messages = messages_of([MESSAGE_MAX - 7 * i for i in range(count)])
    sealer = Sealer(crypto, E, H)
    return messages, [sealer.seal(message) for message in messages]


# Undamaged


@bounded
@given(sizes=writes, pieces=cuts)
def test_any_stream_in_any_pieces_arrives(
    crypto: Backend, sizes: list[int], pieces: list[int]
) -> None:
    sealer, opener = Sealer(crypto, E, H), Opener(crypto, E, H)
    messages = messages_of(sizes)
    stream = b"".join(map(sealer.seal, messages))
    assert len(stream) == PACKET_BYTES * sum(-(-length // MESSAGE_MAX) for length in sizes)
    assert open_in_pieces(opener, stream, pieces) == b"".join(messages)
    assert opener.fault is None
    assert not opener.inside_packet
    assert opener.number == sealer.number == len(stream) // PACKET_BYTES


@bounded
@given(sizes=writes, pieces=cuts)
def test_both_back_ends_make_the_same_packets(sizes: list[int], pieces: list[int]) -> None:
    if len(backends()) < 2:
        pytest.skip("this run is about one back end")
    native, pure = (importlib.import_module(f"spiped.crypto.{name}") for name in backends())
    sealers = [Sealer(crypto, E, H) for crypto in (native, pure)]
    for message in messages_of(sizes):
        first, second = (sealer.seal(message) for sealer in sealers)
        assert first == second


def test_messages_come_out_as_soon_as_their_packet_is_whole(crypto: Backend) -> None:
    (message,), (packet,) = packets_of(crypto, 1)
    opener = Opener(crypto, E, H)
    for position in range(PACKET_BYTES - 1):
        assert opener.open(packet[position : position + 1]) == b""
        assert opener.inside_packet
    assert opener.open(packet[-1:]) == message
    assert not opener.inside_packet


@pytest.mark.parametrize("number", [2**8 - 2, 2**32 - 2, 2**63, 2**64 - 3])
def test_numbers_of_any_size_are_counted_on(crypto: Backend, number: int) -> None:
    sealer, opener = Sealer(crypto, E, H), Opener(crypto, E, H)
    sealer.number = opener.number = number
    message = text(2 * MESSAGE_MAX + 5, 1)
    assert opener.open(sealer.seal(message)) == message
    assert opener.number == number + 3


def test_nothing_of_a_message_shows(crypto: Backend) -> None:
    """And equal messages make different packets."""
    sealer = Sealer(crypto, E, H)
    message = bytes(MESSAGE_MAX)
    first, second = sealer.seal(message), sealer.seal(message)
    assert first != second
    assert first.count(0) < 50
    assert len(sealer.seal(b"x")) == PACKET_BYTES


# Damaged


@bounded
@given(
    count=st.integers(1, 20),
    victim=st.integers(0, 19),
    offset=st.integers(0, PACKET_BYTES - 1),
    mask=st.integers(1, 255),
    pieces=cuts,
)
def test_any_damage_delivers_exactly_what_came_before_it(
    crypto: Backend, count: int, victim: int, offset: int, mask: int, pieces: list[int]
) -> None:
    messages, packets = packets_of(crypto, count)
    victim %= count
    damaged = bytearray(packets[victim])
    damaged[offset] ^= mask
    packets[victim] = bytes(damaged)
    opener = Opener(crypto, E, H)
    assert open_in_pieces(opener, b"".join(packets), pieces) == b"".join(messages[:victim])
    assert str(opener.fault) == "bad tag"
    assert opener.number == victim


def test_every_byte_of_a_packet_is_protected(crypto: Backend) -> None:
    messages, packets = packets_of(crypto, 2)
    for offset in range(PACKET_BYTES):
        damaged = bytearray(packets[1])
        damaged[offset] ^= 1 << offset % 8
        opener = Opener(crypto, E, H)
        assert opener.open(packets[0] + damaged) == messages[0]
        assert opener.fault is not None


@bounded
@given(order=st.lists(st.integers(0, 5), min_size=1, max_size=8), pieces=cuts)
def test_packets_are_taken_in_their_order_only(
    crypto: Backend, order: list[int], pieces: list[int]
) -> None:
    """Repeated, exchanged, dropped: whatever is not the next one is refused."""
    messages, packets = packets_of(crypto, 6)
    opener = Opener(crypto, E, H)
    opened = open_in_pieces(opener, b"".join(packets[i] for i in order), pieces)
    good = 0
    while good < len(order) and order[good] == good:
        good += 1
    assert opened == b"".join(messages[:good])
    assert (opener.fault is None) == (good == len(order))
    assert opener.number == good


@pytest.mark.parametrize("keys", [(OTHER, H), (E, OTHER), (H, E)], ids=["E", "H", "both"])
def test_packets_of_other_keys_are_refused(crypto: Backend, keys: tuple[bytes, bytes]) -> None:
    packet = Sealer(crypto, *keys).seal(b"x" * 500)
    opener = Opener(crypto, E, H)
    assert opener.open(packet) == b""
    assert str(opener.fault) == ("bad length" if keys[1] == H else "bad tag")


@pytest.mark.parametrize("length", [0, MESSAGE_MAX + 1, 2**16, 2**31, 2**32 - 1])
def test_an_authentic_packet_of_an_impossible_length_is_refused(
    crypto: Backend, length: int
) -> None:
    messages, packets = packets_of(crypto, 2)
    ciphertext = bytearray(packets[1][:CIPHERTEXT_BYTES])
    trailer = int.from_bytes(ciphertext[-4:], "big") ^ len(messages[1]) ^ length
    ciphertext[-4:] = trailer.to_bytes(4, "big")
    tag = crypto.hmac_sha256(H, bytes(ciphertext) + (1).to_bytes(8, "big"))
    opener = Opener(crypto, E, H)
    assert opener.open(packets[0] + ciphertext + tag + packets[1]) == messages[0]
    assert str(opener.fault) == "bad length"


def test_nothing_is_opened_behind_a_fault(crypto: Backend) -> None:
    _, packets = packets_of(crypto, 2)
    opener = Opener(crypto, E, H)
    opener.open(packets[1])
    assert opener.fault is not None
    with pytest.raises(AssertionError):
        opener.open(packets[0])


def test_keys_are_copied_and_can_be_erased(crypto: Backend) -> None:
    mine = bytearray(E), bytearray(H)
    sealer = Sealer(crypto, *mine)
    for key in mine:
        key[:] = bytes(32)
    packet = sealer.seal(b"x")
    assert packet == Sealer(crypto, E, H).seal(b"x")
    opener = Opener(crypto, E, H)
    for machine in (sealer, opener):
        machine.wipe()
    assert opener.open(packet) == b""
    assert opener.fault is not None
