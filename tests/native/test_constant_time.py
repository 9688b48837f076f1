"""No secret decides a branch or an address.

Valgrind checks that for all kernels that its own processor has the instructions for, always the
portable ones among them (``ct/ct_check.c``).  For the others, the sequence of the instructions that
they execute is compared for different secrets (``ct/trace_check.c``).
"""

import functools
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemons import needs
from tests.helpers import compile_with_crypto

PROGRAMS = Path(__file__).parent / "ct"

WRAPPED = ("equal_in_constant_time", "aes256ctr_many")  # where ct_check.c steps in
ERROR = 9  # valgrind's exit status when it has something to report


def build(directory: Path, name: str, *options: str) -> Path:
    """Compile a check together with the extension's cryptography."""
    compiler = os.environ.get("CC", "cc").split()
    needs(compiler[0])
    program = directory / name
    # DWARF 4: Valgrind 3.19 cannot read what clang calls DWARF 5
    compile_with_crypto(compiler, [PROGRAMS / f"{name}.c"], program, ["-gdwarf-4", *options])
    return program


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


valgrind = functools.partial(run, "valgrind", "--quiet", f"--error-exitcode={ERROR}")


@pytest.fixture(scope="module")
def ct_check(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("valgrind")
    wrap = [f"-Wl,--wrap={function}" for function in WRAPPED]
    return build(tmp_path_factory.mktemp("ct"), "ct_check", *wrap)


@pytest.fixture(scope="module")
def trace_check(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if platform.machine() != "x86_64" or sys.platform != "linux":
        pytest.skip("only x86-64 Linux traces single instructions in this way")
    return build(tmp_path_factory.mktemp("ct"), "trace_check")


def checked(output: str) -> list[str]:
    """Return primitive and kernel, alternately, of everything that was checked."""
    lines = [line.split(": ") for line in output.splitlines()]
    return [word for name, state in lines if state.startswith("checked") for word in name.split()]


def test_nothing_depends_on_a_secret(ct_check: Path) -> None:
    result = valgrind(ct_check)
    print(result.stdout)
    assert result.stderr == ""
    assert result.returncode == 0
    for primitive in ("sha256", "aes256ctr", "modexp"):
        assert f"{primitive} portable: checked" in result.stdout.splitlines()


def test_a_dependence_would_be_found(ct_check: Path) -> None:
    result = valgrind(ct_check, "leak")
    assert result.returncode == ERROR
    assert "leak (ct_check.c" in result.stderr


def test_the_check_needs_valgrind(ct_check: Path) -> None:
    result = run(ct_check)
    assert result.returncode == 2
    assert "valgrind" in result.stderr


def test_no_branch_depends_on_a_secret(ct_check: Path, trace_check: Path) -> None:
    # One instruction at a time is slow: only what Valgrind has not checked.
    result = run(trace_check, *checked(valgrind(ct_check).stdout))
    print(result.stdout)
    assert result.returncode == 0, result.stdout


def test_a_branch_would_be_found(trace_check: Path) -> None:
    result = run(trace_check, "leak")
    assert result.returncode == 1
    assert "leak leak: depends on the secret" in result.stdout
