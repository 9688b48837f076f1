"""What several test files share."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
VECTORS = json.loads((ROOT / "tests" / "vectors" / "vectors.json").read_text())

unhex = bytes.fromhex

NATIVE = ROOT / "_native"


def compile_with_crypto(
    compiler: Sequence[str], sources: Sequence[Path], program: Path, options: Sequence[str] = ()
) -> None:
    """Compile a C program together with the extension's cryptography.

    The options come last, where libraries have to be.
    """
    names = ("secret/secret.c", "protocol/hmac_sha256.c", "protocol/packet.c")
    crypto = [*(NATIVE / name for name in names), *sorted((NATIVE / "kernels").rglob("*.c"))]
    flags = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}")
    command = [*compiler, *flags, *map(str, [*sources, *crypto]), "-o", str(program), *options]
    subprocess.run(command, check=True)


def lack(reason: str) -> NoReturn:
    """End a test that cannot do without what is missing: visibly, and in CI as a failure."""
    if os.environ.get("SPIPED_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
