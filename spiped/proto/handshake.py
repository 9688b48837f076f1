"""The handshake (DESIGN.md, "Handshake"): one machine for both roles, bytes in and bytes out.

Both sides send a nonce, exchange authenticated Diffie-Hellman values, and derive the session's
keys.  The steps are the same for both; only their order differs: the client commits to its value
first, while the server spends an exponentiation only on a peer that has proved to hold the key.
"""

from __future__ import annotations

import enum

from spiped.crypto import Backend, Buffer, wipe
from spiped.crypto.group14 import P
from spiped.crypto.sizes import GROUP_BYTES, NONCE_BYTES, SECRET_BYTES, TAG_BYTES
from spiped.errors import Fault, HandshakeError
from spiped.lean_typing import NamedTuple
from spiped.proto.derivation import SessionKeys, handshake_keys, session_keys
from spiped.proto.terms import Heard, Role

HELLO_BYTES = GROUP_BYTES + TAG_BYTES  # y || h

P_BYTES = P.to_bytes(GROUP_BYTES, "big")
ONE = (1).to_bytes(GROUP_BYTES, "big")


class Step(enum.Enum):
    """What the machine does next."""

    NONCE = "receive the peer's nonce"
    COMMIT = "compute and send our y and its h"
    PEER = "receive the peer's y and h"
    AGREE = "compute y_SC and the session's keys"
    DONE = "nothing: the keys are there"
    FAILED = "nothing: the peer was refused"


# The transition table: a step that succeeds leads to the one behind it in its role's column.
ORDER = {
    Role.C: (Step.NONCE, Step.COMMIT, Step.PEER, Step.AGREE, Step.DONE),
    Role.S: (Step.NONCE, Step.PEER, Step.COMMIT, Step.AGREE, Step.DONE),
}

# What a step needs from the peer; a step that needs nothing is ours to compute.
NEEDS = {Step.NONCE: NONCE_BYTES, Step.PEER: HELLO_BYTES}


class Secrets(NamedTuple):
    """The random numbers of one handshake.  ``x`` is None in weak mode: y = 1, no secrecy."""

    nonce: bytes
    x: bytearray | None


def draw_secrets(crypto: Backend, weak: bool) -> Secrets:
    nonce = bytes(crypto.random_secret(NONCE_BYTES))
    return Secrets(nonce, None if weak else crypto.random_secret(SECRET_BYTES))


class Handshake:
    """One side of a handshake.

    The owner sends what `data_to_send` returns, gives `receive` exactly `wanted` bytes in as many
    pieces as they come, and calls `compute` (one exponentiation, or none) while `computing`.
    """

    def __init__(
        self, crypto: Backend, role: Role, K: Buffer, secrets: Secrets, *, require_pfs: bool
    ) -> None:
        self.step = Step.NONCE
        self._crypto = crypto
        self._role = role
        self._K = K
        self._nonce = secrets.nonce
        self._x = secrets.x
        self._require_pfs = require_pfs
        self._received = bytearray()
        self._out = bytearray(secrets.nonce)
        self._nonce_C = self._nonce_S = b""
        self._dhmac_own = self._dhmac_peer = bytearray()
        self._y_peer = b""
        self._keys: SessionKeys | None = None

    @property
    def wanted(self) -> int:
        """How many bytes the machine takes from the peer before its next step."""
        return NEEDS.get(self.step, 0) - len(self._received)

    @property
    def heard(self) -> Heard:
        """How far the peer has come."""
        if self._y_peer:
            return Heard.PROOF
        if self._nonce_C:
            return Heard.NONCE
        return Heard.SOMETHING if self._received else Heard.NOTHING

    @property
    def computing(self) -> bool:
        """The next step is a computation, which needs nothing from the peer."""
        return self.step in (Step.COMMIT, Step.AGREE)

    @property
    def needs_power(self) -> bool:
        """That is an exponentiation, which takes long; none without forward secrecy."""
        return self._x is not None

    @property
    def peer_is_authentic(self) -> bool:
        """The peer has proved in this handshake that it holds the key."""
        return bool(self._y_peer) and self.step is not Step.FAILED

    def data_to_send(self) -> bytes:
        """What is to be sent now; returned once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: Buffer) -> None:
        """Take bytes from the peer, at most `wanted`.  Raises HandshakeError."""
        assert 0 < len(data) <= self.wanted
        self._received += data
        if self.wanted > 0:
            return
        message = bytes(self._received)
        self._received.clear()
        try:
            if self.step is Step.NONCE:
                self._take_nonce(message)
            else:
                self._take_peer(message)
        except HandshakeError:
            self.abandon()
            raise
        self._advance()

    def compute(self) -> None:
        """Do the computation that is due."""
        assert self.computing
        if self.step is Step.COMMIT:
            self._commit()
        else:
            self._agree()
        self._advance()

    def take_keys(self) -> SessionKeys:
        """The session's keys; whoever takes them erases them."""
        assert self.step is Step.DONE
        assert self._keys is not None
        keys, self._keys = self._keys, None
        return keys

    def abandon(self) -> None:
        """Erase every secret; the machine has failed."""
        self.step = Step.FAILED
        self._wipe()
        if self._keys is not None:
            wipe(*self._keys)

    def _advance(self) -> None:
        order = ORDER[self._role]
        self.step = order[order.index(self.step) + 1]

    def _take_nonce(self, nonce: bytes) -> None:
        mine, peers = self._nonce, nonce
        self._nonce_C, self._nonce_S = (mine, peers) if self._role is Role.C else (peers, mine)
        dhmac = handshake_keys(self._crypto, self._K, self._nonce_C, self._nonce_S)
        own, peer = (0, 1) if self._role is Role.C else (1, 0)
        self._dhmac_own, self._dhmac_peer = dhmac[own], dhmac[peer]

    def _take_peer(self, message: bytes) -> None:
        y, h = message[:GROUP_BYTES], message[GROUP_BYTES:]
        expected = self._crypto.hmac_sha256(self._dhmac_peer, y)
        if not self._crypto.equal(h, expected):
            raise HandshakeError(
                Fault.SAME_ROLE if self._is_from_another_client(y, h) else Fault.NO_KEY
            )
        if y >= P_BYTES:  # equal lengths, so the order of the numbers
            raise HandshakeError(Fault.OUT_OF_RANGE)
        if self._require_pfs and y == ONE:
            raise HandshakeError(Fault.NO_PFS)
        self._y_peer = y

    def _is_from_another_client(self, y: bytes, h: bytes) -> bool:
        """The peer has authenticated y as C, which we are: it has taken its nonce for nonce_C."""
        if self._role is not Role.C:
            return False  # S says nothing before C has proved itself
        theirs = handshake_keys(self._crypto, self._K, self._nonce_S, self._nonce_C)
        is_equal = self._crypto.equal(h, self._crypto.hmac_sha256(theirs.dhmac_C, y))
        wipe(*theirs)
        return is_equal

    def _commit(self) -> None:
        y = ONE if self._x is None else bytes(self._crypto.power_of_generator(self._x))
        self._out += y + self._crypto.hmac_sha256(self._dhmac_own, y)

    def _agree(self) -> None:
        y_SC = bytearray(ONE) if self._x is None else self._crypto.power(self._y_peer, self._x)
        self._keys = session_keys(self._crypto, self._K, self._nonce_C, self._nonce_S, y_SC)
        wipe(y_SC)
        self._wipe()

    def _wipe(self) -> None:
        wipe(self._dhmac_own, self._dhmac_peer)
        if self._x is not None:
            wipe(self._x)
