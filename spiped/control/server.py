"""The supervisor's end of the control socket: clients, and what each of them may cost.

A client is served one request at a time, and the next is read when its answer has been taken, so
that nobody makes us keep more than one answer.  Nothing here waits: whoever reads nothing, or says
nothing, is let go of after a while, and the events that a slow reader misses are counted.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from collections.abc import Collection

from spiped.control.commands import UPGRADED, Commands, Daemon, Later, Outcome, Stream
from spiped.control.protocol import (
    BAD_REQUEST,
    BUSY,
    NOT_ALLOWED,
    REQUEST_MAX,
    TOO_SLOW,
    Answer,
    Refusal,
    encode,
    grant,
    refuse,
    words_of,
)
from spiped.lean_typing import NamedTuple, suppress
from spiped.net.reactor import HANGUP, NOTHING, READ, WRITE, Reactor, Timer
from spiped.observe.log.events import ControlRequest
from spiped.observe.log.kinds import Event
from spiped.observe.log.log import Log
from spiped.observe.log.records import as_json
from spiped.options.verbs import BY_NAME

CLIENTS_MAX = 64  # that are served at once; others are told so
PATIENCE = 30.0  # seconds that a client may be silent, or take nothing of its answer
HELD_MAX = 32 << 20  # bytes of answers that clients have not taken; nobody gets more until then
EVENTS_MAX = 1 << 18  # bytes of events that one reader may have to take; it misses the others
EVENT_MAX = 1 << 14  # bytes of one event

ACCEPTS_PER_TURN = 32
ACCEPT_RETRY = 0.1  # seconds, if the system had no descriptor or no memory for one more
TICK = 0.1  # seconds from look to look whether an answer is known by now

DISCARDED_MAX = 1 << 20  # bytes that a client has sent in vain, so that it hears why

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Peer(NamedTuple):
    """The process that has connected, as the system knows it."""

    pid: int
    uid: int


class Server:
    """Serves the clients of one listening socket, which it does not own."""

    def __init__(
        self,
        reactor: Reactor,
        listener: socket.socket,
        uids: Collection[int],
        commands: Commands,
        daemon: Daemon,
        log: Log,
    ) -> None:
        """``uids``: of the users that are served."""
        self._reactor = reactor
        self._listener = listener
        self._uids = frozenset(uids)
        self._daemon = daemon
        self.commands = commands
        commands.on_known = self._answer_waiting
        self.log = log
        self._clients: set[Client] = set()
        self._readers: set[Client] = set()
        self._looking = False
        listener.setblocking(False)
        self._watch()

    # Clients

    def _watch(self) -> None:
        self._reactor.watch(self._listener, READ, self._on_clients)

    def _on_clients(self, events: int) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # there is nothing to have: others may give something back
                self._reactor.unwatch(self._listener)
                self._reactor.call_later(ACCEPT_RETRY, self._watch_again)
                return
            self._take(sock)

    def _watch_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._watch()

    def _take(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        peer = _peer_of(sock)
        if peer is None:
            _end(sock)
        elif peer.uid not in self._uids:
            _turn_away(sock, refuse(NOT_ALLOWED, f"User {peer.uid} may not use this socket"))
        elif len(self._clients) >= CLIENTS_MAX:
            _turn_away(sock, refuse(BUSY, f"{CLIENTS_MAX} clients are being served; come again"))
        else:
            self._clients.add(Client(self._reactor, self, sock, peer))

    def forget(self, client: Client) -> None:
        """It has gone."""
        self._clients.discard(client)
        if client in self._readers:
            self._readers.discard(client)
            if not self._readers:
                self.log.tap = None
                self._daemon.watch_connections(watched=False)

    @property
    def is_laden(self) -> bool:
        """Clients have much to take that they have asked for."""
        return sum(client.held for client in self._clients) >= HELD_MAX

    # Answers that are not known yet

    def look_later(self) -> None:
        """There is a client that waits."""
        if not self._looking:
            self._looking = True
            self._reactor.call_later(TICK, self._look)

    def _look(self) -> None:
        self._looking = False
        self._answer_waiting()
        if any(client.is_waiting for client in self._clients):
            self.look_later()

    def _answer_waiting(self) -> None:
        for client in list(self._clients):
            client.look()

    # Events

    def add_reader(self, client: Client) -> None:
        """It is told of all events from now on."""
        if not self._readers:
            self.log.tap = self._deliver
            self._daemon.watch_connections(watched=True)
        self._readers.add(client)

    def _deliver(self, event: Event) -> None:
        line = as_json(event, EVENT_MAX).encode() + b"\n"
        for client in list(self._readers):
            client.deliver(line)

    def audit(self, peer: Peer, what: str, answer: Answer, about: str) -> None:
        """Leave a line that says who has changed what; ``about``: the peer of the connection."""
        result = answer.get("result", "done") if answer["ok"] else answer["error"]
        self.log.event(ControlRequest(peer.uid, peer.pid, what, result, about))

    # The end

    def let_go(self) -> None:
        """Another program takes over: who waits, or reads events, is to ask that."""
        for client in list(self._clients):
            if client.is_waiting or client in self._readers:
                client.leave(UPGRADED)

    def close(self) -> None:
        """The daemon has ended: tell who waits for that."""
        if self._listener.fileno() >= 0:
            self._reactor.unwatch(self._listener)
        for client in list(self._clients):
            client.leave(grant(state="ended") if client.is_waiting else None)

    def close_in_child(self) -> None:
        """Let go of the descriptors alone: the reactor's set is shared with our parent."""
        for client in self._clients:
            client.close_in_child()


class Client:
    """One client: its request is read, answered, and then the next."""

    def __init__(self, reactor: Reactor, server: Server, sock: socket.socket, peer: Peer) -> None:
        self._reactor = reactor
        self._server = server
        self._sock = sock
        self._peer = peer
        self._received = b""
        self._has_ended = False  # it has no more requests
        self._unsent = memoryview(b"")
        self._is_last = False  # what is unsent: then we close
        self._request = ""  # that is being answered
        self._later: Later | None = None
        self._deadline = math.inf  # of that
        self._is_reader = False
        self._taken_at = 0.0  # when it took something, or there was nothing to take
        self._awaited_since: float | None = None  # its next request; None: it is not
        self._missed = 0  # events
        self._timer: Timer | None = None
        self._proceed()

    @property
    def held(self) -> int:
        return len(self._unsent)

    @property
    def is_waiting(self) -> bool:
        return self._later is not None

    @property
    def _is_idle(self) -> bool:
        return not (self._unsent or self._is_reader or self._is_last or self.is_waiting)

    # Watching

    def _proceed(self) -> None:
        """Wait for what has to come next."""
        if self._sock.fileno() < 0:
            return
        events = WRITE if self._unsent else NOTHING
        if self._is_idle and not self._has_ended:
            events = READ
        self._reactor.watch(self._sock, events, self._on_events)
        if self._timer is not None:
            self._timer.cancel()
        now = time.monotonic()
        if not self._is_idle:
            self._awaited_since = None
        elif self._awaited_since is None:
            self._awaited_since = now
        since = self._taken_at if self._unsent else self._awaited_since
        if since is not None:  # else it waits for us
            left = since + PATIENCE - now
            self._timer = self._reactor.call_later(max(0.0, left), self._lose_patience)

    def _on_events(self, events: int) -> None:
        if events & HANGUP:
            self._close()
        elif events & WRITE:
            self._flush()
            self._go_on()
        elif events & READ:
            self._receive()

    def _lose_patience(self) -> None:
        if self._unsent:
            self._close()
        else:
            self.leave(refuse(TOO_SLOW, f"There was no request within {PATIENCE:g} s"))

    # Requests

    def _receive(self) -> None:
        try:
            data = self._sock.recv(REQUEST_MAX)
        except BlockingIOError:
            return
        except OSError:
            self._close()
            return
        self._received += data
        self._has_ended = not data
        self._go_on()

    def _go_on(self) -> None:
        """Answer one request, if there is one and the last answer has been taken."""
        if self._sock.fileno() < 0 or not self._is_idle:
            return
        line, end, rest = self._received.partition(b"\n")
        if len(line) + len(end) > REQUEST_MAX:
            self.leave(refuse(BAD_REQUEST, f"A request is at most {REQUEST_MAX} bytes"))
        elif end or (self._has_ended and line):
            self._received = rest
            self._answer(line)
            if self._received or self._has_ended:
                self._reactor.compute(self._go_on)  # in turn with others
        elif self._has_ended:
            self._close()
        else:
            self._proceed()

    def _answer(self, line: bytes) -> None:
        self._request = ""
        log = self._server.log
        log.hold_back()  # events that it causes: the line that says who has asked goes before them
        try:
            outcome = self._perform(line)
        except Refusal as refusal:
            outcome = None
            self._send(encode(refusal.answer))
        effects = log.go_on()
        if isinstance(outcome, Later):
            self._later = outcome
            self._deadline = time.monotonic() + outcome.seconds
            self._server.look_later()
            self.look()
        elif isinstance(outcome, Stream):
            self._is_reader = True
            self._server.add_reader(self)  # first: it is forgotten if it turns out to be gone
            self._send(encode(grant()))
        elif outcome is not None:
            self._conclude(outcome)
        for event in effects:
            log.event(event)
        if outcome is not None:
            self._proceed()

    def _perform(self, line: bytes) -> Outcome:
        """Raises Refusal."""
        if self._server.is_laden:
            raise Refusal(BUSY, "Other clients have too much to read; come again")
        words = words_of(line)
        self._request = " ".join(words)
        return self._server.commands.perform(words)

    def look(self) -> None:
        """See whether the answer is known by now."""
        if self._later is None:
            return
        answer = self._later.look()
        if answer is None and time.monotonic() >= self._deadline:
            answer = self._later.late
        if answer is not None:
            about = self._later.about
            self._later = None
            self._conclude(answer, about)
            self._reactor.compute(self._go_on)

    def _conclude(self, answer: Answer, about: str = "") -> None:
        """Send the answer to a request, of which others are to know if it has changed something."""
        if BY_NAME[self._request.partition(" ")[0]].changes:
            self._server.audit(self._peer, self._request, answer, about)
        self._send(encode(answer))

    # Events

    def deliver(self, line: bytes) -> None:
        """Send an event; one that has no room is counted."""
        if self._is_last:
            return
        if self._unsent and len(self._unsent) + len(line) > EVENTS_MAX:
            self._missed += 1
        else:
            self._send(line)

    # Sending

    def _send(self, data: bytes) -> None:
        if not self._unsent:
            self._taken_at = time.monotonic()
        self._unsent = memoryview(bytes(self._unsent) + data)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
                self._taken_at = time.monotonic()
                if not self._unsent and self._missed:
                    missed, self._missed = self._missed, 0
                    line = {"event": "events_missed", "number": missed}
                    self._unsent = memoryview(encode(line))
        except BlockingIOError:
            pass
        except OSError:  # it is gone
            self._close()
            return
        if self._is_last and not self._unsent:
            self._close()
        else:
            self._proceed()

    def leave(self, answer: Answer | None) -> None:
        """Say this, and part."""
        self._later = None
        self._is_last = True
        if answer is not None:
            self._unsent = memoryview(bytes(self._unsent) + encode(answer))
        self._discard()
        self._flush()

    def _discard(self) -> None:
        """Take what it has said in vain: it would not hear what we say if we left that."""
        with suppress(OSError):
            for _ in range(DISCARDED_MAX // 65536):
                if not self._sock.recv(65536):
                    return

    def _close(self) -> None:
        if self._sock.fileno() < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._later = None
        self._reactor.unwatch(self._sock)
        _end(self._sock)
        self._server.forget(self)

    def close_in_child(self) -> None:
        self._sock.close()


def _peer_of(sock: socket.socket) -> Peer | None:
    """Who has connected; None if that cannot be known."""
    try:
        pid, uid, _ = _CREDENTIALS.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
    except OSError:
        return None
    return Peer(pid, uid)


def _turn_away(sock: socket.socket, answer: Answer) -> None:
    with suppress(OSError):
        sock.send(encode(answer))
    with suppress(OSError):
        sock.recv(65536)
    _end(sock)


def _end(sock: socket.socket) -> None:
    """Close for all processes: a child that is being forked may have it as well."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
