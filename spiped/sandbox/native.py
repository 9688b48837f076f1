"""The sandbox in C (`_native/sandbox/`)."""

from __future__ import annotations

from spiped._native import lib
from spiped.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spiped.sandbox import Needs

forbid_new_privileges = lib.sandbox_forbid_new_privileges
landlock_abi = lib.sandbox_landlock_abi
can_filter = lib.sandbox_can_filter


def _flags(needs: Needs) -> int:
    flags = 0
    for wanted, flag in (
        (needs.ports, lib.SANDBOX_TCP),
        (needs.unix, lib.SANDBOX_UNIX),
        (needs.bind, lib.SANDBOX_BIND),
        (needs.threads, lib.SANDBOX_THREADS),
    ):
        flags |= flag if wanted else 0
    return flags


def landlock(abi: int, needs: Needs) -> int:
    ports = needs.ports
    error: int = lib.sandbox_landlock(abi, _flags(needs), ports, len(ports), needs.bind_port)
    return error


def filter_calls(needs: Needs) -> int:
    error: int = lib.sandbox_filter(_flags(needs))
    return error
