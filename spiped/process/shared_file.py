"""Memory that has a descriptor, by which other processes and programs can be given it."""

from __future__ import annotations

import os

from spiped.lean_typing import suppress


def anonymous_file(name: str) -> int:
    """The descriptor of an empty file that nobody else can open; the name is for people.

    Raises OSError.
    """
    if hasattr(os, "memfd_create"):
        with suppress(OSError):  # an older kernel, or a container that does not allow it
            return os.memfd_create(name, os.MFD_CLOEXEC)
    import tempfile  # slow to import, and rarely needed

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def reopen_for_reading(file: int) -> int:
    """Another descriptor of a file, with which nobody can make its memory writable again.

    Closes the first one.  Where the system has no way to it, this is the first one.
    """
    for directory in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            reading = os.open(f"{directory}/{file}", os.O_RDONLY | os.O_CLOEXEC)
            os.close(file)
            return reading
    return file
