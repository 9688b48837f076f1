"""Programs that are ours, but for what a test does to them."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.helpers import ROOT

PROGRAM = """#!{python}
import sys
import spiped
spiped.__version__ = "{version}"
{harm}
from spiped.entry import {name} as main
main()
"""


def write_program(
    path: Path,
    version: str = "1",
    harm: str = "",
    python: str = sys.executable,
    name: str = "spiped",
) -> str:
    """Write a `spiped` or `spipe` of that version that executes these lines of Python first."""
    path.write_text(PROGRAM.format(python=python, version=version, harm=harm, name=name))
    path.chmod(0o755)
    return str(path)


# Lines of Python that make a program's system refuse something from the moment at which a function
# is called for the first time.
REFUSING = """
import importlib, sys
sys.path.append({root!r})
from tests.process.refuse import refuse
def plant():
    owner = importlib.import_module({module!r})
    *path, name = {function!r}.split(".")
    for part in path:
        owner = getattr(owner, part)
    function = getattr(owner, name)
    def refusing(*arguments, **more):
        setattr(owner, name, function)
        refuse({calls!r})
        return function(*arguments, **more)
    setattr(owner, name, refusing)
plant()
"""


def refusing_from(module: str, function: str, **calls: str) -> str:
    """The harm of a system that refuses these calls from the first call of this function on."""
    return REFUSING.format(root=str(ROOT), module=module, function=function, calls=calls)


# Lines of Python that count imports of the program's own modules.
COUNTING = """
import os, sys
imports = 0
def count(event, arguments):
    global imports
    if event == "import" and arguments[0].startswith("spiped."):
        imports += 1
        {action}
sys.addaudithook(count)
"""


def counting_imports(path: Path) -> str:
    """The harm that writes to a file how many modules have been imported."""
    return COUNTING.format(action=f"open({str(path)!r}, 'w').write(str(imports))")


def signalled_at_import(position: int, number: int) -> str:
    """The harm of a signal at the import of the module with this position."""
    action = f"if imports == {position}: os.kill(os.getpid(), {int(number)})"
    return COUNTING.format(action=action)
