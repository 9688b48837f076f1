"""Cryptography: one interface (`backend.Backend`), two back ends."""

from __future__ import annotations

import os

from spiped.crypto.backend import Backend, Buffer, PacketKey, wipe
from spiped.errors import OperatorError
from spiped.lean_typing import NamedTuple, cast

__all__ = ["Backend", "Buffer", "PacketKey", "Selection", "select", "wipe"]


class Selection(NamedTuple):
    """The back end that serves, and what the operator should hear about it."""

    backend: Backend
    warnings: list[str]


def select() -> Selection:
    """Choose the back end and its kernels, as SPIPED_BACKEND and SPIPED_KERNELS ask.

    Modules are imported here, and not above, because either costs start-up time.
    """
    wanted = os.environ.get("SPIPED_BACKEND", "")
    if wanted not in ("", "native", "pure"):
        raise OperatorError(f"SPIPED_BACKEND: neither native nor pure: {wanted}")
    warnings: list[str] = []
    if wanted != "pure":
        try:
            from spiped.crypto import native
        except ImportError as error:
            if wanted == "native":
                raise OperatorError(f"SPIPED_BACKEND: no native back end: {error}") from error
            warnings.append("The C extension is not built: using the slow pure back end")
        else:
            warnings += native.select_kernels(os.environ.get("SPIPED_KERNELS", ""))
            return Selection(cast(Backend, native), warnings)
    from spiped.crypto import pure

    return Selection(cast(Backend, pure), warnings)
