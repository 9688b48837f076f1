"""Text that may have come from outside, made fit for a terminal and for one line of a log."""

from __future__ import annotations

# Python keeps bytes that are no UTF-8 as lone surrogates from here on (PEP 383).
BYTES = range(0xDC80, 0xDD00)


def printable(text: str) -> str:
    """The text, with an escape in place of each character that is not to be seen as itself.

    So nothing ends the line, moves the cursor, or turns the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    if code in BYTES:
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
