"""The pre-shared key: a file of almost any length, of which the hash is used."""

from __future__ import annotations

import os
import stat
import sys

from spiped.crypto import Backend, wipe
from spiped.crypto.sizes import KEY_BYTES
from spiped.descriptor_names import names_own_descriptor
from spiped.errors import REFUSALS, OperatorError, describe
from spiped.lean_typing import NamedTuple, NoReturn

CHUNK = 65536  # key files are smaller as a rule,
KEY_FILE_MAX = 64 << 20  # and none is larger than this: /dev/zero would never end


class Key(NamedTuple):
    """K, in secret memory, and what the file is like."""

    K: memoryview
    length: int  # bytes
    is_public: bool  # everybody may read the file


class KeyFile:
    """A file with a key.  ``-`` is the standard input."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = os.path.basename(path).removesuffix(".key")  # what messages call the key
        # What is no regular file, but a pipe or the like, gives what it has once.
        self.can_be_read_again = (
            path != "-" and not names_own_descriptor(path) and os.path.isfile(path)
        )

    def read_first(self, crypto: Backend) -> Key:
        """Read the key, and wait for it if it comes from a pipe.  Raises OperatorError."""
        return self._read(crypto, may_wait=True)

    def read_again(self, crypto: Backend) -> Key:
        """Read the key from what is a regular file, and has to be one still.

        Raises OperatorError, also if it is empty: it is being written at this moment.
        """
        assert self.can_be_read_again
        key = self._read(crypto, may_wait=False)
        if key.length == 0:
            wipe(key.K)
            self._refuse("Error reading file", "the file is empty")
        return key

    def _refuse(self, what: str, reason: str, cause: Exception | None = None) -> NoReturn:
        raise OperatorError(
            f"{what}: {self.path}: {reason}", "Error reading shared secret"
        ) from cause

    def _read(self, crypto: Backend, *, may_wait: bool) -> Key:
        flags = os.O_RDONLY | os.O_CLOEXEC | (0 if may_wait else os.O_NONBLOCK)
        try:
            fd = sys.stdin.fileno() if self.path == "-" else os.open(self.path, flags)
        except (OSError, ValueError, AttributeError) as error:
            reason = describe(error) if isinstance(error, OSError) else "no standard input"
            self._refuse("Cannot open file", reason, error)
        try:
            mode = os.fstat(fd).st_mode
            if not (may_wait or stat.S_ISREG(mode)):
                self._refuse("Error reading file", "no longer a regular file")
            is_public = stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)
            return Key(*self._read_all(crypto, fd), is_public)
        except REFUSALS as error:
            self._refuse("Error reading file", describe(error), error)
        finally:
            if self.path != "-":
                os.close(fd)

    def _read_all(self, crypto: Backend, fd: int) -> tuple[memoryview, int]:
        """K, and the number of bytes of the file."""
        content, length = bytearray(CHUNK), 0
        try:
            while got := os.readv(fd, [memoryview(content)[length:]]):
                length += got
                if length > KEY_FILE_MAX:
                    self._refuse("Error reading file", f"larger than {KEY_FILE_MAX >> 20} MiB")
                if length == len(content):  # never resized in place: that could leave a copy behind
                    content, smaller = content + bytes(length), content
                    wipe(smaller)
            digest = crypto.sha256(memoryview(content)[:length])
            K = crypto.secret_memory(KEY_BYTES)
            K[:] = digest
            wipe(digest)
            return K, length
        finally:
            wipe(content)
