"""The name under which a process is listed."""

from __future__ import annotations

from spiped.lean_typing import suppress


def name_process(name: str) -> None:
    """Let `ps` and `start-stop-daemon --name` see this name, and not the interpreter's.

    The system keeps its first 15 bytes.
    """
    with suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(name)
