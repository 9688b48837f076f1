"""The packet layer as two machines, one per direction (DESIGN.md, "Packets")."""

from __future__ import annotations

from spiped.crypto import Backend, Buffer
from spiped.crypto.sizes import PACKET_BYTES
from spiped.errors import Fault, PacketError


class Sealer:
    """Turns a stream of bytes into packets."""

    def __init__(self, crypto: Backend, E: Buffer, H: Buffer) -> None:
        self._key = crypto.packet_key(E, H)
        self.number = 0

    def seal(self, plaintext: Buffer) -> bytes:
        """The packets that carry ``plaintext`` (not empty), ready to be sent."""
        packets = self._key.seal_many(self.number, plaintext)
        self.number += len(packets) // PACKET_BYTES
        return packets

    def wipe(self) -> None:
        self._key.wipe()


class Opener:
    """Turns a stream of packets, cut anywhere, back into bytes."""

    def __init__(self, crypto: Backend, E: Buffer, H: Buffer) -> None:
        self._key = crypto.packet_key(E, H)
        self._partial = bytearray()
        self.number = 0
        self.fault: PacketError | None = None

    @property
    def inside_packet(self) -> bool:
        """The stream has been cut inside a packet: it must not end here."""
        return bool(self._partial)

    def open(self, data: Buffer) -> bytes:
        """The messages of all packets that ``data`` completes, up to the first bad one.

        Once there was a bad packet, `fault` says why, and nothing may be opened any more.
        """
        assert self.fault is None
        self._partial += data
        whole = len(self._partial) - len(self._partial) % PACKET_BYTES
        if whole == 0:
            return b""
        packets = bytes(memoryview(self._partial)[:whole])
        del self._partial[:whole]
        plaintext, opened, fault = self._key.open_many(self.number, packets)
        self.number += opened
        if fault is not None:
            self.fault = PacketError(Fault(fault))
        return plaintext

    def wipe(self) -> None:
        self._key.wipe()
