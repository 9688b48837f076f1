"""Test data, and buffers whose neighbouring page must not be touched.

A kernel that reads or writes one byte too far usually gets away with it.  In a :class:`Guarded`
buffer it does not: the buffer lies flush against an inaccessible page, so that reading beyond it
kills the process, and what surrounds it on its accessible side is checked for changes.
"""

import ctypes
import mmap
from collections.abc import Iterator

from spiped._native import ffi

PAGE = mmap.PAGESIZE
PROT_NONE = 0
CANARY = 0xA5

# Full and broken batches for 2, 3, 8 and 16 lanes, and for groups of 48.
BATCH_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 47, 48, 49, 64, 129)

# Where a guarded buffer touches its inaccessible page.
SIDES = ("start", "end")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def pattern(length: int) -> bytes:
    """Return bytes that repeat with period 251: no power of two divides it, so that a kernel
    which takes the wrong block or lane takes the wrong data."""
    period = bytes(range(251))
    return (period * (length // 251 + 1))[:length]


class Guarded:
    """A buffer of ``size`` bytes that starts, or ends, at an inaccessible page.

    ``gap`` moves it that many bytes away from the page, to misalign it.
    """

    def __init__(self, size: int, side: str, gap: int = 0) -> None:
        assert side in SIDES
        self.size = size
        usable = -(-(size + gap) // PAGE) * PAGE
        # An inaccessible page on either side; the memory lives as long as this object.
        self._memory = mmap.mmap(-1, PAGE + usable + PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for page in (base, base + PAGE + usable):
            if _libc.mprotect(page, PAGE, PROT_NONE) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self._start = gap if side == "start" else usable - gap - size
        self._usable = (ctypes.c_ubyte * usable).from_address(base + PAGE)
        ctypes.memset(base + PAGE, CANARY, usable)
        self.address = base + PAGE + self._start
        self.pointer = ffi.cast("uint8_t *", self.address)

    def write(self, data: bytes) -> "Guarded":
        """Fill the whole buffer; return it."""
        assert len(data) == self.size
        ctypes.memmove(self.address, data, self.size)
        return self

    def read(self) -> bytes:
        """Return the contents, having checked that nothing around them was written to."""
        usable = bytes(self._usable)
        before, after = usable[: self._start], usable[self._start + self.size :]
        assert before.count(CANARY) == len(before), "written to in front of the buffer"
        assert after.count(CANARY) == len(after), "written to behind the buffer"
        return usable[self._start : self._start + self.size]


def guarded(data: bytes, side: str, gap: int = 0) -> Guarded:
    """Return a guarded buffer that holds ``data``."""
    return Guarded(len(data), side, gap).write(data)


def placements(gaps: tuple[int, ...] = (0, 1, 3, 8, 13)) -> Iterator[tuple[str, int]]:
    """Yield every side with every distance from its page."""
    for side in SIDES:
        for gap in gaps:
            yield side, gap
