"""Which data plane carries connections here."""

from __future__ import annotations

from spiped.crypto import Backend
from spiped.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spiped.plane.interface import PlaneMaker


def choose_plane(crypto: Backend) -> PlaneMaker:
    """The best data plane that this system has.

    Imports it, so it is to be called before privileges are dropped.
    """
    if crypto.name == "native":
        from spiped.plane import native

        if native.AVAILABLE:
            return native.NativePlane
    from spiped.plane.portable.plane import PortablePlane

    return lambda reactor, slot, entries: PortablePlane(reactor, crypto, slot, entries)
