"""The socket pair between a supervisor and a worker: messages both ways, questions and answers.

A message is one line of JSON.  It is sent whole or waits in a queue; nobody waits for the other
end.  When the other end is gone, either side learns it here.

A worker may outlive the program that has forked it, by an upgrade.  So these stay as they are for
ever: lines of JSON, objects, of which unknown members and unknown messages are passed over; the
orders "drain" and "stop"; and that every question with a "question" is answered with an "answer".
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

from spiped.lean_typing import Any, suppress
from spiped.net.reactor import READ, WRITE, Reactor

Message = dict[str, Any]

MESSAGE_MAX = 1 << 20  # bytes; whoever sends more than that without an end is broken


class Channel:
    """One end.  ``on_message`` gets what is no question's answer, ``on_end`` is called once."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        on_message: Callable[[Message], None],
        on_end: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._reactor = reactor
        self._sock = sock
        self._on_message = on_message
        self._on_end = on_end
        self._received = b""
        self._queued = b""
        self._questions = 0
        self._asked: dict[int, Callable[[Message], None]] = {}
        self._watch()

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: Message) -> None:
        """Send a message, as soon as there is room; one that is gone does not miss it."""
        if self._sock.fileno() < 0:
            return
        self._queued += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        self._flush()

    def ask(self, question: Message, on_answer: Callable[[Message], None]) -> None:
        """Send a question; its answer, if there will be one, goes to ``on_answer``."""
        self._questions += 1
        self._asked[self._questions] = on_answer
        self.send({**question, "question": self._questions})

    def answer(self, question: Message, answer: Message) -> None:
        self.send({**answer, "answer": question["question"]})

    @property
    def waiting(self) -> int:
        """How many bytes the other end has still to take."""
        return len(self._queued)

    def flush(self) -> bool:
        """Send what there is room for; False if something is left."""
        self._flush()
        return not self._queued

    def receive_rest(self) -> None:
        """Take what the other end, which has ended, has still said."""
        while self._sock.fileno() >= 0 and self._receive():
            pass

    def close(self) -> None:
        """Close our end; nobody is called any more."""
        if self._sock.fileno() >= 0:
            self._reactor.unwatch(self._sock)
            self._sock.close()

    def close_in_child(self) -> None:
        """Let go of the descriptor alone: the reactor's set is shared with our parent."""
        self._sock.close()

    def _watch(self) -> None:
        events = READ | WRITE if self._queued else READ
        self._reactor.watch(self._sock, events, self._on_events)

    def _flush(self) -> None:
        try:
            while self._queued:
                self._queued = self._queued[self._sock.send(self._queued) :]
        except BlockingIOError:
            pass
        except OSError:  # the other end is gone, as reading will tell
            self._queued = b""
        self._watch()

    def _on_events(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & READ:
            self._receive()

    def _receive(self) -> bool:
        """Take what has come; False if that was nothing."""
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        *lines, rest = (self._received + data).split(b"\n")
        self._received = rest
        for line in lines:
            self._take(line)
        if not data or len(self._received) > MESSAGE_MAX:
            self._end()
        return bool(data)

    def _take(self, line: bytes) -> None:
        if not line or self._sock.fileno() < 0:
            return
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._end()
            return
        on_answer = None
        with suppress(TypeError):  # no number that we have given
            on_answer = self._asked.pop(message.get("answer"), None)  # type: ignore[arg-type]
        (on_answer or self._on_message)(message)

    def _end(self) -> None:
        if self._sock.fileno() >= 0:
            self.close()
            self._on_end()
