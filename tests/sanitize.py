"""Run the tests of the extension, and of everything right on top of it, under sanitizers.

A copy of the project is made in ``build/sanitized``, its extension compiled with AddressSanitizer
and UndefinedBehaviorSanitizer, and pytest run there.  Arguments are passed on to pytest in place of
the usual choice of tests.  CC names the compiler, which has to be a GCC.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "sanitized"
PARTS = ("_native", "spiped", "tests", "pyproject.toml", "setup.py", "README.md")

COMPILER = os.environ.get("CC", "gcc")
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all"

# What compiles and runs programs of its own, to which the extension is nothing.
OTHERS = ("tests/native/test_aarch64.py", "tests/native/test_constant_time.py")
IN_PARALLEL = ("-n", "auto", "--dist", "loadfile")
TESTS = ("tests/native", "tests/net", "tests/proto", *(f"--ignore={path}" for path in OTHERS))


def copy_project() -> None:
    """Make the copy anew; what was compiled before stays, to be compiled again if it changed."""
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "*.o")
    for part in PARTS:
        source, target = ROOT / part, COPY / part
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=ignore)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def build() -> None:
    environment = os.environ | {
        "CC": COMPILER,
        "CFLAGS": f"{SANITIZE} -g -fno-omit-frame-pointer",
        "LDFLAGS": SANITIZE,
        "SPIPED_REQUIRE_NATIVE": "1",
    }
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=COPY, env=environment, check=True)


def runtime(name: str) -> str:
    """A library of the compiler's, which has to be there before the interpreter starts."""
    command = [COMPILER, f"-print-file-name={name}.so"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if not os.path.isabs(found):
        sys.exit(f"{COMPILER} has no {name}: it has to be a GCC, with its sanitizers")
    return os.path.realpath(found)


def main() -> int:
    libraries = " ".join(runtime(name) for name in ("libasan", "libubsan"))
    copy_project()
    build()
    for report in COPY.glob("report.*"):
        report.unlink()
    reports = f"log_path={COPY / 'report'}"  # pytest would swallow them
    environment = os.environ | {
        "LD_PRELOAD": libraries,
        "ASAN_OPTIONS": f"detect_leaks=0:{reports}",  # leaks: the interpreter's own
        "UBSAN_OPTIONS": f"print_stacktrace=1:{reports}",
        "PYTHONMALLOC": "malloc",  # so that the sanitizer sees Python's objects as well
        "PYCRYPTODOME_DISABLE_DEEPBIND": "1",  # which the sanitizer cannot bear
        "SPIPED_BACKEND": "native",
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += sys.argv[1:] or (*IN_PARALLEL, *TESTS)
    status = subprocess.run(command, cwd=COPY, env=environment, check=False).returncode
    for report in COPY.glob("report.*"):
        print(report.read_text(errors="replace"), file=sys.stderr)
        status = status or 1
    return status


if __name__ == "__main__":
    sys.exit(main())
