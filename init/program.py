"""Write the programs of an installation.

    program.py directory=... interpreter=... [library=...]

They run isolated (``python -I``): variables that another program has set, a module that lies in the
current directory, or somebody's private packages do not concern them.  With a library, in which
spiped and all that it needs was installed, they look for modules there, and site-packages are not
for them either (``-S``), which also lets them start faster.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROGRAMS = ("spiped", "spipe", "spipedctl", "spiped-top")

SHEBANG_MAX = 127  # bytes, on some systems

# Where an interpreter's path is too long, or has blanks: the shell executes it, and Python sees a
# string.
SHELL = """#!/bin/sh
'''exec' '{interpreter}' {flags} "$0" "$@"
' '''
"""

LIBRARY = """import sys

sys.path.insert(0, {library!r})

"""

BODY = """from spiped.entry import {entry} as main

main()
"""


def text_of(name: str, interpreter: str, library: str | None) -> str:
    flags = "-I" if library is None else "-IS"
    shebang = f"#!{interpreter} {flags}\n"
    if len(os.fsencode(shebang)) > SHEBANG_MAX or " " in interpreter:
        shebang = SHELL.format(interpreter=interpreter.replace("'", "'\\''"), flags=flags)
    path = "" if library is None else LIBRARY.format(library=library)
    return shebang + path + BODY.format(entry=name.replace("-", "_"))


def main() -> None:
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    for name in PROGRAMS:
        path = Path(given["directory"]) / name
        path.unlink(missing_ok=True)  # it may be a link to a program of before
        path.write_text(text_of(name, given["interpreter"], given.get("library")))
        path.chmod(0o755)


if __name__ == "__main__":
    main()
