"""From what a terminal sends to names of keys."""

from __future__ import annotations

import re

SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~])")
CHARACTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[\x00-\xff]"
)
BEGINNING = re.compile(
    rb"(?:\x1b(?:\[[0-?]*[ -/]*|O)?"
    rb"|[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})\Z"
)

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
        else:
            found = CHARACTER.match(data)
            assert found is not None
            keys.append(CONTROLS.get(found[0]) or _character(found[0]))
        data = data[found.end() :]
    return [key for key in keys if key], data


def _character(data: bytes) -> str:
    character = data.decode(errors="ignore")
    return character if character.isprintable() else ""
