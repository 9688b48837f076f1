"""A seat at a pseudo-terminal, from which a program is used as a person does it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.daemons import Program, Stage, ours, wait_until
from tests.top.screen import Screen

KEYS = {
    "up": b"\x1b[A",
    "down": b"\x1b[B",
    "right": b"\x1b[C",
    "left": b"\x1b[D",
    "page up": b"\x1b[5~",
    "page down": b"\x1b[6~",
    "home": b"\x1b[H",
    "end": b"\x1b[F",
    "back tab": b"\x1b[Z",
    "tab": b"\t",
    "enter": b"\r",
    "escape": b"\x1b",
    "ctrl-c": b"\x03",
    "ctrl-z": b"\x1a",
}


class Seat:
    """A program in a terminal of its own; all that it prints is read by a thread."""

    def __init__(
        self,
        stage: Stage,
        *words: str,
        columns: int = 80,
        lines: int = 24,
        command: list[str] | None = None,
    ) -> None:
        self._keyboard, terminal = pty.openpty()
        self._terminal = terminal  # kept open, so that its modes can be looked at in the end
        self.screen = Screen(columns, lines)
        self._lock = threading.Lock()
        self.resize(columns, lines)
        self.modes = termios.tcgetattr(terminal)
        self.program: Program = stage.start(
            *(command or [ours("spiped-top")]),
            *words,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        stage.on_stage(self)

    def _read(self) -> None:
        with suppress(OSError):
            while data := os.read(self._keyboard, 1 << 16):
                with self._lock:
                    self.screen.feed(data)

    def press(self, *keys: str) -> None:
        for key in keys:
            os.write(self._keyboard, KEYS.get(key, key.encode()))

    def resize(self, columns: int, lines: int) -> None:
        with self._lock:
            self.screen.resize(columns, lines)
            size = struct.pack("HHHH", lines, columns, 0, 0)
            fcntl.ioctl(self._keyboard, termios.TIOCSWINSZ, size)

    @property
    def text(self) -> str:
        with self._lock:
            return self.screen.text

    @property
    def styled(self) -> str:
        """The text with the sequences of its styles."""
        with self._lock:
            return self.screen.styled()

    @property
    def lines(self) -> list[str]:
        with self._lock:
            return self.screen.lines

    def wait_for(self, condition: str | Callable[[str], Any]) -> str:
        """Wait until a text, or something that is so, is on the screen; returns what is there."""
        holds = condition if callable(condition) else lambda text: condition in text
        try:
            wait_until(lambda: holds(self.text), f"the screen shows {condition}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows\n{self.text}") from None
        return self.text

    def wait_for_end(self) -> int:
        """The exit status, when all that was printed has been read."""
        status = self.program.wait()
        # what is behind this mark has been written after the program's last words
        os.write(self._terminal, b"<end>")
        wait_until(lambda: self.screen.printed.endswith("<end>"), "all is read")
        return status

    @property
    def is_given_back(self) -> bool:
        """The terminal is as it was."""
        modes = termios.tcgetattr(self._terminal)
        return modes == self.modes and not self.screen.is_ours and self.screen.has_cursor

    def close(self) -> None:
        self.program.end()
        os.close(self._terminal)
        self._reader.join()
        os.close(self._keyboard)


def column(text: str, title: str) -> list[str]:
    """The words in a column of the last table on a screen that has one, from the top."""
    lines = text.splitlines()
    found = [i for i, line in enumerate(lines) if title in line.split()]
    if not found:
        return []
    at = lines[found[-1]].index(title)
    cells = [line[at:].split() for line in lines[found[-1] + 1 : -1]]
    return [words[0] for words in cells if words]
