"""The pre-shared key: a file of almost any length, of which the hash is used."""

from __future__ import annotations

import os
import stat
import sys

from spiped.constants import KEY_BYTES
from spiped.crypto import Backend, wipe
from spiped.errors import OperatorError, describe

CHUNK = 65536  # key files are smaller as a rule,
KEY_FILE_MAX = 64 << 20  # and none is larger than this: /dev/zero would never end


def read_key(crypto: Backend, path: str, *, may_wait: bool) -> tuple[memoryview, bool]:
    """K, in secret memory, and whether the file was empty.  ``-`` is the standard input.

    Without ``may_wait``, only a file will do: the writer of a pipe may never come.
    Raises OperatorError.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | (0 if may_wait else os.O_NONBLOCK)
    try:
        fd = sys.stdin.fileno() if path == "-" else os.open(path, flags)
    except (OSError, ValueError, AttributeError) as error:
        reason = describe(error) if isinstance(error, OSError) else "no standard input"
        raise OperatorError(
            f"Cannot open file: {path}: {reason}", "Error reading shared secret"
        ) from error
    content, length = bytearray(CHUNK), 0
    try:
        if not (may_wait or stat.S_ISREG(os.fstat(fd).st_mode)):
            raise OperatorError(
                f"Error reading file: {path}: no longer a regular file",
                "Error reading shared secret",
            )
        while got := os.readv(fd, [memoryview(content)[length:]]):
            length += got
            if length > KEY_FILE_MAX:
                raise OperatorError(
                    f"Error reading file: {path}: larger than {KEY_FILE_MAX >> 20} MiB",
                    "Error reading shared secret",
                )
            if length == len(content):  # never resized in place: that could leave a copy behind
                content, smaller = content + bytes(length), content
                wipe(smaller)
    except OSError as error:
        raise OperatorError(
            f"Error reading file: {path}: {describe(error)}", "Error reading shared secret"
        ) from error
    else:
        digest = crypto.sha256(memoryview(content)[:length])
        K = crypto.secret_memory(KEY_BYTES)
        K[:] = digest
        wipe(digest)
        return K, length == 0
    finally:
        wipe(content)
        if path != "-":
            os.close(fd)
