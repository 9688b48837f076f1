"""One connection's protocol, without sockets and without a clock: bytes in, bytes out.

    handshake -> two flows, one in each direction -> both have ended, or one side has failed

A connection has two sides, the plain and the encrypted one (``PLAIN``, ``CRYPT``).  Their owner
reads what a side `wants`, gives it to `receive`, and sends what there is of `output`; it says what
happens to a side by `end` and `fail`, and learns from `end_is_due` and `over` what to do about it.
Nothing here waits, and nothing belongs to the process: a program may have any number of sessions.

What has failed is never passed on as an end: what a side gave before it failed is delivered to the
other one, and then the session is `over` with a `failure`.
"""

from __future__ import annotations

from spiped.crypto import Backend, Buffer, wipe
from spiped.crypto.sizes import MESSAGE_MAX, PACKET_BYTES
from spiped.errors import Fault, HandshakeError, PacketError
from spiped.proto.handshake import Handshake, Secrets, Step
from spiped.proto.packets import Opener, Sealer
from spiped.proto.terms import CRYPT, PLAIN, Heard, Role

BATCH_PACKETS = 128  # that are transformed together; larger batches gain nothing measurable
BATCH_BYTES = (BATCH_PACKETS * MESSAGE_MAX, BATCH_PACKETS * PACKET_BYTES)  # by side


class Flow:
    """One direction: from a side, transformed, to the other."""

    __slots__ = ("carried", "state", "unsent")

    # ENDING: there is nothing more to read, perhaps something to send
    OPEN, ENDING, ENDED = range(3)

    def __init__(self) -> None:
        self.state = Flow.OPEN
        self.unsent = b""
        self.carried = 0  # payload bytes


class Session:
    """One connection."""

    __slots__ = (
        "_crypto",
        "_flows",
        "_gone",
        "_handshake",
        "_opener",
        "_outgoing",
        "_role",
        "_sealer",
        "failed_side",
        "failure",
    )

    def __init__(
        self, crypto: Backend, role: Role, K: Buffer, secrets: Secrets, *, require_pfs: bool
    ) -> None:
        self._crypto = crypto
        self._handshake = Handshake(crypto, role, K, secrets, require_pfs=require_pfs)
        self._role = role
        self._outgoing = self._handshake.data_to_send()  # of the handshake
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        self._flows = (Flow(), Flow())  # by the side that they read from
        self._gone = [False, False]
        self.failed_side: int | None = None
        self.failure: Exception | None = None  # a PeerError, or what the owner has said

    # The handshake

    @property
    def peer_is_authentic(self) -> bool:
        """The peer has proved that it holds the key."""
        return self._handshake.peer_is_authentic

    @property
    def heard(self) -> Heard:
        """How far the peer has come in the handshake."""
        return self._handshake.heard

    @property
    def computing(self) -> bool:
        """A computation is due: the owner calls `compute`."""
        return self._handshake.computing

    @property
    def needs_power(self) -> bool:
        """That is an exponentiation, which takes long."""
        return self._handshake.needs_power

    @property
    def is_agreeing(self) -> bool:
        """It is the second of the handshake."""
        return self._handshake.step is Step.AGREE

    @property
    def peer_is_waiting(self) -> bool:
        """The peer has proved itself, and has nothing to say before it hears from us."""
        return self._role is Role.S and self._handshake.step is Step.COMMIT

    @property
    def established(self) -> bool:
        """The handshake is complete, and our part of it has been sent: the flows may begin."""
        return self._sealer is not None and not self._outgoing

    def compute(self) -> None:
        """Do the computation that is due."""
        self._handshake.compute()
        self._outgoing += self._handshake.data_to_send()
        self._take_keys()

    def _take_keys(self) -> None:
        if self._handshake.step is not Step.DONE or self._sealer is not None:
            return
        keys = self._handshake.take_keys()
        ours, peers = (keys.E_C, keys.H_C), (keys.E_S, keys.H_S)
        if self._role is Role.S:
            ours, peers = peers, ours
        self._sealer = Sealer(self._crypto, *ours)
        self._opener = Opener(self._crypto, *peers)
        wipe(*keys)  # they have been copied

    def packets(self, side: int) -> int:
        """How many have been made of what a side has given, or opened."""
        number = self._sealer.number if side == PLAIN and self._sealer else 0
        return self._opener.number if side == CRYPT and self._opener else number

    # Input

    def wants(self, side: int) -> int:
        """How many bytes may be read from a side now, at most; 0: none."""
        if not self.established:
            return self._handshake.wanted if side == CRYPT else 0
        flow = self._flows[side]
        return BATCH_BYTES[side] if flow.state == Flow.OPEN and not flow.unsent else 0

    def receive(self, side: int, data: Buffer) -> int:
        """Take bytes that a side has given, not more than it `wants`.

        Returns how many bytes of payload these were.  Raises HandshakeError; a packet that is not
        authentic makes the session fail.
        """
        assert 0 < len(data) <= self.wants(side)
        if not self.established:
            self._handshake.receive(data)
            self._outgoing += self._handshake.data_to_send()
            self._take_keys()
            return 0
        assert self._sealer is not None
        assert self._opener is not None
        flow = self._flows[side]
        if side == PLAIN:
            flow.unsent = self._sealer.seal(data)
            count = len(data)
        else:
            flow.unsent = self._opener.open(data)
            count = len(flow.unsent)
        flow.carried += count
        if side == CRYPT and self._opener.fault is not None:
            flow.state = Flow.ENDING
            self.fail(CRYPT, self._opener.fault)
        return count

    def end(self, side: int) -> None:
        """A side has given everything: its stream has ended, or it has failed and is empty.

        Raises HandshakeError if the handshake is not complete.
        """
        if not self.established:
            self._handshake.abandon()
            raise HandshakeError(Fault.CLOSED)
        assert self._opener is not None
        self._flows[side].state = Flow.ENDING
        if side == CRYPT and self._opener.inside_packet:
            self.fail(CRYPT, PacketError(Fault.TRUNCATED))

    def fail(self, side: int, failure: Exception) -> None:
        """A side has failed: what it gave is still delivered, nothing more is sent to it."""
        if self.failed_side == side:
            return
        given, abandoned = self._flows[side], self._flows[1 - side]
        abandoned.state = Flow.ENDED
        abandoned.unsent = b""
        if self.failed_side is not None:
            return  # the other side had failed before: nobody is left to deliver to
        self.failed_side, self.failure = side, failure
        if given.state == Flow.ENDED:
            given.state = Flow.ENDING  # what it gave may still be on its way

    def reader_is_gone(self, side: int) -> None:
        """A side will never read again, although it has not failed: a UNIX socket was closed."""
        self._gone[side] = True

    # Output

    def output(self, side: int) -> bytes:
        """What is to be sent to a side now."""
        if not self.established:
            return self._outgoing if side == CRYPT else b""
        return self._flows[1 - side].unsent

    def sent(self, side: int, count: int) -> None:
        """So many bytes of the output have been sent."""
        if not self.established:
            self._outgoing = self._outgoing[count:]
        else:
            flow = self._flows[1 - side]
            flow.unsent = flow.unsent[count:]

    def end_is_due(self, side: int) -> bool:
        """The end of the stream is to be passed on to a side now; to be asked after sending."""
        flow = self._flows[1 - side]
        if self.failure is not None or flow.state != Flow.ENDING or flow.unsent:
            return False
        flow.state = Flow.ENDED
        return self._flows[side].state != Flow.ENDED  # else closing, which is next, says the same

    # The end

    @property
    def over(self) -> bool:
        """Both flows have ended; if there is a `failure`, everything has been handed on.

        Then it may still be on its way, which only the owner can see.
        """
        if self.failed_side is not None:
            flow = self._flows[self.failed_side]
            return flow.state == Flow.ENDED or (flow.state == Flow.ENDING and not flow.unsent)
        return all(flow.state == Flow.ENDED for flow in self._flows)

    @property
    def left_side(self) -> int | None:
        """The side that has given everything and will never read again, so that all must end."""
        if self.failure is None:
            for side in (PLAIN, CRYPT):
                forth, back = self._flows[side], self._flows[1 - side]
                ended = forth.state == Flow.ENDED and back.state != Flow.ENDED
                if self._gone[side] and ended and not back.unsent:
                    return side
        return None

    @property
    def has_given_up(self) -> bool:
        """Both sides have failed: nothing is left that could be delivered."""
        return self.failed_side is not None and (self._flows[self.failed_side].state == Flow.ENDED)

    @property
    def failed_side_is_done(self) -> bool:
        """A side has failed and will give nothing more."""
        return self.failed_side is not None and (self._flows[self.failed_side].state != Flow.OPEN)

    def carried(self, side: int) -> int:
        """Payload bytes that a side has given."""
        return self._flows[side].carried

    def wipe(self) -> None:
        """Erase every secret; the session cannot be used afterwards."""
        self._handshake.abandon()
        if self._sealer is not None:
            self._sealer.wipe()
        if self._opener is not None:
            self._opener.wipe()
