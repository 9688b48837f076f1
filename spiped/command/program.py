"""What all programs do alike: they have a name, and turn the operator's mistakes into messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from spiped.errors import REFUSALS, OperatorError, as_operator_error
from spiped.lean_typing import NoReturn, suppress
from spiped.observe.log.log import Log
from spiped.observe.log.printable import printable
from spiped.options.grammar import Help, Version
from spiped.options.values import Usage


def program_name(default: str) -> str:
    """What a program calls itself in its messages: as it was called, unless as a Python module."""
    name = os.path.basename(sys.argv[0])
    return printable(name) if name and not name.endswith(".py") else default


def run_program(program: str, name: str, command: Callable[[Log], int]) -> int:
    """Run a program, called by this name, with a log; returns the exit status."""
    log = Log(name)
    try:
        return command(log)
    except Version as version:
        _print(sys.stderr, f"{name} {version}\n")
        return 0
    except Help:
        from spiped.options.usage import help_text  # only now: hardly anybody asks

        _print(sys.stdout, help_text(program))
        return 0
    except Usage as error:
        from spiped.options.usage import usage

        log.refusal(error)
        _print(sys.stderr, usage(program))
        if error.hint:
            log.refusal(OperatorError(error.hint))
        return 1
    except OperatorError as error:
        log.refusal(error)
        return 1
    except REFUSALS as error:
        log.refusal(as_operator_error(error))
        return 1


def leave(status: int) -> NoReturn:
    """End with this status.

    Not by way of the interpreter's end: it would go on if PYTHONINSPECT is set, and threads that
    wait for the standard streams would be unwound by a library that is loaded only then.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    os._exit(status)


def _print(stream: object, text: str) -> None:
    """Write to a standard stream, which may be closed."""
    with suppress(OSError, ValueError, AttributeError):
        stream.write(text)  # type: ignore[attr-defined]
        stream.flush()  # type: ignore[attr-defined]
