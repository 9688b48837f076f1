"""The portable data plane's relays.

A connection is two relays, one per direction: receive a batch, seal or open it, send it, and do not
receive again before all of it has been sent.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import termios
import time
from collections.abc import Callable

from spiped.constants import BATCH_PACKETS, MESSAGE_MAX, PACKET_BYTES
from spiped.errors import PacketError, describe
from spiped.light import suppress
from spiped.net.ending import Cause, Ending
from spiped.net.pipe import Pipe
from spiped.net.reactor import HANGUP, NOTHING, READ, WRITE, Reactor
from spiped.net.sockets import close_gracefully, close_with_reset, take_error
from spiped.observe.slot import Field, Slot
from spiped.proto.packets import Opener, Sealer

DRAIN_POLL = 0.01  # seconds between two looks at how much the peer has still to acknowledge


class Relay:
    """One direction: from ``source``, through ``transform``, to ``sink``."""

    __slots__ = ("_slot", "_transform", "carried", "hung_up", "sink", "source", "state", "unsent")

    FLOWING, ENDING, ENDED = range(3)  # ENDING: nothing more to read, something left to send

    def __init__(
        self, source: socket.socket, sink: socket.socket, transform: Sealer | Opener, slot: Slot
    ) -> None:
        self.source = source
        self.sink = sink
        self.state = Relay.FLOWING
        self.unsent = b""
        self.carried = 0  # payload bytes
        self.hung_up = False  # the source's peer is gone; there may be something left to read
        self._transform = transform
        self._slot = slot

    @property
    def wants_to_read(self) -> bool:
        return self.state == Relay.FLOWING and not self.unsent

    @property
    def gone(self) -> bool:
        """The source's peer has closed its UNIX socket: it will never read again."""
        return self.hung_up and self.source.family == socket.AF_UNIX

    def receive(self) -> bool:
        """Receive a batch and transform it into what is to be sent; False if there is none now.

        Raises PacketError for what the peer must not send; what came before that is still in
        `unsent`.  Raises OSError for what happened to the source.
        """
        sealing = isinstance(self._transform, Sealer)
        try:
            data = self.source.recv(BATCH_PACKETS * (MESSAGE_MAX if sealing else PACKET_BYTES))
        except (BlockingIOError, InterruptedError):
            return False
        if isinstance(self._transform, Sealer):
            if data:
                self.unsent = self._transform.seal(data)
                self._count(Field.SEALED, len(data))
        elif data:
            self.unsent = self._transform.open(data)
            self._count(Field.OPENED, len(self.unsent))
            if self._transform.fault is not None:
                raise self._transform.fault
        elif self._transform.inside_packet:
            raise PacketError("the stream ends inside a packet")
        if not data:
            self.state = Relay.ENDING
        return True

    def _count(self, field: Field, length: int) -> None:
        self.carried += length
        self._slot.add(field, length)

    def send(self) -> None:
        """Send what there is; raises OSError for what happened to the sink."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.sink.send(self.unsent) :]
        except (BlockingIOError, InterruptedError):
            return

    def finish(self) -> None:
        """Pass the end of the stream on, once everything before it has been sent."""
        if self.state == Relay.ENDING and not self.unsent:
            self.state = Relay.ENDED
            try:
                self.sink.shutdown(socket.SHUT_WR)
            except OSError as error:
                # the peer was faster: its reset will be noticed on its own
                if error.errno not in (errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE):
                    raise

    def wipe(self) -> None:
        self._transform.wipe()


class RelayedConnection:
    """Two relays over two sockets, and what becomes of one socket when the other fails.

    When a socket is lost, nothing is sent to it any more, but what it has still to give is read
    and delivered; then the other side gets a reset, never a clean end.
    """

    def __init__(
        self,
        reactor: Reactor,
        seal: Relay,
        open_: Relay,
        pipe: Pipe,
        on_end: Callable[[Ending], None],
    ) -> None:
        self._reactor = reactor
        self._seal = seal
        self._open = open_
        self._pipe = pipe
        self._on_end = on_end
        self._failure: Ending | None = None
        self._last: Relay | None = None  # after a failure: the direction that is still delivered
        self._deadline = 0.0  # of draining
        self._active = time.monotonic()  # when something was carried
        self._queued = 0  # what the system had still to deliver when we last asked
        self._timer = reactor.call_later(pipe.idle_timeout, self._on_silence)  # then of draining
        self._reactor.watch(seal.source, READ, self._on_plain)
        self._reactor.watch(open_.source, READ, self._on_crypt)

    def _on_plain(self, events: int) -> None:
        self._on_events(self._seal, self._open, events)

    def _on_crypt(self, events: int) -> None:
        self._on_events(self._open, self._seal, events)

    def _on_events(self, reader: Relay, writer: Relay, events: int) -> None:
        """Something happened on the socket that is ``reader``'s source and ``writer``'s sink."""
        if events == HANGUP:
            self._check(reader)
        if events & WRITE:
            self._send(writer)
        if events & READ and reader.wants_to_read:
            self._receive(reader)
        self._settle()

    def _opposite(self, relay: Relay) -> Relay:
        return self._open if relay is self._seal else self._seal

    def _check(self, reader: Relay) -> None:
        status = take_error(reader.source)
        reader.hung_up = True
        if status != 0:
            self._lose(reader, Cause.RESET, os.strerror(status))

    def _on_silence(self) -> None:
        """Has nothing been carried since the timer was set, or has something?"""
        left = self._active + self._pipe.idle_timeout - time.monotonic()
        if left <= 0 and self._has_moved():  # a slow peer is not a silent one
            left = self._pipe.idle_timeout
        if left > 0:
            self._timer = self._reactor.call_later(left, self._on_silence)
        else:
            self._end(close_with_reset, Ending(Cause.IDLE))

    def _has_moved(self) -> bool:
        """What the system has still to deliver has changed since we last asked."""
        before, self._queued = self._queued, _queued(self._seal.sink) + _queued(self._open.sink)
        return self._queued != before

    def _receive(self, relay: Relay) -> None:
        self._active = time.monotonic()
        try:
            if not relay.receive() and relay is self._last:
                relay.state = Relay.ENDING
        except PacketError as error:
            relay.state = Relay.ENDING
            self._lose(relay, Cause.PACKET, str(error))
        except OSError as error:
            relay.state = Relay.ENDING
            self._lose(relay, Cause.RESET, describe(error))
        self._send(relay)

    def _send(self, relay: Relay) -> None:
        """Send what there is to send, and pass the end on behind it."""
        left = len(relay.unsent)
        try:
            relay.send()
            if len(relay.unsent) < left:
                self._active = time.monotonic()
            if self._failure is None:
                relay.finish()
        except OSError as error:
            self._lose(self._opposite(relay), Cause.RESET, describe(error))

    def _lose(self, relay: Relay, cause: Cause, detail: str) -> None:
        """``relay``'s source has failed: deliver what it gave, and end."""
        if relay is self._last:
            return
        opposite = self._opposite(relay)
        opposite.state = Relay.ENDED
        opposite.unsent = b""
        if self._failure is not None:
            return  # the other side had failed before: nobody is left to deliver to
        self._failure = Ending(cause, detail)
        self._last = relay
        if relay.state == Relay.ENDED:
            relay.state = Relay.ENDING  # what it gave may still be on its way

    def _settle(self) -> None:
        """After every event: end if it is time, else watch for what can happen next."""
        if self._last is not None:
            self._begin_to_drain()
            return
        for reader, writer in ((self._seal, self._open), (self._open, self._seal)):
            if reader.gone and reader.state == Relay.ENDED and not writer.unsent:
                writer.state = Relay.ENDED
        if self._seal.state == self._open.state == Relay.ENDED:
            self._end(close_gracefully, Ending(Cause.CLEAN))
            return
        self._watch(self._seal, self._open, self._on_plain)
        self._watch(self._open, self._seal, self._on_crypt)

    def _watch(self, reader: Relay, writer: Relay, callback: Callable[[int], None]) -> None:
        events = (READ if reader.wants_to_read else NOTHING) | (WRITE if writer.unsent else NOTHING)
        if events == NOTHING and reader.hung_up:
            self._reactor.unwatch(reader.source)
        else:
            self._reactor.watch(reader.source, events, callback)

    def _unwatch(self) -> None:
        for relay in (self._seal, self._open):
            self._reactor.unwatch(relay.source)

    def _begin_to_drain(self) -> None:
        self._unwatch()
        self._timer.cancel()
        self._deadline = time.monotonic() + self._pipe.timeout
        self._drain()

    def _drain(self) -> None:
        """Move what the failed socket gave on to the other one; when that has it, reset it.

        For a limited time, and looking again and again: no event tells that a peer has received
        everything.
        """
        relay = self._last
        assert relay is not None
        assert self._failure is not None
        self._send(relay)
        if relay.wants_to_read:
            self._receive(relay)
        if relay.state == Relay.ENDING:
            close_with_reset(relay.source)
            if not relay.unsent and _acknowledged(relay.sink):
                relay.state = Relay.ENDED
        if relay.state == Relay.ENDED or time.monotonic() >= self._deadline:
            self._end(close_with_reset, self._failure)
            return
        delay = 0 if relay.wants_to_read else DRAIN_POLL
        self._timer = self._reactor.call_later(delay, self._drain)

    def abort(self) -> None:
        self._end(close_with_reset, Ending(Cause.SHUTDOWN))

    def _end(self, close: Callable[[socket.socket], None], ending: Ending) -> None:
        self._timer.cancel()
        if self._last is None:  # else it has been done
            self._unwatch()
        for relay in (self._seal, self._open):
            close(relay.source)
            relay.wipe()
        self._on_end(ending._replace(sealed=self._seal.carried, opened=self._open.carried))


def _acknowledged(sock: socket.socket) -> bool:
    """The peer's system has received everything, or never will.

    Of UNIX sockets that is always true.
    """
    return sock.family == socket.AF_UNIX or take_error(sock) != 0 or _queued(sock) == 0


def _queued(sock: socket.socket) -> int:
    """How much was sent that the peer's system has not received; 0 if nobody can tell."""
    pending = bytearray(4)
    with suppress(OSError):
        fcntl.ioctl(sock, termios.TIOCOUTQ, pending)
    return int.from_bytes(pending, sys.byteorder)
