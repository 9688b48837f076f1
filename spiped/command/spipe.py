"""The command ``spipe``: connects the standard streams to a ``spiped -d``."""

from __future__ import annotations

import gc
import os
import signal
import sys

from spiped.command.program import leave, program_name, run_program
from spiped.crypto import select
from spiped.errors import OperatorError
from spiped.lean_typing import NoReturn
from spiped.observe.log.common import Remark
from spiped.observe.log.log import Log
from spiped.options.command_line import read_spipe
from spiped.options.settings import PipeOptions
from spiped.process.signals import is_ignored, unblock_signals
from spiped.process.streams import keep_streams_open
from spiped.process.title import name_process
from spiped.stdio.session import StdioSession, pipe_settings

# What tells the program to end; ssh sends the first to its ProxyCommand when a session is over.
ENDING = (signal.SIGHUP, signal.SIGTERM)


def _connect(log: Log, options: PipeOptions) -> int:
    keep_streams_open()
    name_process(log.name)
    for number in ENDING:
        if not is_ignored(number):
            signal.signal(number, lambda number, frame: os._exit(0))
    if not is_ignored(signal.SIGINT):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    unblock_signals()
    crypto, warnings = select()
    for warning in warnings:
        log.event(Remark(warning))

    try:
        pipe = pipe_settings(options, crypto, log)
        session = StdioSession(pipe, crypto, sandbox=options.sandbox)

        def end(number: int, frame: object) -> None:
            if not session.tell_to_end():
                crypto.wipe_secrets()
                # The sockets reset when they are closed without more ado: the peer does not take
                # this for the end of the data.
                os._exit(0)

        for number in ENDING:
            if not is_ignored(number):
                signal.signal(number, end)
        gc.freeze()
        gc.enable()  # which `entry` has postponed
        message = session.run()
    finally:
        crypto.wipe_secrets()
    if message is None:
        return 0
    raise OperatorError(message)


def main() -> NoReturn:
    name = program_name("spipe")
    leave(run_program("spipe", name, lambda log: _connect(log, read_spipe(sys.argv[1:]))))
