"""The command ``spiped``: the daemon."""

from __future__ import annotations

import sys

from spiped.command.program import leave, program_name, run_program
from spiped.lean_typing import NoReturn
from spiped.observe.log.log import Log
from spiped.options.command_line import read_spiped


def main() -> NoReturn:
    def command(log: Log) -> int:
        options = read_spiped(sys.argv[1:])
        from spiped.service.start import run  # only now: a usage error needs none of it

        return run(log, options)

    leave(run_program("spiped", program_name("spiped"), command))
