"""Terms of the protocol: roles, the sides of a connection, and how far a peer has come."""

from __future__ import annotations

import enum


class Role(enum.Enum):
    """Who connected: C, the side that encrypts what it accepts, or S, the side that decrypts."""

    C = "C"
    S = "S"


# The sides of a connection
PLAIN, CRYPT = 0, 1


class Heard(enum.Enum):
    """What has been received of the peer in a handshake."""

    NOTHING = 0
    SOMETHING = 1  # less than a nonce
    NONCE = 2
    PROOF = 3  # that it holds the key
