"""Whoever waits for the daemon to be ready at the other end of a descriptor (``--ready-fd``).

A newline, and then the end, is what s6 and others wait for.
"""

from __future__ import annotations

import fcntl
import os

from spiped.errors import OperatorError, describe


class Readiness:
    """A descriptor that somebody else has opened for us, to be told at."""

    def __init__(self, fd: int) -> None:
        """Raises OperatorError if it cannot be written to."""
        self.fd = fd
        try:
            is_writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        except OSError as error:
            raise OperatorError(f"--ready-fd {fd}: the descriptor is not open") from error
        if not is_writable:
            raise OperatorError(f"--ready-fd {fd}: the descriptor is not open for writing")
        if fd > 2:
            os.set_inheritable(fd, False)

    def tell(self) -> str:
        """Say that the daemon is ready; returns why that could not be said, or ""."""
        try:
            os.write(self.fd, b"\n")
        except OSError as error:
            return describe(error)
        finally:
            self.close()
        return ""

    def close(self) -> None:
        """Let go of it; a standard stream is connected to nothing instead."""
        if self.fd > 2:
            os.close(self.fd)
            return
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, self.fd)
        os.close(null)
