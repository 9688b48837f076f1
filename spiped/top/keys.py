"""From what a terminal sends to names of keys."""

from __future__ import annotations

import re

SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~])")
BEGINNING = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")

SEQUENCES = {
    b"A": "up",
    b"B": "down",
    b"C": "right",
    b"D": "left",
    b"H": "home",
    b"F": "end",
    b"Z": "back tab",
    b"1~": "home",
    b"7~": "home",
    b"4~": "end",
    b"8~": "end",
    b"5~": "page up",
    b"6~": "page down",
}

CONTROLS = {
    b"\r": "enter",
    b"\n": "enter",
    b"\t": "tab",
    b"\x1b": "escape",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\x0c": "ctrl-l",
    b"\x15": "ctrl-u",
}


def keys_of(data: bytes, more_may_come: bool) -> tuple[list[str], bytes]:
    """The keys that were pressed, and the bytes of one that is not complete yet.

    A key that stands for a character is that character.  Nobody needs the others, nor what is not
    UTF-8: they are left out.
    """
    keys = []
    while data:
        if found := SEQUENCE.match(data):
            keys.append(SEQUENCES.get(found[0][2:], ""))
        elif more_may_come and BEGINNING.match(data):
            break
        elif found := re.match(b"[\x00-\x1f\x7f]", data):
            keys.append(CONTROLS.get(found[0], ""))
        else:
            length = _length(data[0])
            if more_may_come and len(data) < length:
                break
            keys.append(_character(data[:length]))
            data = data[length:]
            continue
        data = data[len(found[0]) :]
    return [key for key in keys if key], data


def _length(first: int) -> int:
    """Of the UTF-8 form of a character, by its first byte."""
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _character(data: bytes) -> str:
    character = data.decode(errors="ignore")
    return character if character.isprintable() else ""
