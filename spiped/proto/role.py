"""The two roles of the protocol."""

from __future__ import annotations

import enum


class Role(enum.Enum):
    """Who connected: C, the side that encrypts what it accepts, or S, the side that decrypts."""

    C = "C"
    S = "S"
