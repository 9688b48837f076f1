"""Describe the extension module ``spiped._native`` to cffi (out-of-line API mode, limited API).

cffi compiles everything with one set of flags, so no source file may rely on flags of its own:
instruction sets are enabled per function by target attributes (``cpu/target.h``).
"""

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

HEADERS = [
    "kernel.h",
    "secret.h",
    "secret_memory.h",
    "sandbox.h",
    "sha256/sha256.h",
    "hmac_sha256.h",
    "packet.h",
    "modexp/modexp.h",
    "plane.h",
]

# relative to the project, as setuptools wants them
SOURCES = sorted(str(path.relative_to(ROOT)) for path in HERE.rglob("*.c"))

ffibuilder = FFI()
ffibuilder.cdef((HERE / "spiped.cdef").read_text())
ffibuilder.set_source(
    "spiped._native",
    "".join(f'#include "{header}"\n' for header in HEADERS),
    sources=SOURCES,
    include_dirs=["_native"],
    extra_compile_args=["-std=gnu11", "-O2", "-fvisibility=hidden", "-UNDEBUG"],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffibuilder.compile(tmpdir=str(ROOT), verbose=True)
