"""The programs in C that the measurements need, compiled when they are."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).resolve().parent
NATIVE = SOURCES.parent / "_native"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread")
PROTOCOL = ("protocol", "secret", "kernels")  # of the extension: what a client of the daemon needs


class Programs(NamedTuple):
    load: str  # the load generator, load.c
    plain_relay: str  # the floor, plain_relay.c


def build(directory: Path) -> Programs:
    """Compile what every run needs into ``directory``."""
    for name in Programs._fields:
        _compile([SOURCES / f"{name}.c"], directory / name)
    return Programs(*(str(directory / name) for name in Programs._fields))


def build_overload(directory: Path) -> str:
    """The same for overload.c, which needs the protocol, and so takes longer; once."""
    program = directory / "overload"
    if not program.exists():
        parts = [path for room in PROTOCOL for path in sorted((NATIVE / room).rglob("*.c"))]
        _compile([SOURCES / "overload.c", *parts], program)
    return str(program)


def _compile(sources: list[Path], program: Path) -> None:
    compiler = shlex.split(os.environ.get("CC", "cc"))
    words = [*FLAGS, f"-I{NATIVE}", *map(str, sources), "-o", str(program)]
    subprocess.run([*compiler, *words], check=True)
