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
TELL_CLEAN, SHARED, HIDE_LEFT = 16, 32, 64  # of serving

PLAIN, CRYPT = 0, 1
ALL = 0xFFFF
AT_ONCE, UNTIL_IT_WAITS = 0, 1  # the timeouts of RUN
BOUND = 3  # the timeouts of a pipe that has an address; it gives up the idle before the slow
ROOMY = 7  # the capacity of both sockets is the largest


def act(
    what: str, number: int = 0, *, side: int = PLAIN, session: int = 0, extra: int = 0
) -> bytes:
    return struct.pack("<BBH", WHAT[what], session | side << 2 | extra << 3, number)


def opened(*options: str, capacity: int = ROOMY, session: int = 0, timeouts: int = 0) -> bytes:
    """Begin a connection; ``TARGET_UNIX``: to such a socket."""
    flags = sum(OPTION[option] for option in options if option != "TARGET_UNIX")
    sizes = capacity | capacity << 3
    to = act("RETARGET", 0x0101) if "TARGET_UNIX" in options else b""
    return to + act("OPEN", flags | sizes << 8, session=session, extra=timeouts << 2)


def established(*options: str, capacity: int = ROOMY, session: int = 0, timeouts: int = 0) -> bytes:
    """Begin a connection and let it come to be relayed."""
    begun = opened(*options, capacity=capacity, session=session, timeouts=timeouts)
    return begun + act("SHAKE", session=session)


def served(*options: str, manner: int = 0, limits: int = 0, timeouts: int = 0) -> bytes:
    flags = sum(OPTION[option] for option in options) | manner
    return act("SERVE", flags | limits << 8, extra=timeouts)


RUN = act("RUN", UNTIL_IT_WAITS)
UP = act("FEED", 5000) + RUN + act("TAKE", ALL, side=CRYPT)
DOWN = act("SEAL", 5000) + act("FEED", ALL, side=CRYPT) + RUN + act("TAKE", ALL)


def handshakes() -> Iterator[tuple[str, bytes]]:
    by_hand = (act("RUN") + act("TAKE", ALL, side=CRYPT) + act("FEED", 300, side=CRYPT)) * 4
    for options in product(("", "SERVER"), ("", "STRONG"), ("", "PEER_STRONG")):
        wanted = [option for option in options if option]
        name = "-".join(wanted).lower() or "client"
        yield f"shake-{name}", established(*wanted) + UP + DOWN
        yield f"steps-{name}", opened(*wanted) + act("RUN") + act("ANSWER") + by_hand + UP
    for option in ("REQUIRE_PFS", "PEER_OUT_OF_RANGE", "PEER_REQUIRES_PFS"):
        yield f"refused-{option.lower()}", opened("SERVER", option) + act("SHAKE")
    for at in (3, 40, 310):
        bad = act("RUN") + act("FLIP", at, side=CRYPT) + act("SHAKE")
        yield f"not-the-key-{at}", opened("SERVER") + bad


def relays() -> Iterator[tuple[str, bytes]]:
    unix = ("", "ACCEPTED_UNIX"), ("", "TARGET_UNIX")
    for crypt, plain, capacity in product(*unix, (0, 3, 5, 7)):
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
        lingers = act("FEED", 9000) + RUN + act("SEAL", 2000) + act("HANG_UP") + RUN
        lingers += act("FEED", ALL, side=CRYPT) + RUN
        acknowledged = act("TAKE", ALL, side=CRYPT) + RUN
        yield f"lingers-{name}", start + lingers + act("TICK", 20) + RUN + acknowledged
        late = act("TICK", 205) + RUN + (act("TICK", 20) + RUN) * 3
        yield f"lingers-too-long-{name}", start + lingers + late
        yield f"lingers-and-fails-{name}", start + lingers + act("RESET", side=CRYPT) + RUN
        for calls in range(12):
            crossing = act("AFTER", calls) + act("FEED", ALL, side=CRYPT) + RUN
            gone = act("FEED", 900) + RUN + act("SEAL", 2000) + act("HANG_UP") + crossing
            yield f"lingers-{calls}-{name}", start + gone + acknowledged
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
    nonce = act("RUN") + act("ANSWER") + RUN + act("TAKE", ALL, side=CRYPT)
    mirror = act("DROP", 0, extra=7) * 2 + act("DROP", 0, extra=2)
    mirror += act("REFLECT", 0, extra=2) + act("FEED", 32, side=CRYPT) + RUN
    mirror += act("DROP", 0, extra=4) + act("REFLECT", 0, extra=7) + act("FEED", 288, side=CRYPT)
    yield "mirror", opened() + nonce + mirror + RUN
    other = established(session=1) + act("SEAL", 3000, session=1)
    yield "splice", start + other + act("SPLICE", 0x0001, extra=1) + act("FEED", ALL, side=CRYPT)


def moments() -> Iterator[tuple[str, bytes]]:
    start = established(capacity=3) + act("FEED", 9000)
    for calls in range(8):
        for what, side in (("FEED", PLAIN), ("TAKE", CRYPT), ("RESET", CRYPT), ("FINISH", PLAIN)):
            later = act("AFTER", calls) + act(what, 3000, side=side)
            yield f"{what.lower()}-after-{calls}", start + later + RUN + RUN
    for call in range(12):
        fails = act("FAULT", call | 0x100) + DOWN + act("FAULT", call | 0x200) + UP + act("FINISH")
        yield f"fault-{call}", start + fails + RUN
        yield f"fault-at-first-{call}", act("FAULT", call | 0x100) + established() + UP
    strong = b"".join(opened("SERVER", "STRONG", session=i) for i in range(3)) + act("RUN")
    proofs = (
        act("TAKE", ALL, side=CRYPT, session=i) + act("FEED", 320, side=CRYPT, session=i)
        for i in range(3)
    )
    reset = b"".join(act("RESET", side=CRYPT, session=i) for i in range(3))
    yield "reset-while-waiting-to-be-computed", strong + b"".join(proofs) + act("RUN") + reset + RUN
    yield "drained", start + act("RESET") + RUN + act("TICK", 250) + RUN
    yield "aborted", start + opened(session=1) + act("ABORT_ALL") + act("RUN") + RUN
    yield "signals", act("SIGNAL", 1) + RUN + act("SIGNAL", 3, side=1) + RUN + established() + UP
    together = b"".join(established(session=i) + act("FEED", 9000, session=i) for i in range(4))
    yield "four-at-once", together + act("RUN") * 4 + act("ABORT_ALL")


def accepting() -> Iterator[tuple[str, bytes]]:
    """Those who come to the listener, and those who have to wait or to go."""
    two = opened() + RUN + opened(session=1) + RUN
    four = b"".join(opened(session=i) for i in range(4)) + RUN
    later = act("TICK", 100) + RUN
    end = act("FINISH") + act("FINISH", side=CRYPT) + RUN
    yield "accepted", served() + established() + UP + DOWN + end
    yield "accepted-and-told", served("SERVER", manner=TELL_CLEAN) + established() + UP + end
    yield "accepted-on-the-server-side", served("SERVER", manner=SHARED) + four + act("SHAKE") + UP
    for how, manner in product(("FINISH", "RESET", "HANG_UP"), (0, HIDE_LEFT)):
        for role, side in (("", PLAIN), ("SERVER", CRYPT)):
            start = served(*[role] if role else [], manner=manner) + two
            left = act(how, side=side) + RUN
            heard = act("FEED", 40, side=CRYPT, session=1) + RUN
            failed = heard + act(how, side=side, session=1) + RUN
            yield f"left-{how.lower()}-{role.lower()}-{manner}", start + left + failed
    yield "limited", served(limits=1) + established() + two + later + end + RUN
    yield (
        "limited-by-others",
        served(limits=2) + act("OTHERS", 0x0102) + two + later + act("OTHERS"),
    )
    yield "too-many", served("SERVER", limits=0x08) + four + later
    yield "too-many-of-one", served("SERVER", limits=0x20) + four + later
    share = served(manner=SHARED) + four + opened(session=1) + RUN
    yield "more-than-a-share", share + act("TICK", 2) + RUN + act("SIGNAL", 1, side=1) + RUN
    yield "stolen", served() + opened() + act("AFTER", 0) + act("STEAL") + RUN + two
    yield "stopped", served() + two + act("STOP") + opened(session=2) + RUN + end
    for error in range(4):
        fails = act("FAULT", 7 | error << 8)
        yield f"accept-fails-{error}", served() + fails + two + later + RUN


def connecting() -> Iterator[tuple[str, bytes]]:
    """Targets that answer, refuse, or do not say anything."""
    three = act("RETARGET", 0x1803)  # INET, INET6, UNIX
    refused = act("RUN") + act("ANSWER", 2) + act("RUN")
    silent = act("RUN") + act("TICK", 70) + act("RUN")
    for role in ("", "SERVER"):
        options = [role] if role else []
        name = role.lower() or "client"
        proved = (act("TAKE", ALL, side=CRYPT) + act("FEED", 300, side=CRYPT) + RUN) * 2
        start = three + opened(*options) + RUN + proved
        yield f"refused-{name}", start + refused * 3
        yield f"silent-{name}", start + silent * 4
        yield f"the-second-{name}", start + refused + act("SHAKE") + UP
        yield f"the-last-{name}", start + silent * 2 + act("SHAKE") + DOWN
        yield f"crowded-{name}", act("CROWD", 1) + start + silent * 2 + act("CROWD") + silent
        yield f"retargeted-{name}", start + act("RETARGET", 1) + refused + act("SHAKE") + UP
        for call in (8, 9, 10):
            for error in range(4):
                fails = act("FAULT", call | error << 8)
                bound = opened(*options, timeouts=BOUND)
                yield f"fault-{name}-{call}-{error}", fails + bound + proved + refused + silent * 3
        again = act("FAULT", 8 | 3 << 8) + refused + act("FEED", 100) + RUN
        yield f"shortage-{name}", start + again + act("SHAKE")
    for timeouts, role in product(range(4), ("", "SERVER")):
        start = established(*[role] if role else [], timeouts=timeouts)
        yield f"timeouts-{timeouts}-{role.lower()}", start + UP + act("TICK", 150) + RUN
    slow = opened("SERVER") + RUN + act("TICK", 150)
    yield "slow-and-then-silent", slow + proved + silent * 3
    rest = established(capacity=3, timeouts=BOUND) + act("FEED", 9000) + act("RESET") + RUN
    yield "rest-for-an-idle-peer", rest + act("TICK", 70) + RUN + act("TAKE", ALL, side=CRYPT) + RUN
    slower = (act("TICK", 40) + act("TAKE", 1000, side=CRYPT) + RUN) * 4
    yield (
        "slow-but-not-idle",
        established(capacity=3, timeouts=1) + act("FEED", 9000) + RUN + slower,
    )
    yield "nowhere", act("RETARGET", 0) + opened() + RUN


def seeds() -> Iterator[tuple[str, bytes]]:
    yield from handshakes()
    yield from relays()
    yield from damage()
    yield from moments()
    yield from accepting()
    yield from connecting()
