"""Paths by which a process names its own descriptors: ``/dev/stdin``, ``/dev/fd/3``.

What they name is a stream, and may be another one later.
"""

from __future__ import annotations

import os

LINKS_MAX = 40


def names_own_descriptor(path: str) -> bool:
    """The path is, or is a link to, the name of a descriptor of this process."""
    # what links like /proc/self and /dev/fd, where that is one, lead to
    process = f"/proc/{os.getpid()}"
    directories = (f"{process}/fd/", f"{process}/task/", "/dev/fd/")
    for _ in range(LINKS_MAX):
        folder, name = os.path.split(path)
        path = os.path.normpath(os.path.join(os.path.realpath(folder or "."), name))
        if path.startswith(directories):
            return True
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return False
    return False
