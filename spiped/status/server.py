"""The status server: listening sockets, the clients that have come, and what all of them may cost.

No client costs another anything: there is a limit to how many there are, those who wait for nothing
give way to new ones, and what is rendered is shared by all who ask for the same at a time.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

from spiped.lean_typing import NamedTuple
from spiped.net.reactor import READ, Reactor
from spiped.net.sockets import CONNECTION_ERRORS, accept
from spiped.status.client import Client, State
from spiped.status.routes import Answer, Request, Routes, say

CLIENTS_MAX = 256  # that are served at once; others are told to come later,
LOCAL_PLACES = 16  # of these, for those who come by a UNIX socket
GRACE = 0.2  # seconds that a client has to say what it wants, before it makes room for another
LEAVING_MAX = 1024  # of whom so many may still be hearing that
DESCRIPTORS = CLIENTS_MAX + LEAVING_MAX + 50  # that a process with a server may come to need

ACCEPTS_PER_TURN = 32
ACCEPT_RETRY = 0.1  # seconds, if the system had no descriptor or no memory for one more

SHARED_FOR = 0.1  # seconds for which what was rendered is as good as new
HELD_MAX = 64 << 20  # bytes of bodies that clients have not taken yet; the same body counts once

SEND_BUFFER = 1 << 17  # bytes that the system may keep of a response, of each client
STOP_TIME = 1.0  # seconds that clients have, at the end, to take what they were being sent

TOO_MANY = say(503, f"{CLIENTS_MAX} clients are being served; come again")


class _Shared(NamedTuple):
    """An answer, and until when it may be given again."""

    answer: Answer
    until: float


class Server:
    """Serves HTTP on some listening sockets, which it owns."""

    def __init__(
        self, reactor: Reactor, listeners: Sequence[socket.socket], routes: Routes
    ) -> None:
        self._reactor = reactor
        self._listeners = list(listeners)
        self._routes = routes
        self._shared: dict[Request, _Shared] = {}
        # by state, those that have been in it longest first
        self._clients: dict[State, dict[Client, None]] = {state: {} for state in State}
        self.goes_on = True
        self._on_stopped: Callable[[], None] | None = None
        for listener in self._listeners:
            # inherited by what is accepted; a socket that has it is not given more and more
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._listen()

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """Accept nobody any more, and end with the requests that are under way."""
        for listener in self._listeners:
            self._reactor.unwatch(listener)
            listener.close()
        self._listeners.clear()
        self.goes_on = False
        self._on_stopped = on_stopped
        for client in list(self._clients[State.IDLE]):
            client.close()
        self._reactor.call_later(STOP_TIME, self._end)
        self._check_stopped()

    def _end(self) -> None:
        for client in list(self._clients[State.READING]):
            client.close()
        if self._on_stopped is not None:
            self._on_stopped()

    def _check_stopped(self) -> None:
        if self._on_stopped is not None and not any(
            self._clients[state] for state in State if state is not State.CLOSED
        ):
            self._on_stopped()

    # Accepting

    def _listen(self) -> None:
        for listener in self._listeners:
            self._reactor.watch(listener, READ, partial(self._accept, listener))

    def _accept(self, listener: socket.socket, events: int) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, _ = accept(listener, keepalive=False)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in CONNECTION_ERRORS:
                    continue
                self._pause()
                return
            self._admit(sock, is_local=listener.family == socket.AF_UNIX)

    def _pause(self) -> None:
        """The system has no room: those who come wait, as they would for a busy server."""
        for listener in self._listeners:
            self._reactor.unwatch(listener)
        self._reactor.call_later(ACCEPT_RETRY, self._listen)

    def _admit(self, sock: socket.socket, *, is_local: bool) -> None:
        client = Client(self._reactor, sock, self, is_local=is_local)
        room = CLIENTS_MAX if is_local else CLIENTS_MAX - LOCAL_PLACES
        if self._active() >= room:
            self._make_room()
        if self._active() >= room:
            client.turn_away(TOO_MANY)
        else:
            client.begin()

    def _make_room(self) -> None:
        """Part from whoever wants nothing at the moment, or is slow to say what."""
        for state, grace in ((State.IDLE, 0.0), (State.READING, GRACE)):
            for client in list(self._clients[state])[:1]:
                if time.monotonic() - client.since >= grace:
                    client.close()
                    return

    def _active(self) -> int:
        """How many clients there are, without those who have heard all that they will."""
        states = (State.READING, State.SENDING, State.IDLE)
        return sum(len(self._clients[state]) for state in states)

    # What clients want

    def answer(self, request: Request) -> Answer:
        now = time.monotonic()
        shared = self._shared.get(request)
        if shared is None or shared.until < now:
            answer = self._routes.answer(request)
            fresh = {known: each for known, each in self._shared.items() if each.until >= now}
            shared = _Shared(answer, time.monotonic() + SHARED_FOR)
            self._shared = {**fresh, request: shared}
        return shared.answer

    def on_state(self, client: Client, before: State | None) -> None:
        assert client.state is not None
        if before is not None:
            self._clients[before].pop(client)
        if client.state is not State.CLOSED:
            self._clients[client.state][client] = None
        if client.state is State.SENDING:
            self._bound_bodies(client)
        elif client.state is State.LEAVING and len(self._clients[State.LEAVING]) > LEAVING_MAX:
            next(iter(self._clients[State.LEAVING])).close()
        elif client.state is State.CLOSED:
            self._check_stopped()

    def _bound_bodies(self, newest: Client) -> None:
        """If clients take their time, those who have taken most of it do without the rest."""
        for client in list(self._clients[State.SENDING]):
            bodies = {id(each.body): each.body for each in self._clients[State.SENDING]}
            if client is newest or sum(map(len, bodies.values())) <= HELD_MAX:
                break
            client.cut_off()
