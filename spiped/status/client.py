"""One client of the status server: its connection, from accept to close.

    reading -> sending -> idle -> reading ... -> leaving -> closed

HTTP/1.1 is h11's, which knows no sockets.  What a client may cost is limited here: a head of 8 KiB
in 5 seconds, no body, and a body of ours that is not copied and goes as the client takes it.
"""

from __future__ import annotations

import enum
import os
import socket
import time
from collections.abc import Callable

import h11

from spiped.lean_typing import Protocol, suppress
from spiped.net.reactor import READ, WRITE, Reactor, Timer
from spiped.net.sockets import close_gracefully, close_with_reset
from spiped.status.host import is_safe
from spiped.status.routes import Answer, Request, say

HEAD_MAX = 8192  # bytes of a request
HEAD_TIME = 5.0  # seconds from its first byte, or from accept, to its end
IDLE_TIME = 60.0  # seconds between requests
RESPONSE_TIME = 30.0  # seconds in which a client must have taken a response
LEAVE_TIME = 2.0  # seconds for which we hear what a client still sends that we do not want,
LEAVE_MAX = 1 << 18  # and bytes: closing before would reset, and could lose our last answer

METHODS = ("GET", "HEAD")

REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

HEADERS = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
]

MORE_HEADERS = {405: [("Allow", ", ".join(METHODS))], 503: [("Retry-After", "1")]}

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class State(enum.Enum):
    READING = "reading"  # a request is awaited, or has come in part
    SENDING = "sending"  # a response has not been taken yet
    IDLE = "idle"  # a response has been taken, and nothing of another request has come
    LEAVING = "leaving"  # all has been said; the client may still send
    CLOSED = "closed"


class Owner(Protocol):
    """Who knows the answers, and looks after all clients."""

    goes_on: bool  # clients may ask again

    def answer(self, request: Request) -> Answer: ...

    def on_state(self, client: Client, before: State | None) -> None:
        """A client is in another state; None: it is new."""


class Client:
    """A connection, and what has come and gone on it."""

    def __init__(
        self, reactor: Reactor, sock: socket.socket, owner: Owner, *, is_local: bool
    ) -> None:
        """``is_local``: over a UNIX socket, where a ``Host`` means nothing."""
        self._reactor = reactor
        self._sock = sock
        self._owner = owner
        self._is_local = is_local
        self._http = h11.Connection(h11.SERVER)
        self._head_bytes = 0  # that have come of the present request, and of those behind it
        self._unsent: list[memoryview] = []
        self._is_head = False  # the present request is for a head only
        self._unwanted = 0  # bytes that have come and were passed over
        self._timer: Timer | None = None
        self.body = b""  # of the response that is being sent
        self.state: State | None = None
        self.since = 0.0  # when it came into that

    def begin(self) -> None:
        """Await a request."""
        self._read()
        self._reactor.watch(self._sock, READ, self._on_readable)

    def turn_away(self, answer: Answer) -> None:
        """Give an answer that was not asked for, and no other."""
        self._send(answer, closing=True)

    def close(self) -> None:
        """Close now; what was sent still arrives."""
        self._close(close_gracefully)

    def cut_off(self) -> None:
        """Close in the middle of a response; the client sees a reset."""
        self._close(close_with_reset)

    def _close(self, close: Callable[[socket.socket], None]) -> None:
        if self.state is State.CLOSED:
            return
        self._reactor.unwatch(self._sock)
        close(self._sock)
        self._let_go()
        self._limit(None)
        self._become(State.CLOSED)

    def _become(self, state: State) -> None:
        before, self.state = self.state, state
        if before is not state:
            self.since = time.monotonic()
            self._owner.on_state(self, before)

    def _limit(self, seconds: float | None, on_due: Callable[[], None] | None = None) -> None:
        """From now on, and in place of the limit before: this long, or any time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None and on_due is not None:
            self._timer = self._reactor.call_later(seconds, on_due)

    # Reading

    def _read(self) -> None:
        """Await the end of a head, of which some has come perhaps."""
        self._become(State.READING)
        self._limit(HEAD_TIME, self._on_late)

    def _on_late(self) -> None:
        """The head has not come in time."""
        if self._head_bytes:
            self._refuse(say(408, f"a request must have come within {HEAD_TIME:g} seconds"))
        else:
            self.close()

    def _on_readable(self, events: int) -> None:
        try:
            data = self._sock.recv(HEAD_MAX - self._head_bytes)
        except BlockingIOError:
            return
        except OSError:  # reset: nobody is there to be answered
            self.close()
            return
        if self.state is State.IDLE and data:
            self._read()
        self._head_bytes += len(data)
        self._http.receive_data(data)
        self._take()

    def _take(self) -> None:
        """See whether a request is complete, and answer it."""
        if self.state not in (State.READING, State.IDLE):
            return
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(say(error.error_status_hint, f"This is no request: {error}"))
            return
        except ValueError as error:  # of an older h11, for a number with thousands of digits
            self._refuse(say(400, f"This is no request: {error}"))
            return
        if isinstance(event, h11.Request):
            self._answer(event)
        elif isinstance(event, h11.ConnectionClosed):
            self.close()
        elif self._head_bytes >= HEAD_MAX:
            self._refuse(say(431, f"a request may have {HEAD_MAX} bytes"))
        else:
            self._reactor.watch(self._sock, READ, self._on_readable)

    def _answer(self, request: h11.Request) -> None:
        method, target = request.method.decode("ascii"), request.target.decode("ascii")
        host = _header(request, b"host")
        if target.lower().startswith(
            "http://"
        ):  # as for a proxy; then this is the host that counts
            host, slash, target = target[len("http://") :].partition("/")
            host = host or "nobody"
            target = slash + target
        path, _, query = target.partition("?")
        self._is_head = method == "HEAD"
        refusal: Answer | None = None
        if not request.http_version.startswith(b"1."):
            refusal = say(505, "this is a server for HTTP/1.1")
        elif method not in METHODS:
            refusal = say(405, "there is nothing to be done here: GET and HEAD only")
        elif _has_body(request):
            refusal = say(413, "a request has no body here")
        elif host and not self._is_local and not is_safe(host):
            refusal = say(421, "ask for a literal address, or localhost: names can be misled")
        if refusal is not None:
            self._refuse(refusal)
            return
        end = self._http.next_event()
        assert isinstance(end, h11.EndOfMessage)
        self._send(self._owner.answer(Request(path, query, _header(request, b"accept"))))

    # Sending

    def _refuse(self, answer: Answer) -> None:
        """Answer what is no request that we want, and end: who knows what else comes."""
        self._send(answer, closing=True)

    def _send(self, answer: Answer, *, closing: bool = False) -> None:
        """Send a response; the connection ends after it if it must."""
        headers = [
            ("Date", _date(time.time())),
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Content-Security-Policy", answer.policy),
            *HEADERS,
            *MORE_HEADERS.get(answer.status, ()),
        ]
        if closing:
            headers.append(("Connection", "close"))
        reason = REASONS.get(answer.status, "")
        head = h11.Response(status_code=answer.status, headers=headers, reason=reason)
        self.body = b"" if self._is_head else answer.body
        self._unsent = []
        for event in (head, h11.Data(data=self.body), h11.EndOfMessage()):
            # bytes of h11's, and the body itself
            pieces = self._http.send_with_data_passthrough(event) or []
            self._unsent += [memoryview(piece) for piece in pieces if piece]
        self._limit(RESPONSE_TIME, self.cut_off)
        self._flush()

    def _flush(self, events: int = 0) -> None:
        """Send what there is room for."""
        try:
            count = os.writev(self._sock.fileno(), self._unsent)
        except BlockingIOError:
            count = 0
        except OSError:  # reset: nobody takes it any more
            self.close()
            return
        while self._unsent and count >= len(self._unsent[0]):
            count -= len(self._unsent.pop(0))
        if self._unsent:
            self._unsent[0] = self._unsent[0][count:]
            self._reactor.watch(self._sock, WRITE, self._flush)
            self._become(State.SENDING)
        else:
            self._let_go()
            self._go_on()

    def _let_go(self) -> None:
        self._unsent.clear()
        self.body = b""
        self._is_head = False

    def _go_on(self) -> None:
        """A response has been taken: await another request, if there may be one."""
        states = (self._http.our_state, self._http.their_state)
        if not self._owner.goes_on or states != (h11.DONE, h11.DONE):
            self._leave()
            return
        self._http.start_next_cycle()
        self._head_bytes = len(self._http.trailing_data[0])
        if self._head_bytes:
            self._reactor.unwatch(self._sock)
            self._read()
            self._reactor.call_later(0, self._take)  # others first
        else:
            self._become(State.IDLE)
            self._limit(IDLE_TIME, self.close)
            self._reactor.watch(self._sock, READ, self._on_readable)

    # The end

    def _leave(self) -> None:
        """End our direction, and hear the client out."""
        with suppress(OSError):  # the client has left already, as reading tells
            self._sock.shutdown(socket.SHUT_WR)
        self._limit(LEAVE_TIME, self.close)
        self._reactor.watch(self._sock, READ, self._on_unwanted)
        self._become(State.LEAVING)

    def _on_unwanted(self, events: int) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._unwanted += len(data)
        if not data or self._unwanted > LEAVE_MAX:
            self.close()


def _header(request: h11.Request, name: bytes) -> str:
    """The values of a header, "" if there is none; names are in lower case."""
    return b", ".join(value for each, value in request.headers if each == name).decode("latin-1")


def _has_body(request: h11.Request) -> bool:
    length = _header(request, b"content-length")
    return bool(_header(request, b"transfer-encoding")) or length.strip("0") != ""


def _date(now: float) -> str:
    """A point in time as HTTP has it: in English, whatever the locale."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(now)
    return (
        f"{DAYS[weekday]}, {day:02} {MONTHS[month - 1]} {year}"
        f" {hour:02}:{minute:02}:{second:02} GMT"
    )
