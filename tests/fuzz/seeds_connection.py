"""The seed corpus of ``fuzz_connection.c``: what the life of a connection is made of, in order.

Each seed is a program of acts, as ``fuzz_connection.c`` tells; their numbers are read from there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import product
from pathlib import Path

SOURCE = Path(__file__).with_name("fuzz_connection.c").read_text()


def enumerated(name: str) -> list[str]:
    """The names that an enumeration gives, in their order."""
    body = re.search(rf"^enum {name} {{(.*?)^}}", SOURCE, re.MULTILINE | re.DOTALL)
    assert body is not None
    without_comments = re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL)
    return re.findall(r"[A-Z_]+", without_comments)


WHAT = {name: number for number, name in enumerate(enumerated("what"))}
OPTION = {name: 1 << bit for bit, name in enumerate(enumerated("option"))}

PLAIN, CRYPT = 0, 1
ALL = 0xFFFF
AT_ONCE, UNTIL_IT_WAITS = 0, 1  # the timeouts of RUN
ROOMY = 7  # the capacity of both sockets is the largest


def act(
    what: str, number: int = 0, *, side: int = PLAIN, session: int = 0, extra: int = 0
) -> bytes:
    return struct.pack("<BBH", WHAT[what], session | side << 2 | extra << 3, number)


def opened(*options: str, capacity: int = ROOMY, window: int = 0, session: int = 0) -> bytes:
    """Begin a connection."""
    flags = sum(OPTION[option] for option in options)
    sizes = capacity | capacity << 3 | window << 6
    return act("OPEN", flags | sizes << 8, session=session)


def established(*options: str, capacity: int = ROOMY, session: int = 0) -> bytes:
    """Begin a connection and let it come to be relayed."""
    return opened(*options, capacity=capacity, session=session) + act(
        "SHAKE", session=session, extra=1
    )


RUN = act("RUN", UNTIL_IT_WAITS)
UP = act("FEED", 5000) + RUN + act("TAKE", ALL, side=CRYPT)
DOWN = act("SEAL", 5000) + act("FEED", ALL, side=CRYPT) + RUN + act("TAKE", ALL)


def handshakes() -> Iterator[tuple[str, bytes]]:
    by_hand = (act("RUN") + act("TAKE", ALL, side=CRYPT) + act("FEED", 300, side=CRYPT)) * 4
    for options in product(("", "SERVER"), ("", "STRONG"), ("", "PEER_STRONG")):
        wanted = [option for option in options if option]
        name = "-".join(wanted).lower() or "client"
        yield f"shake-{name}", established(*wanted) + UP + DOWN
        yield f"steps-{name}", opened(*wanted) + by_hand + act("RELAY") + UP
    for option in ("REQUIRE_PFS", "PEER_OUT_OF_RANGE", "PEER_REQUIRES_PFS"):
        yield f"refused-{option.lower()}", opened("SERVER", option) + act("SHAKE")
    for at in (3, 40, 310):
        bad = act("RUN") + act("FLIP", at, side=CRYPT) + act("SHAKE")
        yield f"not-the-key-{at}", opened("SERVER") + bad


def relays() -> Iterator[tuple[str, bytes]]:
    for crypt, plain, capacity in product(("", "CRYPT_UNIX"), ("", "PLAIN_UNIX"), (0, 3, 5, 7)):
        options = [option for option in (crypt, plain) if option]
        name = f"{'unix' if crypt else 'tcp'}-{'unix' if plain else 'tcp'}-{capacity}"
        start = established("SERVER", *options, capacity=capacity)
        yield f"both-ways-{name}", start + UP + DOWN + UP + DOWN
        ends = act("FINISH") + RUN + DOWN + act("FINISH", side=CRYPT) + RUN
        yield f"one-end-after-the-other-{name}", start + UP + ends
        for side, ending in product((PLAIN, CRYPT), ("RESET", "HANG_UP")):
            full = act("FEED", 9000) + act("SEAL", 6000) + act("FEED", ALL, side=CRYPT) + RUN
            end = act(ending, side=side) + act("RUN") + act("TAKE", ALL, side=not side) + RUN
            yield f"{ending.lower()}-{side}-{name}", start + full + end
        marks = act("FEED", 10) + act("MARK") + act("FEED", 5000) + RUN
        yield f"marks-{name}", start + marks + act("MARK", side=CRYPT) + DOWN


def damage() -> Iterator[tuple[str, bytes]]:
    start = established() + act("SEAL", 5000)
    hands = {
        "flip": act("FLIP", 1100, extra=3),
        "drop": act("DROP", 1060, extra=4),
        "drop-a-byte": act("DROP", 4239, extra=0),
        "insert": act("INSERT", 2120, extra=0),
        "repeat": act("REPEAT", 0x0100),
        "exchange": act("EXCHANGE", 0x0201),
        "reflect": UP + act("REFLECT", 1060, extra=4),
        "forge": act("FORGE", 1) + act("SEAL", 1000),
        "cut": b"",
    }
    for name, hand in hands.items():
        fed = act("FEED", ALL if name != "cut" else 3000, side=CRYPT)
        yield f"{name}", start + hand + fed + RUN + act("FINISH", side=CRYPT) + RUN
    other = established(session=1) + act("SEAL", 3000, session=1)
    yield "splice", start + other + act("SPLICE", 0x0001, extra=1) + act("FEED", ALL, side=CRYPT)


def moments() -> Iterator[tuple[str, bytes]]:
    start = established(capacity=3) + act("FEED", 9000)
    for calls in range(8):
        for what, side in (("FEED", PLAIN), ("TAKE", CRYPT), ("RESET", CRYPT), ("FINISH", PLAIN)):
            later = act("AFTER", calls) + act(what, 3000, side=side)
            yield f"{what.lower()}-after-{calls}", start + later + RUN + RUN
    for call in range(7):
        fails = act("FAULT", call | 0x100) + DOWN + act("FAULT", call | 0x200) + UP + act("FINISH")
        yield f"fault-{call}", start + fails + RUN
        yield f"fault-at-first-{call}", act("FAULT", call | 0x100) + established() + UP
    yield "drained", start + act("RESET") + RUN + act("TICK", 250) + RUN
    yield "cancelled", opened() + RUN + act("CANCEL") + RUN
    yield "aborted", start + opened(session=1) + act("ABORT_ALL") + act("RUN") + RUN
    yield "signals", act("SIGNAL", 1) + RUN + act("SIGNAL", 3, side=1) + RUN + established() + UP
    together = b"".join(established(session=i) + act("FEED", 9000, session=i) for i in range(4))
    yield "four-at-once", together + act("RUN") * 4 + act("ABORT_ALL")


def seeds() -> Iterator[tuple[str, bytes]]:
    yield from handshakes()
    yield from relays()
    yield from damage()
    yield from moments()
