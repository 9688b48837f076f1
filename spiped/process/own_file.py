"""Files that a process has made for others to find: a pid file, a UNIX socket."""

from __future__ import annotations

import os
import stat

from spiped.lean_typing import suppress


def is_same(path: str, made: os.stat_result) -> bool:
    """The file that has this name is the one that was made, and not another one in its place."""
    try:
        present = os.lstat(path)
    except OSError:
        return False
    return (present.st_dev, present.st_ino) == (made.st_dev, made.st_ino)


def remove_if_same(path: str, made: os.stat_result) -> None:
    """Remove a regular file or a UNIX socket, if it is still the one that was made and we may.

    Nothing else is removed: a pid file may be /dev/null.
    """
    if (stat.S_ISREG(made.st_mode) or stat.S_ISSOCK(made.st_mode)) and is_same(path, made):
        with suppress(OSError):
            os.unlink(path)
