"""Where the programs begin, before anything is imported that takes time.

A signal that comes from here on waits until the program knows what to do about it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` is slower to import
import gc
import os
import sys


def spiped() -> None:
    """The command ``spiped``; does not return."""
    _begin()
    _postpone_collection()
    from spiped.command.spiped import main

    main()


def spipe() -> None:
    """The command ``spipe``; does not return."""
    _begin()
    _postpone_collection()
    from spiped.command.spipe import main

    main()


def spipedctl() -> None:
    """The command ``spipedctl``; does not return."""
    _begin()
    from spiped.command.ctl import main

    main()


def spiped_top() -> None:
    """The command ``spiped-top``; does not return."""
    _begin()
    from spiped.command.top import main

    main()


def _postpone_collection() -> None:
    """Look for no garbage until the program says so: what is imported now stays.

    Else that would take a tenth of the time that `spipe` needs to start.
    """
    gc.disable()


def _begin() -> None:
    _let_signals_wait()
    if not sys.flags.isolated:
        _look_nowhere_else()


def _look_nowhere_else() -> None:
    """Import nothing from where another program's variables, or the place of this one, point to.

    What the interpreter has imported before is its own business.
    """
    ours = os.path.dirname(os.path.dirname(_absolute(__file__)))
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    here = os.path.dirname(_absolute(sys.argv[0]))
    foreign = {_absolute(path) for path in (*named, here, os.curdir) if path} - {ours}
    sys.path[:] = [path for path in sys.path if _absolute(path) not in foreign]


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # the current directory is gone
        return path


def _let_signals_wait() -> None:
    _signal.pthread_sigmask(
        _signal.SIG_BLOCK,
        (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM, _signal.SIGUSR1, _signal.SIGUSR2),
    )
