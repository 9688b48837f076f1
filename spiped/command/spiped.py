"""The command ``spiped``: the daemon."""

from __future__ import annotations

import sys

from spiped.command.program import leave, program_name, run_program
from spiped.lean_typing import NoReturn
from spiped.options.command_line import read_spiped


def main() -> NoReturn:
    name = program_name("spiped")

    def command() -> int:
        options = read_spiped(sys.argv[1:])
        from spiped.service.start import run  # only now: a usage error needs none of it

        return run(name, options)

    leave(run_program("spiped", name, command))
