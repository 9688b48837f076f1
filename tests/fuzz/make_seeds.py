"""Write the seed corpus of ``fuzz_open.c`` from the protocol's test vectors.

    python tests/fuzz/make_seeds.py DIRECTORY

Every packet of the vectors, good and bad, becomes an input of the mode RAW with its right key and
number, so that the fuzzer starts with packets that open; batches of the mode SEALED, one for each
kind of mutation and place in the batch, lead it behind the tag.  The layouts are told in
``fuzz_open.c``.
"""

import json
import struct
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "vectors.json"

RAW, SEALED = 0, 1
KERNELS = ((0, 0), (1, 1), (2, 2), (3, 4), (5, 4))  # of SHA-256 and AES-256-CTR
FLIP, EXCHANGE, REPEAT, FORGE_LENGTH = range(4)


def recipe(mode: int, kernels: tuple[int, int], number: int, E: str, H: str) -> bytes:
    header = struct.pack(">BBBQ", mode, *kernels, number)
    return header + bytes.fromhex(E) + bytes.fromhex(H)


def mutation(kind: int, packet: int, argument: bytes) -> bytes:
    return struct.pack(">BB4s", kind, packet, argument)


def raw_seeds(vectors: dict) -> Iterator[tuple[str, bytes]]:
    for i, case in enumerate(vectors["cases"]):
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
    first = vectors["cases"][0]
    rejected = [packet for name, packet in vectors["rejection"].items() if "_pkt" in name]
    for j, packet in enumerate(rejected):
        header = recipe(RAW, KERNELS[0], 0, first["E_C"], first["H_C"])
        yield f"rejection-{j}", header + bytes.fromhex(packet)


def sealed_seeds(vectors: dict) -> Iterator[tuple[str, bytes]]:
    first = vectors["cases"][0]
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
    lengths = (1, 1023, 1024, 1025, 2 * 1024 + 7, 17 * 1024 + 1)
    for n, ((name, mutations), length) in enumerate(product(lists.items(), lengths)):
        header = recipe(SEALED, KERNELS[n % len(KERNELS)], 2**32 - 9, first["E_C"], first["H_C"])
        changes = b"".join(mutation(*m) for m in mutations)
        text = bytes(i % 251 for i in range(length))
        yield f"{name}-{length}", header + bytes([len(mutations)]) + changes + text


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    vectors = json.loads(VECTORS.read_text())
    for name, data in (*raw_seeds(vectors), *sealed_seeds(vectors)):
        (directory / name).write_bytes(data)


if __name__ == "__main__":
    main()
