"""Where the programs begin, before anything is imported that takes time.

A signal that comes from here on waits until the program knows what to do about it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` is slower to import


def spiped() -> int:
    """The command ``spiped``; returns its exit status."""
    _let_signals_wait()
    from spiped.command.spiped import main

    return main()


def spipe() -> int:
    """The command ``spipe``; does not return."""
    _let_signals_wait()
    from spiped.command.spipe import main

    return main()


def _let_signals_wait() -> None:
    _signal.pthread_sigmask(
        _signal.SIG_BLOCK,
        (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM, _signal.SIGUSR1, _signal.SIGUSR2),
    )
