"""A reactor and a data plane, driven by hand, and the peers at the far ends of their sockets.

Everything runs in one thread: peers move bytes as far as their sockets let them, then the reactor
takes a turn, and so on until what a test waits for has come true.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import pytest

from spiped.constants import CIPHERTEXT_BYTES, PACKET_BYTES
from spiped.crypto import Backend
from spiped.net.ending import Cause, Ending
from spiped.net.pipe import Pipe
from spiped.net.plane import Channel, Plane
from spiped.net.reactor import Reactor
from spiped.net.sockets import close_with_reset, tune
from spiped.observe.slot import Slot
from spiped.proto.handshake import Handshake, Role, Step, draw_secrets
from spiped.proto.keys import SessionKeys
from spiped.proto.packets import Opener, Sealer

DEADLINE = 30.0  # seconds until a test that waits has failed
FOREVER = 3600.0  # seconds: what is waited for must not be a time limit
PATIENCE = 3  # turns without any progress after which the next ones wait for some,
PAUSE = 0.002  # this many seconds
STALLED = 25  # turns without any progress after which everything has come to rest
ANY = 1 << 16  # bytes that are moved at once

END, RESET = "end", "reset"  # how a stream may end, seen from a peer

K = bytes(range(32))


def data_of(length: int, salt: int = 0) -> bytes:
    """Bytes of which no two blocks of a power of two are equal."""
    period = bytes((salt + i * 7) % 251 for i in range(251))
    return (period * (length // 251 + 1))[:length]


def tcp_pair(buffers: int = 0) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets over loopback; ``buffers``: how much their kernel buffers may hold."""
    with socket.socket() as listener, socket.socket() as first:
        for sock in (listener, first):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is written is sent
            _limit(sock, buffers)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        first.connect(listener.getsockname())
        second, _ = listener.accept()
        return socket.socket(fileno=first.detach()), second


def unix_pair(buffers: int = 0) -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for sock in pair:
        _limit(sock, buffers)
    return pair


def _limit(sock: socket.socket, buffers: int) -> None:
    if buffers:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)


def prepare(sock: socket.socket) -> None:
    """Make a socket what a plane expects."""
    sock.setblocking(False)
    tune(sock, keepalive=True, is_unix=sock.family == socket.AF_UNIX)


def unreceived(sock: socket.socket) -> int:
    """How much of what was sent on a UNIX socket its peer has not received yet."""
    pending = array.array("i", [0])
    fcntl.ioctl(sock, termios.TIOCOUTQ, pending)
    return pending[0]


PAIRS = {"tcp": tcp_pair, "unix": unix_pair}


class Peer:
    """What is at the far end of one of the plane's sockets."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.reading = True
        self.read_size = ANY  # bytes per turn
        self.write_size = ANY
        self.received = bytearray()
        self.ending: str | None = None  # of what it receives: END or RESET
        self.written = 0  # bytes that the system has taken
        self._outgoing = bytearray()
        self._finishing = False
        self._broken = False

    @property
    def idle(self) -> bool:
        """Everything that was to be written has been, and the end passed on if asked for."""
        return not self._outgoing and not self._finishing

    def write(self, data: bytes) -> None:
        self._outgoing += data

    def finish(self) -> None:
        """Half-close, once everything has been written."""
        self._finishing = True

    def reset(self) -> None:
        close_with_reset(self.sock)

    def close(self) -> None:
        self.sock.close()

    def pump(self) -> bool:
        """Move what can be moved now; returns whether that was anything."""
        if self.sock.fileno() < 0:
            return False
        return self._read() | self._write()

    def _read(self) -> bool:
        if not self.reading or self.ending is not None:
            return False
        try:
            data = self.sock.recv(self.read_size)
        except BlockingIOError:
            return False
        except ConnectionError:
            self.ending = RESET
            return True
        if not data:
            # whoever is told of a reset first, the writer or the reader, is the only one
            self.ending = RESET if self._broken else END
        self.received += data
        return True

    def _write(self) -> bool:
        try:
            if self._outgoing:
                sent = self.sock.send(self._outgoing[: self.write_size])
                del self._outgoing[:sent]
                self.written += sent
                return True
            if self._finishing:
                self._finishing = False
                self.sock.shutdown(socket.SHUT_WR)
                return True
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                raise
            self._broken = True
            self._outgoing.clear()
        return False


class Outcome:
    """What a plane has told of a connection, in the order in which it may."""

    def __init__(self) -> None:
        self.authentic = False
        self.ready = False
        self.ending: Ending | None = None
        self.when_ready: Callable[[], None] | None = None
        self.when_ended: Callable[[], None] | None = None

    def on_authentic(self) -> None:
        assert (self.authentic, self.ready, self.ending) == (False, False, None)
        self.authentic = True

    def on_ready(self) -> None:
        assert (self.authentic, self.ready, self.ending) == (True, False, None)
        self.ready = True
        if self.when_ready is not None:
            self.when_ready()

    def on_end(self, ending: Ending) -> None:
        assert self.ending is None, "a connection ended twice"
        self.ending = ending
        if self.when_ended is not None:
            self.when_ended()

    @property
    def cause(self) -> Cause | None:
        return None if self.ending is None else self.ending.cause


class Pair(NamedTuple):
    """client - (C's plane) = (S's plane) - target, both on the same rig."""

    client: Peer
    target: Peer
    C: Outcome
    S: Outcome

    def ended(self) -> bool:
        return self.C.ending is not None and self.S.ending is not None


class Half(NamedTuple):
    """One connection, whose encrypted side the test speaks by hand."""

    plain: Peer
    crypt: Peer
    outcome: Outcome
    sealer: Sealer  # seals what `crypt` may write
    opener: Opener  # opens what `crypt` has received
    H: bytes  # authenticates what `crypt` may write

    def ended(self) -> bool:
        return self.outcome.ending is not None

    def write(self, data: bytes) -> None:
        self.crypt.write(self.sealer.seal(data))

    def opened(self) -> bytes:
        """What has arrived at `crypt` so far; to be called once."""
        return self.opener.open(self.crypt.received)

    def forge_length(self, crypto: Backend, length: int) -> bytes:
        """An authentic packet that claims to carry ``length`` bytes."""
        number = self.sealer.number
        packet = bytearray(self.sealer.seal(b"x"))  # its cipher is a mere exclusive or
        trailer = slice(CIPHERTEXT_BYTES - 4, CIPHERTEXT_BYTES)
        change = 1 ^ length
        packet[trailer] = (int.from_bytes(packet[trailer], "big") ^ change).to_bytes(4, "big")
        ciphertext = bytes(packet[:CIPHERTEXT_BYTES])
        tag = crypto.hmac_sha256(self.H, ciphertext + number.to_bytes(8, "big"))
        assert len(ciphertext + tag) == PACKET_BYTES
        return ciphertext + tag


class Rig:
    """A reactor, a plane, and all the peers of its connections."""

    def __init__(
        self,
        make_plane: Callable[[Reactor, Slot, float], Plane],
        crypto: Backend,
        drain_timeout: float = FOREVER,
    ) -> None:
        self.crypto = crypto
        self.slot = Slot()
        self.reactor = Reactor()
        self.plane = make_plane(self.reactor, self.slot, drain_timeout)
        self.peers: list[Peer] = []
        self._still = 0  # turns since a peer has moved something

    def close(self) -> None:
        self.plane.abort_all()
        self.plane.close()
        self.reactor.close()
        for peer in self.peers:
            peer.close()

    # Connections

    def peer(self, sock: socket.socket) -> Peer:
        self.peers.append(Peer(sock))
        return self.peers[-1]

    def negotiate(
        self,
        role: Role,
        crypt: socket.socket,
        *,
        weak: bool = False,
        require_pfs: bool = False,
    ) -> tuple[Channel, Outcome]:
        """Begin a handshake."""
        prepare(crypt)
        outcome = Outcome()
        channel = self.plane.negotiate(
            crypt,
            Pipe(role, K, [], weak=weak, require_pfs=require_pfs),
            outcome.on_authentic,
            outcome.on_ready,
            outcome.on_end,
        )
        return channel, outcome

    def relay(self, channel: Channel, plain: socket.socket) -> None:
        prepare(plain)
        channel.relay(plain)

    def adopt(self, role: Role, plain: socket.socket, crypt: socket.socket) -> Outcome:
        """Negotiate, and relay as soon as that is possible.

        The handshakes are weak, and so fast: this is for what comes after them.
        """
        channel, outcome = self.negotiate(role, crypt, weak=True)
        outcome.when_ready = lambda: self.relay(channel, plain)
        return outcome

    def shake_hands(self, role: Role, sock: socket.socket) -> SessionKeys:
        """Be the peer of a handshake, in this role."""
        secrets = draw_secrets(self.crypto, weak=True)
        handshake = Handshake(self.crypto, role, K, secrets, require_pfs=False)
        sock.setblocking(False)
        while handshake.step is not Step.DONE:
            sock.sendall(handshake.data_to_send())
            self.turn()
            if handshake.computing:
                handshake.compute()
            else:
                with suppress(BlockingIOError):
                    handshake.receive(sock.recv(handshake.wanted))
        sock.sendall(handshake.data_to_send())
        return handshake.take_keys()

    def pair(self, plain: str = "tcp", crypt: str = "tcp", buffers: int = 0) -> Pair:
        """Two connections, back to back; ``plain`` and ``crypt`` say over what."""
        client, plain_C = PAIRS[plain](buffers)
        crypt_C, crypt_S = PAIRS[crypt](buffers)
        plain_S, target = PAIRS[plain](buffers)
        C = self.adopt(Role.C, plain_C, crypt_C)
        S = self.adopt(Role.S, plain_S, crypt_S)
        self.until(lambda: C.ready and S.ready, self.turn)
        return Pair(self.peer(client), self.peer(target), C, S)

    def half(
        self, role: Role = Role.C, plain: str = "tcp", crypt: str = "tcp", buffers: int = 0
    ) -> Half:
        near, plain_ = PAIRS[plain](buffers)
        crypt_, far = PAIRS[crypt](buffers)
        outcome = self.adopt(role, plain_, crypt_)
        opposite = Role.S if role is Role.C else Role.C
        keys = self.shake_hands(opposite, far)
        self.until(lambda: outcome.ready, self.turn)
        C, S = keys[:2], keys[2:]
        ours, peers = (C, S) if role is Role.C else (S, C)
        return Half(
            self.peer(near),
            self.peer(far),
            outcome,
            Sealer(self.crypto, *peers),
            Opener(self.crypto, *ours),
            bytes(peers[1]),
        )

    # Time

    def turn(self, wait: float = 0.0) -> None:
        """Let the reactor run for ``wait`` seconds, one turn at least."""
        timer = self.reactor.call_later(wait, self.reactor.stop)
        self.reactor.run()
        timer.cancel()

    def pump(self) -> None:
        """Let every peer move what it can, and then the plane."""
        moved = [peer.pump() for peer in self.peers]
        self._still = 0 if any(moved) else self._still + 1
        self.turn(0.0 if self._still < PATIENCE else PAUSE)

    def until(
        self, condition: Callable[[], object], step: Callable[[], object] | None = None
    ) -> None:
        """Go on, by this step or by `pump`, until ``condition`` holds."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited in vain; peers: {[vars(peer) for peer in self.peers]}"[:2000])
            (step or self.pump)()

    def rest(self) -> None:
        """Go on until nothing moves any more."""
        self._still = 0
        while self._still < STALLED:
            self.pump()


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()


@contextmanager
def no_descriptor_leaks() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert len(open_descriptors()) == len(before), "descriptors were left open"
