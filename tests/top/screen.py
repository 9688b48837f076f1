"""What a terminal shows: the few sequences that `spiped-top` needs, and a failure at any other.

So a control character that came from a server is noticed, whatever it would have done.
"""

from __future__ import annotations

import codecs
import re

from rich.cells import cell_len

SEQUENCE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")
UNFINISHED = re.compile(r"\x1b(?:\[\??[0-9;]*)?\Z")

Cell = tuple[str, str]  # a character, "" behind a wide one, and the numbers of its style


class Screen:
    """Cells of a screen, and what the terminal was told beside."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""
        self._style = ""
        self.is_ours = False  # the alternate screen is shown
        self.has_cursor = True
        self.printed = ""  # on the ordinary screen
        self.strange: list[str] = []  # what no program of ours sends to a terminal
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        """As a terminal that clears itself then."""
        self.columns, self.height = columns, lines
        self._x = self._y = 0
        self.cells: list[list[Cell]] = [[(" ", "")] * columns for _ in range(lines)]

    @property
    def lines(self) -> list[str]:
        return ["".join(character for character, _ in line).rstrip() for line in self.cells]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def styled(self) -> str:
        """The lines with their styles, as sequences again."""
        return "\n".join(
            "".join(f"\x1b[0;{style}m{character}" for character, style in line) + "\x1b[0m"
            for line in self.cells
        )

    def feed(self, data: bytes) -> None:
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        while text:
            if UNFINISHED.match(text):
                self._rest = text
                return
            if found := SEQUENCE.match(text):
                self._obey(*found.groups())
                text = text[found.end() :]
            else:
                self._put(text[0])
                text = text[1:]

    def _obey(self, private: str, numbers: str, letter: str) -> None:
        if letter == "m" and not private:
            self._style = "" if numbers in ("", "0") else numbers
        elif letter == "H" and not private:
            y, _, x = numbers.partition(";")
            self._y, self._x = int(y or "1") - 1, int(x or "1") - 1
        elif private and numbers == "1049":
            self.is_ours = letter == "h"
            self.resize(self.columns, self.height)
        elif private and numbers == "25":
            self.has_cursor = letter == "h"
        else:
            self.strange.append(f"{private}{numbers}{letter}")

    def _put(self, character: str) -> None:
        if not self.is_ours:
            self.printed += character
            if character in "\r\n":
                return
        if not character.isprintable():
            self.strange.append(character)
            return
        width = cell_len(character)
        line = self.cells[self._y] if self._y < self.height else []
        if self.is_ours and self._x + width <= len(line):
            line[self._x] = (character, self._style)
            line[self._x + 1 : self._x + width] = [("", self._style)] * (width - 1)
        elif self.is_ours:
            self.strange.append(f"{character} outside of the screen")
        self._x += width
