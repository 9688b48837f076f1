"""An entry of the table of connections: what others may see of one.

The data plane in C writes the same bytes (`_native/plane/entry.h`).  A reader takes an entry for
what it says if its number is the same before and after.
"""

from __future__ import annotations

import enum
import struct
import time

from spiped.lean_typing import NamedTuple

BYTES = 128
SECOND_LINE = 64  # where what changes with every batch begins

ADDRESS_BYTES = 28  # of a struct sockaddr_in6, or a shorter one

# number, began_ms, state, lengths of the addresses, pipe, key, peer
_FIRST = struct.Struct("=QQBBBxHH28s")
_STATE_AT = 16
# sealed, opened, unsent from plain and from crypt, target
_SECOND = struct.Struct("=QQII28s")
_CARRIED = struct.Struct("=QQ")
_UNSENT = struct.Struct("=II")
_UNSENT_AT = SECOND_LINE + _CARRIED.size
_TARGET_AT = _UNSENT_AT + _UNSENT.size


class State(enum.IntEnum):
    """How far a connection has come; the names are for people."""

    CONNECTING = 0
    HANDSHAKE = 1
    RELAYING = 2
    HALF_CLOSED = 3  # one direction has ended
    DRAINING = 4  # an endpoint has failed, and the rest is being delivered

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", "-")


class Entry(NamedTuple):
    """One connection.  Addresses are struct sockaddr, or empty."""

    number: int  # of the worker's connections
    began_ms: int  # by the system's monotonic clock
    state: State
    pipe: int
    key: int
    peer: bytes
    target: bytes
    sealed: int  # payload bytes from plain to crypt
    opened: int
    unsent: tuple[int, int]  # bytes not taken by the receiver: of the flow from plain, from crypt


def read(entries: memoryview, index: int) -> Entry | None:
    """The connection that has an entry now; None if nobody has."""
    at = index * BYTES
    first = _FIRST.unpack_from(entries, at)
    if first[0] == 0:
        return None
    number, began_ms, state, peer_length, target_length, pipe, key, peer = first
    sealed, opened, from_plain, from_crypt, target = _SECOND.unpack_from(entries, at + SECOND_LINE)
    if _FIRST.unpack_from(entries, at)[0] != number:
        return None  # it has just changed hands
    return Entry(
        number,
        began_ms,
        State(min(state, State.DRAINING)),
        pipe,
        key,
        peer[:peer_length],
        target[:target_length],
        sealed,
        opened,
        (from_plain, from_crypt),
    )


class Shown:
    """The entry of a connection, for whoever carries it; it may have none."""

    def __init__(self, entries: memoryview, index: int | None, number: int, pipe: int) -> None:
        self._entries = entries
        self._at = None if index is None else index * BYTES
        self._pipe = pipe
        self._began_ms = int(time.monotonic() * 1000)
        self._peer = self._target = b""
        self._state = State.CONNECTING
        self.index = index
        self._write(number)
        if self._at is not None:
            self.carried(0, 0)

    def _write(self, number: int) -> None:
        if self._at is not None:
            lengths = len(self._peer), len(self._target)
            words = number, self._began_ms, self._state, *lengths, self._pipe, 0, self._peer
            _FIRST.pack_into(self._entries, self._at, *words)
            self._number = number

    def state(self, state: State) -> None:
        self._state = state
        if self._at is not None:
            self._entries[self._at + _STATE_AT] = state

    def addresses(self, peer: bytes = b"", target: bytes = b"") -> None:
        """Show a struct sockaddr; one that is too long names a UNIX socket, and no one."""
        self._peer = peer if 0 < len(peer) <= ADDRESS_BYTES else self._peer
        self._target = target if 0 < len(target) <= ADDRESS_BYTES else self._target
        if self._at is not None:
            at = self._at + _TARGET_AT
            self._entries[at : at + len(self._target)] = self._target
            self._write(self._number)

    def carried(self, sealed: int, opened: int) -> None:
        if self._at is not None:
            _CARRIED.pack_into(self._entries, self._at + SECOND_LINE, sealed, opened)

    def unsent(self, from_plain: int, from_crypt: int) -> None:
        if self._at is not None:
            _UNSENT.pack_into(self._entries, self._at + _UNSENT_AT, from_plain, from_crypt)


class Table:
    """The entries of one worker: which are taken."""

    def __init__(self, entries: memoryview) -> None:
        self._entries = entries
        self._free: list[int] = []
        self.fresh = 0  # entries from here on have never been used

    def take(self, number: int, pipe: int) -> Shown:
        """An entry for a connection of this number; 0 has none."""
        index = None
        if number != 0 and self._free:
            index = self._free.pop()
        elif number != 0 and (self.fresh + 1) * BYTES <= len(self._entries):
            index = self.fresh
            self.fresh += 1
        return Shown(self._entries, index, number, pipe)

    def give_back(self, shown: Shown) -> None:
        if shown.index is not None:
            at = shown.index * BYTES
            self._entries[at : at + BYTES] = bytes(BYTES)
            self._free.append(shown.index)
