"""The data plane in C (`_native/plane.h`): connections are handed over, news of them comes back."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable

from spiped._native import ffi, lib
from spiped.light import Any
from spiped.net.ending import Cause, Ending
from spiped.net.pipe import Pipe
from spiped.net.reactor import NO_ROOM, ROOM_RETRY, Reactor, Timer
from spiped.net.sockets import close_with_reset
from spiped.observe.slot import Field, Slot
from spiped.proto.role import Role

AVAILABLE = bool(lib.plane_supported())

NEWS_AT_ONCE = 64  # connections of which there is news per turn; the others wait for the next

CAUSES = {
    lib.PLANE_CLEAN: Ending(Cause.CLEAN),
    lib.PLANE_NO_KEY: Ending(Cause.HANDSHAKE, "the peer does not hold the key"),
    lib.PLANE_OUT_OF_RANGE: Ending(
        Cause.HANDSHAKE, "the peer's Diffie-Hellman value is out of range"
    ),
    lib.PLANE_NO_PFS: Ending(Cause.HANDSHAKE, "the peer refuses perfect forward secrecy"),
    lib.PLANE_CLOSED: Ending(Cause.HANDSHAKE, "the peer closed the connection"),
    lib.PLANE_LOST: Ending(Cause.HANDSHAKE),
    lib.PLANE_BAD_TAG: Ending(Cause.PACKET, "bad tag"),
    lib.PLANE_BAD_LENGTH: Ending(Cause.PACKET, "bad length"),
    lib.PLANE_TRUNCATED: Ending(Cause.PACKET, "the stream ends inside a packet"),
    lib.PLANE_SOCKET_ERROR: Ending(Cause.RESET),
    lib.PLANE_ABORTED: Ending(Cause.SHUTDOWN),
}


def _ending_of(event: Any) -> Ending:
    cause, detail, _, _ = CAUSES[event.cause]
    if event.error != 0:
        detail = os.strerror(event.error)
    return Ending(cause, detail, event.sealed, event.opened)


class NativeChannel:
    """A connection in C; ``handle`` is None before it begins and after it has ended."""

    __slots__ = ("_plane", "cancelled", "handle", "id", "on_authentic", "on_end", "on_ready")

    def __init__(
        self,
        plane: NativePlane,
        id_: int,
        on_authentic: Callable[[], None],
        on_ready: Callable[[], None],
        on_end: Callable[[Ending], None],
    ) -> None:
        self._plane = plane
        self.id = id_
        self.handle: Any = None
        self.cancelled = False
        self.on_authentic: Callable[[], None] | None = on_authentic
        self.on_ready: Callable[[], None] | None = on_ready
        self.on_end = on_end

    def relay(self, plain: socket.socket) -> None:
        self.on_authentic = self.on_ready = None
        self._plane.relay(self, plain)

    def cancel(self) -> None:
        self._plane.cancel(self)


class NativePlane:
    """A `Plane` in which the reactor waits: relaying is what it does meanwhile."""

    def __init__(self, reactor: Reactor, slot: Slot, drain_timeout: float) -> None:
        self._reactor = reactor
        self._counters = ffi.from_buffer("uint64_t[]", slot.view)
        limit = min(drain_timeout * 1000, 2**62)  # the limit may be infinite
        self._plane = lib.plane_new(
            reactor.fileno(),
            int(limit),
            self._counters + Field.SEALED.value,
            self._counters + Field.OPENED.value,
        )
        if self._plane == ffi.NULL:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        self._events = ffi.new("struct plane_event[]", NEWS_AT_ONCE)
        self._wanted = ffi.new("int *")
        self._channels: dict[int, NativeChannel] = {}
        self._next_id = 0
        self._listener: socket.socket | None = None
        self._on_acceptable: Callable[[], None] = _nothing
        self._retry = Timer(_nothing)  # of watching the listener
        reactor.wait = self._run

    def negotiate(
        self,
        crypt: socket.socket,
        pipe: Pipe,
        on_authentic: Callable[[], None],
        on_ready: Callable[[], None],
        on_end: Callable[[Ending], None],
    ) -> NativeChannel:
        self._next_id += 1
        channel = NativeChannel(self, self._next_id, on_authentic, on_ready, on_end)
        handle = lib.plane_negotiate(
            self._plane,
            self._next_id,
            crypt.fileno(),
            lib.ROLE_C if pipe.role is Role.C else lib.ROLE_S,
            ffi.from_buffer("uint8_t[]", pipe.K),
            pipe.weak,
            pipe.require_pfs,
        )
        if handle == ffi.NULL:
            ending = Ending(Cause.HANDSHAKE, os.strerror(ffi.errno))
            close_with_reset(crypt)

            def tell() -> None:
                if not channel.cancelled:
                    on_end(ending)

            self._reactor.call_later(0, tell)
            return channel
        crypt.detach()
        channel.handle = handle
        self._channels[self._next_id] = channel
        return channel

    def relay(self, channel: NativeChannel, plain: socket.socket) -> None:
        """Relay between a channel that is ready and a socket."""
        if channel.handle is None:  # it has ended since, which is about to be told
            close_with_reset(plain)
            return
        error = lib.plane_relay(self._plane, channel.handle, plain.fileno())
        if error == 0:
            plain.detach()
            return
        close_with_reset(plain)
        self.cancel(channel)
        ending = Ending(Cause.RESET, os.strerror(error))
        self._reactor.call_later(0, lambda: channel.on_end(ending))

    def cancel(self, channel: NativeChannel) -> None:
        """Forget a channel that is not relayed."""
        channel.cancelled = True
        if channel.handle is not None:
            del self._channels[channel.id]
            lib.plane_cancel(self._plane, channel.handle)
            channel.handle = None

    def watch_listener(self, listener: socket.socket, callback: Callable[[], None]) -> None:
        self._listener = listener
        self._on_acceptable = callback
        self._check_watch(lib.plane_watch_listener(self._plane, listener.fileno()))

    def unwatch_listener(self, listener: socket.socket) -> None:
        if self._listener is not None:
            lib.plane_unwatch_listener(self._plane, listener.fileno())
            self._listener = None
            self._retry.cancel()

    def _check_watch(self, error: int) -> None:
        """If the system has no room to watch the listener, try again later."""
        if error in NO_ROOM:
            self._retry = self._reactor.call_later(ROOM_RETRY, self._watch_again)
        elif error != 0:
            raise OSError(error, os.strerror(error))

    def _watch_again(self) -> None:
        if self._listener is not None:
            self._check_watch(lib.plane_watch_listener(self._plane, self._listener.fileno()))

    def abort_all(self) -> None:
        lib.plane_abort_all(self._plane)
        while self._channels:
            self._run(0)

    def close(self) -> None:
        lib.plane_free(self._plane)
        ffi.release(self._counters)

    def _run(self, timeout: float | None) -> bool:
        """Go on until Python is needed, at most ``timeout`` seconds."""
        limit = -1 if timeout is None else min(math.ceil(timeout * 1000), 2**31)
        count = lib.plane_run(self._plane, limit, self._wanted, self._events, NEWS_AT_ONCE)
        wanted = self._wanted[0]
        for channel, news, ending in self._take_news(count) if count else ():
            # it may have ended since, and any of these callbacks may end or cancel others
            if news & lib.PLANE_AUTHENTIC and channel.on_authentic and channel.handle is not None:
                channel.on_authentic()
            if news & lib.PLANE_READY and channel.on_ready and channel.handle is not None:
                channel.on_ready()
            if ending is not None and not channel.cancelled:
                channel.on_end(ending)
        if wanted & lib.PLANE_ACCEPTABLE and self._listener is not None:
            self._on_acceptable()
            if self._listener is not None:  # the callback may have had enough
                self._check_watch(lib.plane_yield_listener(self._plane, self._listener.fileno()))
        return bool(wanted & lib.PLANE_CONTROL)

    def _take_news(self, count: int) -> list[tuple[NativeChannel, int, Ending | None]]:
        """All news at once, before any callback: that may end others, or start new ones."""
        news: list[tuple[NativeChannel, int, Ending | None]] = []
        for event in self._events[0:count]:
            channel = self._channels[event.id]
            if event.news & lib.PLANE_ENDED:
                del self._channels[event.id]
                channel.handle = None
                news.append((channel, event.news, _ending_of(event)))
            else:
                news.append((channel, event.news, None))
        return news


def _nothing() -> None:
    """No listener is watched."""
