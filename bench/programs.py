"""The programs in C that the measurements need, compiled when they are."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).resolve().parent
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread")


class Programs(NamedTuple):
    load: str  # the load generator, load.c
    plain_relay: str  # the floor, plain_relay.c


def build(directory: Path) -> Programs:
    """Compile everything into ``directory``."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    for name in Programs._fields:
        source = SOURCES / f"{name}.c"
        subprocess.run([*compiler, *FLAGS, str(source), "-o", str(directory / name)], check=True)
    return Programs(*(str(directory / name) for name in Programs._fields))
