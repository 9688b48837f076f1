"""What the supervisor says of the daemon to whoever looks: a JSON document in shared memory.

One process writes it, now and then; any number read it, at any time.  A reader takes a document for
good if the number in front of it is even, and the same before and after.
"""

from __future__ import annotations

import json
import mmap
import os

from spiped.lean_typing import Any
from spiped.process.shared_file import anonymous_file, reopen_for_reading

ROOM = 1 << 20  # bytes; what is not used costs nothing
_HEAD = 16  # the number of the document, and its length
PATIENCE = 1000  # looks at a document that is being written

Document = dict[str, Any]


class Facts:
    """The memory, from either side."""

    def __init__(self, file: int | None = None) -> None:
        """``file``: that of whoever has written before."""
        self._file = anonymous_file("spiped-facts") if file is None else file
        os.ftruncate(self._file, ROOM)
        self._attach(mmap.ACCESS_WRITE)

    def _attach(self, access: int) -> None:
        self._map = mmap.mmap(self._file, ROOM, access=access)
        self._head = memoryview(self._map)[:_HEAD].cast("Q")

    def close(self) -> None:
        """Have no way to it any more."""
        self.let_go()
        os.close(self._file)

    def let_go(self) -> None:
        """Have no memory, until `only_look`."""
        self._head.release()
        self._map.close()

    def only_look(self) -> None:
        """See it again, unable to write, in a process that was forked to look.  Raises OSError."""
        self._file = reopen_for_reading(self._file)
        self._attach(mmap.ACCESS_READ)

    def fileno(self) -> int:
        return self._file

    def write(self, document: Document) -> None:
        """Say this, from now on."""
        text = json.dumps(document).encode()
        assert len(text) <= ROOM - _HEAD
        self._head[0] |= 1
        self._map[_HEAD : _HEAD + len(text)] = text
        self._head[1] = len(text)
        self._head[0] += 1

    def read(self) -> Document:
        """What is said at present; empty if nothing is."""
        for _ in range(PATIENCE):
            number, length = self._head
            text = self._map[_HEAD : _HEAD + length]
            if number % 2 == 0 and self._head[0] == number:
                document: Document = json.loads(text) if text else {}
                return document
        return {}
