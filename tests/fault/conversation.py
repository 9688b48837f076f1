"""A connection through the daemon under test, both of whose far ends are ours.

    ACCEPTED side - daemon - CONNECTED side

One of the sides is the plain one, the other speaks the protocol; which is which, is a matter of the
daemon's role.  Nothing here blocks: `pump` moves what can be moved now.
"""

from __future__ import annotations

import socket
from hashlib import sha256

from spiped.crypto import Backend
from spiped.errors import HandshakeError
from spiped.proto.handshake import HELLO_BYTES, Handshake, Role, Step, draw_secrets
from spiped.proto.packets import Opener, Sealer
from tests.daemons import KEY
from tests.net.rig import END, RESET, Peer

RECEIVE_BUFFER = 65_536  # bytes that the system holds for us, so that a slow reader is one soon


def _peer(sock: socket.socket) -> Peer:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return Peer(sock)


class Side:
    """One far end: what was said there, and what has been heard."""

    def __init__(self) -> None:
        self.peer: Peer | None = None
        self.said = bytearray()
        self.heard = bytearray()
        self.finished = False  # it has ended its stream, in an orderly way

    @property
    def ending(self) -> str | None:
        return None if self.peer is None else self.peer.ending


class Plain(Side):
    def say(self, data: bytes) -> None:
        assert self.peer is not None
        self.said += data
        self.peer.write(data)

    def listen(self) -> None:
        if self.peer is not None:
            self.heard += self.peer.received
            self.peer.received.clear()

    def is_whole(self) -> bool:
        """The stream may end here."""
        return True


class Crypt(Side):
    """The encrypted side: first a handshake, of which we say as much as we are told to."""

    def __init__(self, crypto: Backend, role: Role) -> None:
        super().__init__()
        self._crypto = crypto
        K = sha256(KEY).digest()
        # that ours is a weak one is no less work for the daemon
        secrets = draw_secrets(crypto, weak=True)
        self._handshake = Handshake(crypto, role, K, secrets, require_pfs=False)
        self._messages = [self._handshake.data_to_send()]
        self._role = role
        self.heard_in_handshake = 0  # bytes
        self.allowed = 0  # messages of the handshake that we may say
        self.refused: str | None = None  # why we do not believe what we hear
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None

    @property
    def is_ready(self) -> bool:
        return self._sealer is not None

    def say(self, data: bytes) -> None:
        assert self._sealer is not None
        assert self.peer is not None
        self.said += data
        self.peer.write(self._sealer.seal(data))

    def forge(self) -> None:
        """Say what is not authentic."""
        assert self._sealer is not None
        assert self.peer is not None
        packet = bytearray(self._sealer.seal(b"forged"))
        packet[-1] ^= 1
        self.peer.write(bytes(packet))

    def lie(self) -> None:
        """A hello that does not prove anything."""
        assert self.peer is not None
        self.peer.write(bytes(HELLO_BYTES))

    def listen(self) -> None:
        if self.peer is None or self.refused is not None:
            return
        received = self.peer.received
        if not self.is_ready:
            self._shake_hands(received)
        if self._opener is not None and received:
            self.heard += self._opener.open(received)
            received.clear()
            if self._opener.fault is not None:
                self.refused = str(self._opener.fault)

    def _shake_hands(self, received: bytearray) -> None:
        assert self.peer is not None
        handshake = self._handshake
        while True:
            while self._messages and self.allowed > 0:
                self.peer.write(self._messages.pop(0))
                self.allowed -= 1
            if handshake.computing:
                handshake.compute()
                self._messages.append(handshake.data_to_send())
                continue
            piece = bytes(received[: handshake.wanted])
            if not piece or handshake.step is Step.DONE:
                break
            del received[: len(piece)]
            self.heard_in_handshake += len(piece)
            try:
                handshake.receive(piece)
            except HandshakeError as error:
                self.refused = str(error)
                return
        self._messages = [message for message in self._messages if message]
        if handshake.step is Step.DONE and not self._messages:
            C, S = (keys := handshake.take_keys())[:2], keys[2:]
            ours, peers = (C, S) if self._role is Role.C else (S, C)
            self._sealer = Sealer(self._crypto, *ours)
            self._opener = Opener(self._crypto, *peers)

    def is_whole(self) -> bool:
        return self._opener is not None and not self._opener.inside_packet


class Conversation:
    """One connection; `begin` makes it, and the daemon makes the rest of it when it likes to."""

    def __init__(self, crypto: Backend, role: Role, listener: socket.socket) -> None:
        """``role`` is the daemon's, ``listener`` its target's."""
        self.plain = Plain()
        self.crypt = Crypt(crypto, Role.S if role is Role.C else Role.C)
        self.sides = (self.plain, self.crypt)
        ends = self.sides if role is Role.C else self.sides[::-1]
        self.accepted: Side = ends[0]
        self.connected: Side = ends[1]
        self.expects_target = True  # who connects to the target now belongs to this connection
        self._listener = listener

    def begin(self, source: tuple[str, int]) -> None:
        """Connect to the daemon."""
        self.accepted.peer = _peer(socket.create_connection(source))

    def other(self, side: Side) -> Side:
        return self.plain if side is self.crypt else self.crypt

    @property
    def is_ready(self) -> bool:
        """Both ends are there, and the handshake is complete."""
        return self.connected.peer is not None and self.crypt.is_ready

    @property
    def is_over(self) -> bool:
        """Nothing will come any more at any end that there is."""
        return all(side.peer is None or side.ending is not None for side in self.sides)

    @property
    def has_arrived(self) -> bool:
        """All that was said has been heard."""
        return all(side.said == self.other(side).heard for side in self.sides)

    def pump(self) -> bool:
        moved = False
        if self.connected.peer is None and self.expects_target:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                pass
            else:
                self.connected.peer = _peer(sock)
                moved = True
        for side in self.sides:
            moved |= side.peer is not None and side.peer.pump()
            side.listen()
        return moved

    def finish(self, side: Side) -> None:
        """End what a side says, in an orderly way, behind all that it has said."""
        assert side.peer is not None
        side.finished = True
        side.peer.finish()

    def forget(self) -> None:
        """What was said and has arrived."""
        for side in self.sides:
            side.said.clear()
            side.heard.clear()

    def reset(self, side: Side) -> None:
        assert side.peer is not None
        side.peer.reset()
        side.peer.ending = RESET

    def close(self) -> None:
        for side in self.sides:
            if side.peer is not None:
                side.peer.close()

    def broken_promises(self) -> list[str]:
        """What has become of it that must not become of any connection, however it fails."""
        broken = []
        if self.crypt.refused is not None:
            broken.append(f"what came out at the encrypted side is bad: {self.crypt.refused}")
        for side, name in zip(self.sides, ("plain", "encrypted"), strict=True):
            said = self.other(side).said
            heard = f"after {len(side.heard)} of {len(said)} bytes at the {name} side"
            if not said.startswith(side.heard):
                broken.append(f"wrong bytes {heard}")
            if side.ending == END:
                if side.heard != said or not self.other(side).finished:
                    broken.append(f"a failure that looks like a clean end {heard}")
                elif not side.is_whole():
                    broken.append(f"a clean end inside a packet {heard}")
        return broken
