"""A reactor and a data plane, driven by hand, and the peers at the far ends of their sockets.

Everything runs in one thread: peers move bytes as far as their sockets let them, then the reactor
takes a turn, and so on until what a test waits for has come true.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import resource
import socket
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest

from spiped.crypto import Backend
from spiped.crypto.sizes import CIPHERTEXT_BYTES, PACKET_BYTES
from spiped.net.address import SocketAddress
from spiped.net.reactor import Reactor
from spiped.net.sockets import close_with_reset, tune
from spiped.observe.counters import Counters
from spiped.observe.slot import Field, Slot
from spiped.plane.diagnosis import describe
from spiped.plane.ending import Cause, Ending, Reason
from spiped.plane.interface import Plane, Service
from spiped.plane.pipe_settings import PipeSettings
from spiped.proto.derivation import SessionKeys
from spiped.proto.handshake import Handshake, Role, Step, draw_secrets
from spiped.proto.packets import Opener, Sealer
from tests.net.network import Network, Target, limit_buffers, opposite_end

PEERS_A_TURN = 64  # one turn moves a few, and to look at all takes longer
DEADLINE = 30.0  # seconds until a test that waits has failed
FOREVER = 3600.0  # seconds: what is waited for must not be a time limit
PATIENCE = 3  # turns without any progress after which the next ones wait for some,
PAUSE = 0.002  # this many seconds
STALLED = 25  # turns without any progress after which everything has come to rest
ANY = 1 << 16  # bytes that are moved at once

END, RESET = "end", "reset"  # how a stream may end, seen from a peer

SLOTS = 3  # of the counters
ENTRIES = 8  # of the table of connections: others are carried unseen

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
            limit_buffers(sock, buffers)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        first.connect(listener.getsockname())
        second, _ = listener.accept()
        return socket.socket(fileno=first.detach()), second


def unix_pair(buffers: int = 0) -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for sock in pair:
        limit_buffers(sock, buffers)
    return pair


def prepare(sock: socket.socket) -> None:
    """Make a socket what a plane expects."""
    sock.setblocking(False)
    tune(sock, keepalive=True, is_unix=sock.family == socket.AF_UNIX)


def unreceived(sock: socket.socket) -> int:
    """How much was sent that the peer (of TCP, its system) has not received yet."""
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


class Told(NamedTuple):
    """What is told of the end of a connection, apart from whose it was and how long it took."""

    cause: Cause
    detail: str
    sealed: int
    opened: int

    @classmethod
    def of(cls, ending: Ending) -> Told:
        return cls(ending.cause, describe(ending), ending.sealed, ending.opened)


class Outcome:
    """What a plane has told of a connection: how it has ended."""

    def __init__(self) -> None:
        self.ending: Told | None = None
        self.reason: Reason | None = None
        self.when_ended: Callable[[], None] | None = None

    def on_end(self, ending: Ending) -> None:
        assert self.ending is None, "a connection ended twice"
        self.ending = Told.of(ending)
        self.reason = ending.reason
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
        make_plane: Callable[[Reactor, Slot], Plane],
        crypto: Backend,
        counters: Counters | None = None,
        index: int = 1,
    ) -> None:
        """Rigs with the same ``counters`` are workers of one daemon, each with its own slot."""
        self.crypto = crypto
        self.network = Network()
        self.counters = Counters(SLOTS, entries=ENTRIES) if counters is None else counters
        self.counters.use(SLOTS)
        self._owns_counters = counters is None
        self.slot = self.counters.slot(index)
        self.reactor = Reactor()
        self.entries = self.counters.entries(index)
        self.plane = make_plane(self.reactor, self.slot, self.entries)
        self.peers: list[Peer] = []
        self._outcomes: list[Outcome] = []
        self._serving = False
        self._still = 0  # turns since a peer has moved something

    def close(self) -> None:
        if self._serving:
            self.stop_serving()
        self.plane.abort_all()
        self.plane.close()
        self.reactor.close()
        for peer in self.peers:
            peer.close()
        self.network.close()
        self._check_counters()
        self.slot.view.release()
        self.entries.release()
        if self._owns_counters:
            self.counters.close()

    def _check_counters(self) -> None:
        """Every connection has been counted once, by how it has ended."""
        ended = {reason: self.slot[reason.counter] for reason in Reason}
        assert sum(ended.values()) == self.slot[Field.ACCEPTED] + len(self._outcomes)
        told = Counter(outcome.reason for outcome in self._outcomes)
        assert all(count >= told[reason] for reason, count in ended.items()), (ended, told)

    # Connections

    @property
    def established(self) -> int:
        """How many connections have got as far as relaying."""
        return self.slot[Field.ESTABLISHED]

    def peer(self, sock: socket.socket) -> Peer:
        self.peers.append(Peer(sock))
        return self.peers[-1]

    def carry(
        self, role: Role, accepted: socket.socket, *targets: SocketAddress, **options: Any
    ) -> Outcome:
        """Have the plane carry a connection; ``options`` are a pipe's.

        The handshake is weak, and so fast, unless a test asks for another.
        """
        prepare(accepted)
        outcome = Outcome()
        self._outcomes.append(outcome)
        options = {"weak": True, "timeout": FOREVER} | options
        self.plane.carry(accepted, PipeSettings(role, K, list(targets), **options), outcome.on_end)
        assert outcome.ending is None, "told from within"
        return outcome

    def serve(self, service: Service) -> None:
        self.plane.serve(service)
        self._serving = True

    def stop_serving(self) -> None:
        self.plane.stop_serving()
        self._serving = False

    def take(
        self,
        target: Target,
        buffers: int = 0,
        step: Callable[[], object] | None = None,
    ) -> socket.socket:
        """Wait for the plane to come to a target; nobody else will be accepted there.

        ``buffers``: limits what the plane's own socket may hold, too.
        """
        taken: list[socket.socket] = []

        def came() -> bool:
            sock = target.take()
            if sock is not None:
                taken.append(sock)
            return bool(taken)

        self.until(came, step or self.turn)
        target.close()
        if buffers:
            with opposite_end(taken[0]) as planes:
                limit_buffers(planes, buffers)
        return taken[0]

    def accept(self, target: Target) -> Peer:
        """Be the peer at a target of the plane's, once it comes."""
        return self.peer(self.take(target, step=self.pump))

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
        before = self.established
        client, accepted = PAIRS[plain](buffers)
        middle = self.network.target(crypt, buffers=buffers)
        C = self.carry(Role.C, accepted, middle.address)
        end = self.network.target(plain, buffers=buffers)
        S = self.carry(Role.S, self.take(middle, buffers), end.address)
        target = self.take(end, buffers)
        self.until(lambda: self.established == before + 2, self.turn)
        return Pair(self.peer(client), self.peer(target), C, S)

    def half(
        self,
        role: Role = Role.C,
        plain: str = "tcp",
        crypt: str = "tcp",
        buffers: int = 0,
        **options: Any,
    ) -> Half:
        before = self.established
        inner, outer = (plain, crypt) if role is Role.C else (crypt, plain)
        near, accepted = PAIRS[inner](buffers)
        target = self.network.target(outer, buffers=buffers)
        outcome = self.carry(role, accepted, target.address, **options)
        if role is Role.C:
            far = self.take(target, buffers)
            keys = self.shake_hands(Role.S, far)
            ours, peers = keys[:2], keys[2:]
            plain_, crypt_ = near, far
        else:
            keys = self.shake_hands(Role.C, near)
            far = self.take(target, buffers)
            ours, peers = keys[2:], keys[:2]
            plain_, crypt_ = far, near
        self.until(lambda: self.established == before + 1, self.turn)
        return Half(
            self.peer(plain_),
            self.peer(crypt_),
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
        for _ in range(1 + len(self.peers) // PEERS_A_TURN):
            self.turn()
        if self._still >= PATIENCE:
            self.turn(PAUSE)

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


@contextmanager
def no_more_descriptors(lowest: int | None = None) -> Iterator[None]:
    """Nobody in this process can open anything, or nothing from this number on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if lowest is None:
        lowest = os.dup(0)
        os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def waste(rig: Rig, seconds: float = 0.1) -> float:
    """How much of a CPU is spent while nothing happens."""
    before, until = time.process_time(), time.monotonic() + seconds
    while time.monotonic() < until:
        rig.turn(max(0.0, until - time.monotonic()))
    return (time.process_time() - before) / seconds
