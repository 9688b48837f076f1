"""The name under which a process is listed."""

from __future__ import annotations

from spiped.lean_typing import suppress


def name_process(name: str) -> None:
    """Let `ps` and `start-stop-daemon --name` see this name, and not the interpreter's.

    The system keeps its first 15 bytes.  This file, unlike /proc/self/comm, may also be written by
    a process that has made itself opaque to others of the same user.
    """
    with suppress(OSError), open("/proc/thread-self/comm", "w") as comm:
        comm.write(name)
