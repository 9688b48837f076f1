"""The data plane in C (`_native/relay.h`): connections are handed over, their ends reported."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable

from spiped._native import ffi, lib
from spiped.net.ending import Cause, Ending
from spiped.net.reactor import Reactor
from spiped.net.sockets import close_with_reset
from spiped.observe.counters import Field, Slot
from spiped.proto.handshake import Role
from spiped.proto.keys import SessionKeys

AVAILABLE = bool(lib.relay_supported())

ENDED_AT_ONCE = 64  # ended connections reported per turn; the others wait for the next

CAUSES = {
    lib.RELAY_CLEAN: (Cause.CLEAN, ""),
    lib.RELAY_BAD_TAG: (Cause.PACKET, "bad tag"),
    lib.RELAY_BAD_LENGTH: (Cause.PACKET, "bad length"),
    lib.RELAY_TRUNCATED: (Cause.PACKET, "the stream ends inside a packet"),
    lib.RELAY_SOCKET_ERROR: (Cause.RESET, ""),
    lib.RELAY_ABORTED: (Cause.SHUTDOWN, ""),
}


class NativePlane:
    """A `Plane` in which the reactor waits: relaying is what it does meanwhile."""

    def __init__(self, reactor: Reactor, slot: Slot, drain_timeout: float) -> None:
        self._reactor = reactor
        self._counters = ffi.from_buffer("uint64_t[]", slot.view)
        limit = min(drain_timeout * 1000, 2**62)  # the limit may be infinite
        self._set = lib.relay_set_new(
            reactor.fileno(),
            int(limit),
            self._counters + Field.SEALED.value,
            self._counters + Field.OPENED.value,
        )
        if self._set == ffi.NULL:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        self._ended = ffi.new("struct relay_ended[]", ENDED_AT_ONCE)
        self._callbacks: dict[int, Callable[[Ending], None]] = {}
        self._next_id = 0
        self._acceptable = ffi.new("int *")
        self._listener: socket.socket | None = None
        self._on_acceptable: Callable[[], None] = _nothing
        reactor.wait = self._run

    def adopt(
        self,
        role: Role,
        plain: socket.socket,
        crypt: socket.socket,
        keys: SessionKeys,
        on_end: Callable[[Ending], None],
    ) -> None:
        C, S = keys[:2], keys[2:]
        ours, peers = (C, S) if role is Role.C else (S, C)
        views = [ffi.from_buffer("uint8_t[]", key) for key in (*ours, *peers)]
        self._next_id += 1
        error = lib.relay_adopt(self._set, self._next_id, plain.fileno(), crypt.fileno(), *views)
        if error != 0:
            close_with_reset(plain)
            close_with_reset(crypt)
            ending = Ending(Cause.RESET, os.strerror(error))
            self._reactor.call_later(0, lambda: on_end(ending))
            return
        plain.detach()
        crypt.detach()
        self._callbacks[self._next_id] = on_end

    def watch_listener(self, listener: socket.socket, callback: Callable[[], None]) -> None:
        error = lib.relay_watch_listener(self._set, listener.fileno())
        if error != 0:
            raise OSError(error, os.strerror(error))
        self._listener = listener
        self._on_acceptable = callback

    def unwatch_listener(self, listener: socket.socket) -> None:
        if self._listener is not None:
            lib.relay_unwatch_listener(self._set, listener.fileno())
            self._listener = None

    def abort_all(self) -> None:
        lib.relay_abort_all(self._set)
        while self._callbacks:
            self._run(0)

    def close(self) -> None:
        lib.relay_set_free(self._set)
        ffi.release(self._counters)

    def _run(self, timeout: float | None) -> None:
        """Relay until Python is needed, at most ``timeout`` seconds."""
        limit = -1 if timeout is None else min(math.ceil(timeout * 1000), 2**31)
        count = lib.relay_run(self._set, limit, self._acceptable, self._ended, ENDED_AT_ONCE)
        for ended in self._ended[0:count]:
            cause, detail = CAUSES[ended.cause]
            if ended.error != 0:
                detail = os.strerror(ended.error)
            on_end = self._callbacks.pop(ended.id)
            on_end(Ending(cause, detail, ended.sealed, ended.opened))
        if self._acceptable[0] and self._listener is not None:
            self._on_acceptable()
            if self._listener is not None:  # the callback may have had enough
                lib.relay_yield_listener(self._set, self._listener.fileno())


def _nothing() -> None:
    """No listener is watched."""
