"""File descriptors: how many there may be, and closing those that a child does not need."""

from __future__ import annotations

import os
import resource

from spiped.errors import OperatorError
from spiped.lean_typing import suppress

# Where a process finds its own descriptors, on Linux and elsewhere
LISTINGS = ("/proc/self/fd", "/dev/fd")

# Where there is no listing, every number is tried up to this, or up to the limit if that is lower.
UNLISTED_MAX = 65536


def limit() -> int:
    """How many a process may have; a large number if that is unlimited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**62 if soft == resource.RLIM_INFINITY else soft


def require(count: int) -> None:
    """Raise OperatorError if the system lets us have fewer."""
    if limit() < count:
        raise OperatorError(
            f"Too few file descriptors: {count} are needed, `ulimit -n` is {limit()}"
        )


def raise_limit(wanted: int | None) -> None:
    """Allow so many, None as many as may be, as far as the hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    most = 2**62 if hard == resource.RLIM_INFINITY else hard
    new = most if wanted is None else min(wanted, most)
    if new > soft:
        with suppress(OSError, ValueError):  # a system-wide limit is lower
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard if new == 2**62 else new, hard))


def close_all_but(*keep: int) -> None:
    """Close all descriptors but the standard streams and these."""
    for listing in LISTINGS:
        with suppress(OSError):
            numbers = [int(name) for name in os.listdir(listing)]
            break
    else:
        numbers = list(range(min(limit(), UNLISTED_MAX)))
    for fd in numbers:
        if fd > 2 and fd not in keep:
            with suppress(OSError):  # the listing's own
                os.close(fd)
