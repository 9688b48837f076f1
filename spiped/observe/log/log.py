"""The log of a program: which events are shown, and as which lines."""

from __future__ import annotations

from collections.abc import Callable

from spiped.errors import OperatorError, describe_open
from spiped.lean_typing import TYPE_CHECKING
from spiped.observe.log.common import LinesLost, LogNotReopened, NoSyslog, Refused
from spiped.observe.log.kinds import (
    ASKED_FOR,
    LEVELS,
    NOTICE,
    Event,
    level_of,
    more_of,
    text_of,
)
from spiped.observe.log.printable import printable
from spiped.observe.log.sinks import LINE_MAX, FileSink, Sink, StderrSink, SyslogSink

if TYPE_CHECKING:
    from spiped.observe.log.records import Format


class Log:
    """Shows events from a level on, in one format, in one sink."""

    def __init__(self, name: str) -> None:
        """Begin with text on standard error; ``name``: the program's, with which a line begins."""
        self.name = printable(name)
        self._pipe = ""  # its name, if lines of text are to have it
        self.lines_lost = 0  # so far: could not be written
        self._untold = 0  # of these, no line has told
        self._level: int | None = None  # None: the sink's
        self._format: Format | None = None  # None: text
        self._sink: Sink = StderrSink()
        self._held: list[Event] | None = None  # while events are held back
        self.tap: Callable[[Event], None] | None = None  # hears of all events, shown or not

    def use_pipe(self, name: str) -> None:
        """Name the pipe in every line of text."""
        self._pipe = printable(name)

    def use_level(self, name: str | None) -> None:
        """Show events of this level, and above it; None: what suits the sink."""
        self._level = None if name is None else LEVELS[name]

    def use_format(self, name: str) -> None:
        """Write events as ``text``, ``json`` or ``logfmt``.

        Imports what that needs, so it is to be called before privileges are dropped.
        """
        self._format = None
        if name != "text":
            from spiped.observe.log.records import FORMATS

            self._format = FORMATS[name]

    @property
    def level(self) -> int:
        """Events of this level, and above it, are shown."""
        return self._sink.level if self._level is None else self._level

    def shows(self, level: int) -> bool:
        """An event of this level would be shown."""
        return level <= self.level

    def event(self, event: Event) -> None:
        """Show an event, if it is important enough."""
        if self._held is not None:
            self._held.append(event)
            return
        if self.tap is not None:
            self.tap(event)
        if not self.shows(level_of(event)):
            return
        if self._write(event) and self._untold > 0:
            untold, self._untold = self._untold, 0
            if not self._write(LinesLost(untold)):
                self._untold += untold

    def hold_back(self) -> None:
        """Keep events until `go_on`: one that is not known yet is to stand before them."""
        self._held = []

    def go_on(self) -> list[Event]:
        """Show events at once again; returns those that have been held back."""
        held, self._held = self._held or [], None
        return held

    def refusal(self, error: OperatorError) -> None:
        """Show the lines of an error."""
        for line in error.lines:
            self.event(Refused(line))

    def _write(self, event: Event) -> bool:
        """False if a line is lost."""
        level = level_of(event)
        priority = NOTICE if level == ASKED_FOR else level
        lost = [line for line in self._lines(event) if not self._sink.write(priority, line)]
        self.lines_lost += len(lost)
        self._untold += len(lost)
        return not lost

    def _lines(self, event: Event) -> list[str]:
        if self._format is not None:
            return [self._format(event, LINE_MAX)]
        beginning = self._sink.beginning(self.name, self._pipe)
        return [beginning + line for line in (text_of(event), *more_of(event))]

    # Sinks

    @property
    def is_stderr(self) -> bool:
        return isinstance(self._sink, StderrSink)

    def use_stderr(self) -> None:
        """Write to standard error, as at the beginning."""
        self._sink = StderrSink()

    def use_file(self, path: str, fd: int | None = None) -> None:
        """Write to a file, which may be open already.  Raises OperatorError."""
        try:
            self._sink = FileSink(path, fd)
        except OSError as error:
            raise OperatorError(f"--log-file {path}: {describe_open(error)}") from error

    def use_syslog(self, pipe: str) -> None:
        """Write to the system log, in the name of a pipe; warn here if there is no log daemon."""
        sink = SyslogSink(self.name, printable(pipe))
        if not sink.is_connected:
            self.event(NoSyslog())
        self._sink = sink

    def file(self) -> int | None:
        """The descriptor of the log file, if there is one."""
        return self._sink.fileno() if isinstance(self._sink, FileSink) else None

    def close_in_child(self) -> None:
        """Have no way to the log any more, in a process whose events go to another one."""
        self._sink.close()
        self._sink = StderrSink()

    def reopen(self) -> str:
        """Open a log file anew, which may have been rotated; of other sinks there is nothing.

        Returns why that is not possible, or "".
        """
        if isinstance(self._sink, FileSink):
            try:
                self._sink.reopen()
            except OSError as error:
                reason = describe_open(error)
                self.event(LogNotReopened(self._sink.path, reason))
                return f"{self._sink.path}: {reason}"
        return ""
