"""What keeps the secrets of a process from others: no core dumps, no swapping out."""

from __future__ import annotations

import resource

from spiped.crypto import Backend
from spiped.lean_typing import suppress


def forbid_core_dumps(crypto: Backend) -> None:
    """No core file may hold our keys, and no process of the same user may look at them."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    crypto.forbid_dumps()


def allow_locked_memory() -> None:
    """Raise what may be locked in memory as far as we may."""
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    for limit in (resource.RLIM_INFINITY, hard):
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
            return


def lockable() -> int:
    """How many bytes of memory may be locked; a large number if that is unlimited."""
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return 2**62 if soft == resource.RLIM_INFINITY else soft
