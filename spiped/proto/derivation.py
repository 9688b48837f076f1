"""Key derivation (DESIGN.md, "Keys").

    K                        SHA-256 of the key file
    dhmac_C || dhmac_S       KDF(nonce_C || nonce_S, 64)
    E_C||H_C||E_S||H_S       KDF(nonce_C || nonce_S || y_SC, 128)

where KDF(salt, n) is PBKDF2-HMAC-SHA256 (RFC 8018) with password K and one iteration.
"""

from __future__ import annotations

from spiped.crypto import Backend, Buffer, wipe
from spiped.crypto.sizes import KEY_BYTES
from spiped.lean_typing import NamedTuple


class HandshakeKeys(NamedTuple):
    """The keys that authenticate the two Diffie-Hellman values."""

    dhmac_C: bytearray
    dhmac_S: bytearray


class SessionKeys(NamedTuple):
    """Encryption and authentication keys: C's are for packets from C to S, S's for the others."""

    E_C: bytearray
    H_C: bytearray
    E_S: bytearray
    H_S: bytearray


def kdf(crypto: Backend, K: Buffer, salt: Buffer, count: int) -> list[bytearray]:
    """``count`` keys of 32 bytes.  With one iteration, block i is HMAC(K, salt || be32(i))."""
    block = bytearray(salt) + bytes(4)
    keys = []
    for i in range(1, count + 1):
        block[-4:] = i.to_bytes(4, "big")
        keys.append(crypto.hmac_sha256(K, block))
    wipe(block)
    assert all(len(key) == KEY_BYTES for key in keys)
    return keys


def handshake_keys(crypto: Backend, K: Buffer, nonce_C: Buffer, nonce_S: Buffer) -> HandshakeKeys:
    return HandshakeKeys(*kdf(crypto, K, bytes(nonce_C) + bytes(nonce_S), 2))


def session_keys(
    crypto: Backend, K: Buffer, nonce_C: Buffer, nonce_S: Buffer, y_SC: Buffer
) -> SessionKeys:
    salt = bytearray(nonce_C) + nonce_S + y_SC
    keys = SessionKeys(*kdf(crypto, K, salt, 4))
    wipe(salt)
    return keys
