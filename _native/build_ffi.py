"""Describe the extension module ``spiped._native`` to cffi (out-of-line API mode, limited API).

cffi compiles everything with one set of flags, so no source file may rely on flags of its own:
instruction sets are enabled per function by target attributes (``kernels/cpu/target.h``).
"""

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

HEADERS = [
    "kernels/modexp/modexp.h",
    "kernels/registry.h",
    "kernels/sha256/sha256.h",
    "plane/plane.h",
    "protocol/handshake.h",
    "protocol/hmac_sha256.h",
    "protocol/packet.h",
    "sandbox/filter.h",
    "sandbox/landlock.h",
    "sandbox/needs.h",
    "sandbox/privileges.h",
    "secret/secret.h",
    "secret/secret_memory.h",
]

# relative to the project, as setuptools wants them
SOURCES = sorted(str(path.relative_to(ROOT)) for path in HERE.rglob("*.c"))
DEPENDS = sorted(str(path.relative_to(ROOT)) for path in HERE.rglob("*.h"))

ffibuilder = FFI()
ffibuilder.cdef((HERE / "spiped.cdef").read_text())
ffibuilder.set_source(
    "spiped._native",
    "".join(f'#include "{header}"\n' for header in HEADERS),
    sources=SOURCES,
    depends=DEPENDS,
    include_dirs=["_native"],
    extra_compile_args=["-std=gnu11", "-O2", "-fvisibility=hidden", "-UNDEBUG"],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffibuilder.compile(tmpdir=str(ROOT), verbose=True)
