"""The terminal: its keys one by one, a screen of our own, and both given back at the end."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty

from rich.console import Console, Group
from rich.segment import Segment
from rich.text import Text

from spiped.errors import OperatorError
from spiped.lean_typing import suppress
from spiped.top.keys import keys_of

FALLBACK = os.terminal_size((80, 24))
# Within which the rest of a key's sequence follows its first byte, the one that Escape sends alone
SEQUENCE_TIME = 0.1  # seconds
GIVE_BACK = b"\x1b[?25h\x1b[?1049l"  # show the cursor, leave our own screen


class Terminal:
    """The terminal of standard input and output.  Raises OperatorError if they are not one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._input = sys.stdin.fileno() if sys.stdin else -1
        self._shown: list[list[Segment]] = []
        self._bytes = b""
        for fd, name in ((self._input, "input"), (sys.stdout.fileno(), "output")):
            if not os.isatty(fd):
                raise OperatorError(f"Standard {name} is no terminal: use --once or --plain")
        if console.is_dumb_terminal:
            raise OperatorError("This terminal cannot move its cursor: use --once or --plain")
        self._mode = termios.tcgetattr(self._input)

    def fileno(self) -> int:
        return self._input

    def enter(self) -> None:
        """Take the terminal: what was on its screen is kept for later."""
        tty.setcbreak(self._input, termios.TCSADRAIN)
        mode = termios.tcgetattr(self._input)
        mode[0] &= ~termios.IXON  # else Ctrl-S would stop us, signals and all
        termios.tcsetattr(self._input, termios.TCSADRAIN, mode)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)
        self.forget()

    def leave(self) -> None:
        """Give it back as it was."""
        with suppress(OSError):
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)
        with suppress(OSError, termios.error):  # it has gone
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._mode)

    def abandon(self) -> None:
        """Give it back as far as that needs no waiting."""
        with suppress(OSError, termios.error):
            termios.tcsetattr(self._input, termios.TCSANOW, self._mode)
            output = sys.stdout.fileno()
            if select.select([], [output], [], 0)[1]:
                os.write(output, GIVE_BACK)

    @property
    def size(self) -> os.terminal_size:
        with suppress(OSError):
            size = os.get_terminal_size(sys.stdout.fileno())
            if size.columns and size.lines:
                return size
        return FALLBACK

    # Keys

    @property
    def key_time(self) -> float | None:
        """Seconds after which a key that has begun is to be read, though no more of it has come."""
        return SEQUENCE_TIME if self._bytes else None

    def read_keys(self) -> list[str] | None:
        """The keys that have been pressed; None at the end of the terminal.

        To be called when there is something to read.
        """
        try:
            data = os.read(self._input, 4096)
        except OSError:
            return None
        if not data:
            return None
        keys, self._bytes = keys_of(self._bytes + data, more_may_come=True)
        return keys

    def last_keys(self) -> list[str]:
        """The key of which no more has come."""
        keys, self._bytes = keys_of(self._bytes, more_may_come=False)
        return keys

    # The screen

    def forget(self) -> None:
        """Take it that nothing is on the screen of what we have put there."""
        self._shown = []

    def show(self, lines: list[Text], size: os.terminal_size) -> None:
        """Put lines on the screen, those of them that are not there already."""
        options = self._console.options.update(
            width=size.columns, height=size.lines, no_wrap=True, overflow="crop"
        )
        rendered = self._console.render_lines(Group(*lines), options, pad=True)[: size.lines]
        with self._console:
            for y, line in enumerate(rendered):
                if y >= len(self._shown) or line != self._shown[y]:
                    self._console.update_screen_lines([line], 0, y)
        self._shown = rendered
