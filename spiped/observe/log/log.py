"""The log of a program: which events are shown, and as which lines."""

from __future__ import annotations

from spiped.errors import OperatorError, describe_open
from spiped.observe.log.events import (
    INFO,
    NOTICE,
    WARNING,
    Event,
    LogNotReopened,
    NoSyslog,
    Refused,
    level_of,
    text_of,
)
from spiped.observe.log.sinks import FileSink, Sink, StderrSink, SyslogSink


class Log:
    """Shows events from a level on, in one sink; each line begins with the program's name."""

    def __init__(self, name: str, verbose: bool = False) -> None:
        """Begin with standard error, which hears of warnings and errors only, as in C's program."""
        self.name = name
        self._verbose = verbose
        self._sink: Sink = StderrSink()

    @property
    def shows_info(self) -> bool:
        return self._verbose

    @property
    def is_stderr(self) -> bool:
        return isinstance(self._sink, StderrSink)

    @property
    def _threshold(self) -> int:
        if self._verbose:
            return INFO
        return WARNING if self.is_stderr else NOTICE

    def event(self, event: Event) -> None:
        """Show an event, if it is important enough."""
        level = level_of(event)
        if level <= self._threshold:
            for line in text_of(event).splitlines():
                self._sink.write(level, self.name, line)

    def refusal(self, error: OperatorError) -> None:
        """Show the lines of an error."""
        for line in error.lines:
            self.event(Refused(line))

    # Sinks

    def use_file(self, path: str, fd: int | None = None) -> None:
        """Write to a file, which may be open already.  Raises OperatorError."""
        try:
            self._sink = FileSink(path, fd)
        except OSError as error:
            raise OperatorError(f"--log-file {path}: {describe_open(error)}") from error

    def use_syslog(self, pipe: str) -> None:
        """Write to the system log, in the name of a pipe; warn here if there is no log daemon."""
        sink = SyslogSink(pipe)
        if not sink.is_connected:
            self.event(NoSyslog())
        self._sink = sink

    def file(self) -> int | None:
        """The descriptor of the log file, if there is one."""
        return self._sink.fileno() if isinstance(self._sink, FileSink) else None

    def reopen(self) -> None:
        """Open a log file anew, which may have been rotated; of other sinks there is nothing."""
        if isinstance(self._sink, FileSink):
            try:
                self._sink.reopen()
            except OSError as error:
                self.event(LogNotReopened(self._sink.path, describe_open(error)))
