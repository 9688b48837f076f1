"""Doing aside, in a thread, what may take long and cannot be interrupted."""

from __future__ import annotations

import _thread
import errno
from collections.abc import Callable

from spiped.lean_typing import TYPE_CHECKING
from spiped.process.signals import block_signals

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


def start_thread(function: Callable[[], None]) -> None:
    """Raises OSError if the system lets us have none."""
    try:
        _thread.start_new_thread(function, ())
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from error


def aside(function: Callable[[], T]) -> T:
    """What the function returns or raises; while we wait for it, signals are handled.

    Raises OSError if the system lets us have no thread.
    """
    results: list[T] = []
    failures: list[BaseException] = []
    done = _thread.allocate_lock()

    def work() -> None:
        try:
            block_signals()  # they are for the thread that waits, and wake that one
            results.append(function())
        except BaseException as error:
            failures.append(error)
        finally:
            done.release()

    done.acquire()
    start_thread(work)
    done.acquire()
    if failures:
        raise failures[0]
    return results[0]
