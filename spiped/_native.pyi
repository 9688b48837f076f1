"""The C extension, when it has been built; `_native/spiped.cdef` lists what it holds."""

from typing import Any

ffi: Any
lib: Any
