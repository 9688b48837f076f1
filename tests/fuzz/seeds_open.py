"""The seed corpus of ``fuzz_open.c``, from the protocol's test vectors.

Every packet of the vectors, good and bad, becomes an input of the mode RAW with its right key and
number, so that the fuzzer starts with packets that open; batches of the mode SEALED, one for each
kind of mutation and place in the batch, lead it behind the tag.  The layouts are told in
``fuzz_open.c``.
"""

import struct
from collections.abc import Iterator
from itertools import product

from tests.helpers import VECTORS

RAW, SEALED = 0, 1
KERNELS = ((0, 0), (1, 1), (2, 2), (3, 4), (4, 0), (6, 4))  # of SHA-256 and AES-256-CTR
TEXT = bytes(range(31))
FLIP, EXCHANGE, REPEAT, FORGE_LENGTH = range(4)


def recipe(mode: int, kernels: tuple[int, int], number: int, E: str, H: str) -> bytes:
    header = struct.pack(">BBBQ", mode, *kernels, number)
    return header + bytes.fromhex(E) + bytes.fromhex(H)


def mutation(kind: int, packet: int, argument: bytes) -> bytes:
    return struct.pack(">BB4s", kind, packet, argument)


def raw_seeds() -> Iterator[tuple[str, bytes]]:
    for i, case in enumerate(VECTORS["cases"]):
        for j, packet in enumerate(case["packets"]):
            side = {"C->S": "C", "S->C": "S"}[packet["direction"]]
            header = recipe(
                RAW,
                KERNELS[j % len(KERNELS)],
                packet["number"],
                case[f"E_{side}"],
                case[f"H_{side}"],
            )
            yield f"packet-{i}-{j}", header + bytes.fromhex(packet["packet"])
    first = VECTORS["cases"][0]
    rejected = [packet for name, packet in VECTORS["rejection"].items() if "_pkt" in name]
    for j, packet in enumerate(rejected):
        header = recipe(RAW, KERNELS[0], 0, first["E_C"], first["H_C"])
        yield f"rejection-{j}", header + bytes.fromhex(packet)


def sealed_seeds() -> Iterator[tuple[str, bytes]]:
    first = VECTORS["cases"][0]
    lists = {
        "intact": [],
        "flip": [(FLIP, 1, b"\x02\x00\x01\x00")],
        "flip-tag": [(FLIP, 0, b"\x04\x23\x80\x00")],
        "exchange": [(EXCHANGE, 0, b"\x01\x00\x00\x00")],
        "repeat": [(REPEAT, 0, b"\x01\x00\x00\x00")],
        "length-0": [(FORGE_LENGTH, 1, b"\x00\x00\x00\x00")],
        "length-17": [(FORGE_LENGTH, 0, b"\x00\x00\x00\x11")],
        "length-1025": [(FORGE_LENGTH, 16, b"\x00\x00\x04\x01")],
        "short-then-flip": [(FORGE_LENGTH, 0, b"\x00\x00\x00\x01"), (FLIP, 1, b"\x00\x00\x01\x00")],
        "two-bad-lengths": [(FORGE_LENGTH, i, b"\xff\xff\xff\xff") for i in (1, 2)],
    }
    lengths = (1, 1023, 1024, 1025, 2 * 1024 + 7, 17 * 1024 + 1, 49 * 1024)
    for n, ((name, mutations), length) in enumerate(product(lists.items(), lengths)):
        header = recipe(SEALED, KERNELS[n % len(KERNELS)], 2**32 - 9, first["E_C"], first["H_C"])
        batch = struct.pack(">IBB", length - 1, 0, len(mutations))
        changes = b"".join(mutation(*m) for m in mutations)
        yield f"{name}-{length}", header + batch + changes + TEXT


def seeds() -> Iterator[tuple[str, bytes]]:
    yield from raw_seeds()
    yield from sealed_seeds()
