"""The far end of a handshake, spoken by hand: everything it says is known in advance."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from spiped.crypto import Backend
from spiped.crypto.sizes import PACKET_BYTES
from spiped.net.address import SocketAddress
from spiped.proto.derivation import SessionKeys, handshake_keys, session_keys
from spiped.proto.handshake import HELLO_BYTES, ONE, Role
from spiped.proto.packets import Opener, Sealer
from tests.net.network import Target, opposite_end
from tests.net.rig import K, Outcome, Peer, Rig

NONCE = b"\xa5" * 32
HANDSHAKE_BYTES = len(NONCE) + HELLO_BYTES


class Voice:
    """A weak peer of a side of ours in the given role."""

    def __init__(self, rig: Rig, role: Role, peer: Peer) -> None:
        self.peer = peer
        self._rig = rig
        self._crypto: Backend = rig.crypto
        self._role = role

    def wait_for_nonce(self) -> None:
        """Without it, nothing can be said but our own."""
        self._rig.until(lambda: len(self.peer.received) >= 32)

    def _nonces(self) -> tuple[bytes, bytes]:
        """nonce_C and nonce_S."""
        theirs = bytes(self.peer.received[:32])
        return (theirs, NONCE) if self._role is Role.C else (NONCE, theirs)

    def hello(self, y: bytes = ONE, key: bytes = K) -> bytes:
        """Our nonce, y and h: all that we say in a handshake."""
        dhmac_C, dhmac_S = handshake_keys(self._crypto, key, *self._nonces())
        dhmac = dhmac_S if self._role is Role.C else dhmac_C
        return NONCE + y + self._crypto.hmac_sha256(dhmac, y)

    def hello_of_another_client(self) -> bytes:
        """What we would say to C if we took ourselves for C, too."""
        dhmac_C = handshake_keys(self._crypto, K, *reversed(self._nonces())).dhmac_C
        return NONCE + ONE + self._crypto.hmac_sha256(dhmac_C, ONE)

    def _keys(self) -> SessionKeys:
        return session_keys(self._crypto, K, *self._nonces(), ONE)

    def seal(self, message: bytes) -> bytes:
        """What we say first, once the handshake is complete."""
        keys = self._keys()
        mine = keys[2:] if self._role is Role.C else keys[:2]
        return Sealer(self._crypto, *mine).seal(message)

    def opened(self) -> bytes:
        """All that we have been told since."""
        keys = self._keys()
        theirs = keys[:2] if self._role is Role.C else keys[2:]
        return Opener(self._crypto, *theirs).open(self.peer.received[HANDSHAKE_BYTES:])


def converse(rig: Rig, plain: Peer, voice: Voice) -> None:
    """Exchange data in both directions, once the hello has been said."""
    voice.peer.write(voice.seal(b"from afar"))
    rig.until(lambda: plain.received == b"from afar")
    plain.write(b"from here")
    rig.until(lambda: len(voice.peer.received) == HANDSHAKE_BYTES + PACKET_BYTES)
    assert voice.opened() == b"from here"


class Talk(Voice):
    """The peer of a handshake of the rig's plane, and the plain side of that connection."""

    def __init__(
        self,
        rig: Rig,
        role: Role,
        peer: Peer,
        outcome: Outcome,
        client: Peer | None,
        target: Target,
    ) -> None:
        super().__init__(rig, role, peer)
        self.outcome = outcome
        self._client = client  # of C
        self.target = target
        self._established = rig.established

    @property
    def trusted(self) -> bool:
        """What can be seen of it that we have proved to hold the key.

        S contacts its target, C relays; for the latter, no other connection may begin to relay.
        """
        if self._client is None:
            return self.target.contacted
        return self._rig.established != self._established

    def plain(self) -> Peer:
        """The peer at the plain side: the client of C, the target of S once it is contacted."""
        if self._client is None:
            self._client = self._rig.accept(self.target)
        return self._client


def begin(
    rig: Rig,
    role: Role,
    transport: str = "unix",
    plain: str = "unix",
    target: Target | None = None,
    address: SocketAddress | None = None,
    **options: Any,
) -> Talk:
    """Begin a handshake, and wait for the plane's nonce.

    ``transport`` is that of the encrypted side; ``target`` or ``address``: what S is to connect to,
    in place of a target that answers.
    """
    inner, outer = (plain, transport) if role is Role.C else (transport, plain)
    near, accepted = rig.network.pair(inner)
    target = target or rig.network.target(outer)
    outcome = rig.carry(role, accepted, address or target.address, **options)
    peer = rig.peer(near)
    if role is Role.C:
        talk = Talk(rig, role, rig.accept(target), outcome, peer, target)
    else:
        talk = Talk(rig, role, peer, outcome, None, target)
    talk.wait_for_nonce()
    return talk


def stuff(sock: socket.socket) -> int:
    """Write into a socket until it is full; returns how much that was."""
    sock.setblocking(False)
    written = 0
    with suppress(BlockingIOError):
        while True:
            written += sock.send(bytes(100))
    return written


@contextmanager
def held_up(talk: Talk) -> Iterator[int]:
    """The plane cannot send to the peer, because of so much else on the way."""
    talk.peer.reading = False
    with opposite_end(talk.peer.sock) as planes:
        junk = stuff(planes)
    yield junk
    talk.peer.reading = True
