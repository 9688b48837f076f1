"""Programs that are ours, but for what a test does to them."""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = """#!{python}
import sys
import spiped
spiped.__version__ = "{version}"
{harm}
from spiped.entry import spiped as main
sys.exit(main())
"""


def write_program(
    path: Path, version: str = "1", harm: str = "", python: str = sys.executable
) -> str:
    """Write a `spiped` of that version that executes these lines of Python first."""
    path.write_text(PROGRAM.format(python=python, version=version, harm=harm))
    path.chmod(0o755)
    return str(path)
