"""The interface that both back ends of the cryptography offer."""

from __future__ import annotations

from spiped.lean_typing import Protocol

Buffer = bytes | bytearray | memoryview


class PacketKey(Protocol):
    """The keys of one direction, expanded; what it holds is the back end's business."""

    def seal_many(self, number: int, plaintext: Buffer) -> bytes:
        """Seal ``plaintext`` (not empty) into packets of at most 1024 bytes of payload each.

        The packets are numbered from ``number`` on.
        """

    def open_many(self, number: int, packets: Buffer) -> tuple[bytes, int, str | None]:
        """Open whole packets, numbered from ``number`` on, up to the first bad one.

        Returns the messages of the good ones, joined; how many those were; and what is wrong with
        the packet behind them, or None if all were good.
        """

    def wipe(self) -> None:
        """Erase the keys.  The object cannot be used afterwards."""


class Backend(Protocol):
    """Secrets are returned as bytearrays, so that their owner can erase them (`wipe`)."""

    name: str
    locked_per_connection: int  # bytes of secret memory, at most

    def random_secret(self, length: int) -> bytearray:
        """Random bytes from the operating system."""

    def forbid_dumps(self) -> None:
        """Make the process non-dumpable, where the system has such a thing."""

    def secret_memory(self, length: int) -> memoryview:
        """Zeroed memory for a secret: not swapped out, if the system allows, and not dumped.

        It is erased when nobody refers to it any more.
        """

    def lock_secrets(self) -> None:
        """Lock all secret memory again: a child does not inherit its parent's locks."""

    def secrets_are_locked(self) -> bool:
        """The system has allowed it for all secret memory so far."""

    def wipe_secrets(self) -> None:
        """Erase all secret memory, before the process ends."""

    def sha256(self, data: Buffer) -> bytearray:
        """SHA-256 (FIPS 180-4)."""

    def hmac_sha256(self, key: Buffer, data: Buffer) -> bytearray:
        """HMAC-SHA256 (RFC 2104)."""

    def equal(self, a: Buffer, b: Buffer) -> bool:
        """Compare two strings of the same length in constant time."""

    def power_of_generator(self, x: Buffer) -> bytearray:
        """2^(2^258 + x) mod p in RFC 3526's group 14, 256 bytes; x has 32 bytes."""

    def power(self, base: Buffer, x: Buffer) -> bytearray:
        """base^(2^258 + x) mod p, 256 bytes; base < p has 256 bytes."""

    def packet_key(self, E: Buffer, H: Buffer) -> PacketKey:
        """Expand a direction's encryption and authentication keys, 32 bytes each."""


def wipe(*secrets: bytearray | memoryview) -> None:
    """Overwrite secrets in place."""
    for secret in secrets:
        secret[:] = bytes(len(secret))
