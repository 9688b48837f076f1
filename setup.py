"""Build spiped with its C extension, or without it where nothing can be compiled.

Everything declarative stands in ``pyproject.toml``; what is here is what only code can say.
``SPIPED_REQUIRE_NATIVE=1`` turns a failed build of the extension into an error; otherwise the
package is installed without it and uses its pure back end.
"""

import os
import sys

from setuptools import setup
from setuptools.command.build_ext import build_ext

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before version 70
    from wheel.bdist_wheel import bdist_wheel


class OptionalBuildExt(build_ext):
    """Build the extension; if that fails, say so and go on without it."""

    def run(self) -> None:
        if os.environ.get("SPIPED_REQUIRE_NATIVE") == "1":
            super().run()
            return
        try:
            super().run()
        except Exception as error:
            print(
                f"warning: the C extension was not built ({error}); spiped will be slow",
                file=sys.stderr,
            )
            self.extensions = []


class StableAbiWheel(bdist_wheel):
    """Tag the wheel with the limited API that the extension is compiled for."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.py_limited_api = "cp310"


setup(
    license="BSD-2-Clause",  # here, because versions of setuptools differ about pyproject.toml
    cffi_modules=["_native/build_ffi.py:ffibuilder"],
    cmdclass={"build_ext": OptionalBuildExt, "bdist_wheel": StableAbiWheel},
)
