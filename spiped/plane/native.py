"""The data plane in C (`_native/plane/plane.h`): what it is told, and what it tells."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable

from spiped._native import ffi, lib
from spiped.lean_typing import TYPE_CHECKING, Any
from spiped.net.address import SocketAddress, decode_sockaddr
from spiped.net.reactor import Reactor
from spiped.net.sockets import close_with_reset, peer_name
from spiped.observe.slot import Field, Slot
from spiped.plane.ending import Ending, Reason
from spiped.plane.pipe_settings import PipeSettings
from spiped.proto.terms import CRYPT, PLAIN, Heard, Role

if TYPE_CHECKING:
    from spiped.plane.interface import Service, Wanted

AVAILABLE = bool(lib.plane_supported())

ENDINGS_AT_ONCE = 64  # that are told per turn; the others wait for the next
NEVER = 2**64 - 1

REASONS = {getattr(lib, f"PLANE_{reason.name}"): reason for reason in Reason}
HEARD = {getattr(lib, f"HEARD_{heard.name}"): heard for heard in Heard}
TROUBLE = lib.PLANE_LIMIT_REACHED | lib.PLANE_OVERLOADED | lib.PLANE_CANNOT_ACCEPT
SIDES = {lib.PLANE_SIDE_PLAIN: PLAIN, lib.PLANE_SIDE_CRYPT: CRYPT}


class NativePlane:
    """A `Plane` in which the reactor waits: carrying connections is what it does meanwhile."""

    def __init__(self, reactor: Reactor, slot: Slot, entries: memoryview) -> None:
        self._reactor = reactor
        self._counters = ffi.from_buffer("uint64_t[]", slot.view)
        self._entries = ffi.from_buffer("struct plane_entry[]", entries)
        self._plane = lib.plane_new(
            reactor.fileno(), self._counters, self._entries, len(self._entries)
        )
        if self._plane == ffi.NULL:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        self._endings = ffi.new("struct plane_ending[]", ENDINGS_AT_ONCE)
        self._wanted = ffi.new("int *")
        self._pipes: dict[int, _Pipe] = {}  # by the id of the one that it stands for
        self._service: Service | None = None
        # The counters of all workers and how many there are, for as long as the plane looks
        self._shared: Any = None
        self._used: Any = None
        self._on_end: dict[int, Callable[[Ending], None]] = {}  # of those that were handed over
        self._carried = 0
        reactor.wait = self._run

    def serve(self, service: Service) -> None:
        limits = service.limits
        self._shared = ffi.from_buffer("uint64_t[]", service.counters.view)
        self._used = ffi.from_buffer("uint64_t[]", service.counters.used)
        told = {
            "listener": service.listener.fileno(),
            "wake": service.wake,
            "pipe": self._pipe(service.pipe),
            "counters": self._shared,
            "stride": service.counters.stride,
            "used": self._used,
            "slots": len(service.counters.view) // service.counters.stride,
            "limit": limits.connections,
            "unauthenticated": limits.unauthenticated,
            # every plane counts for itself
            "unauthenticated_per_source": math.ceil(
                limits.unauthenticated_per_source / service.workers
            ),
            "tell_clean": service.tell_clean,
            "tell_left": service.tell_left,
            "tell_begun": service.tell_begun,
            "tell_burst": service.tell_burst,
            "tell_interval_ms": _milliseconds(service.tell_interval),
        }
        _check(lib.plane_serve(self._plane, ffi.new("struct plane_service *", told)))
        self._service = service

    def report(self, wanted: Wanted) -> None:
        lib.plane_report(self._plane, wanted.clean, wanted.left, wanted.begun)

    def retarget(self, targets: list[SocketAddress]) -> None:
        assert self._service is not None
        _retarget(self._pipe(self._service.pipe), targets)

    def stop_serving(self) -> None:
        lib.plane_stop_serving(self._plane)

    def carry(
        self, accepted: socket.socket, pipe: PipeSettings, on_end: Callable[[Ending], None]
    ) -> None:
        self._carried += 1
        error = lib.plane_carry(self._plane, self._carried, accepted.fileno(), self._pipe(pipe))
        if error != 0:
            close_with_reset(accepted)
            role = pipe.role
            ending = Ending(Reason.PLAIN_LOST, role, error)
            self._reactor.call_later(0, lambda: on_end(ending))
            return
        accepted.detach()
        self._on_end[self._carried] = on_end

    def kill(self, number: int) -> bool:
        return bool(lib.plane_kill(self._plane, number))

    def abort_all(self) -> None:
        lib.plane_abort_all(self._plane)
        while self._counters[Field.ACTIVE] > 0:
            self._run(0)

    def give_back(self) -> None:
        lib.plane_give_back(self._plane)

    def close(self) -> None:
        lib.plane_free(self._plane)
        for pipe in self._pipes.values():
            pipe.close()
        ffi.release(self._counters)
        ffi.release(self._entries)
        if self._shared is not None:
            ffi.release(self._shared)
            ffi.release(self._used)

    def _pipe(self, pipe: PipeSettings) -> Any:
        """The pipe as the plane has it."""
        if id(pipe) not in self._pipes:
            self._pipes[id(pipe)] = _Pipe(pipe)
        return self._pipes[id(pipe)].handle

    def _run(self, timeout: float | None) -> bool:
        """Go on until Python is needed, at most ``timeout`` seconds."""
        limit = -1 if timeout is None else math.ceil(timeout * 1000)
        count = lib.plane_run(self._plane, limit, self._wanted, self._endings, ENDINGS_AT_ONCE)
        wanted = self._wanted[0]
        if wanted & TROUBLE:
            self._tell_trouble(wanted)
        # a callback may come back here, and the endings would be others then
        for told in [_read(self._endings[i]) for i in range(count)]:
            self._tell(*told)
        if wanted & lib.PLANE_DRAINED and self._service is not None:
            self._service.on_drained()
        return bool(wanted & lib.PLANE_CONTROL)

    def _tell(self, id_: int, ending: Ending | _Begun) -> None:
        if id_ != 0:
            assert isinstance(ending, Ending)
            self._on_end.pop(id_)(ending)
        elif self._service is None:
            return
        elif isinstance(ending, Ending):
            self._service.on_end(ending)
        else:
            self._service.on_begin(ending.number, ending.peer)

    def _tell_trouble(self, wanted: int) -> None:
        assert self._service is not None
        if wanted & lib.PLANE_LIMIT_REACHED:
            self._service.on_limit()
        if wanted & lib.PLANE_OVERLOADED:
            self._service.on_overload()
        if wanted & lib.PLANE_CANNOT_ACCEPT:
            self._service.on_shortage(lib.plane_accept_error(self._plane))


class _Peer:
    """Who connected; the name is made when it is wanted, which is seldom."""

    __slots__ = ("_address",)

    def __init__(self, address: bytes) -> None:
        self._address = address

    def __str__(self) -> str:
        address = decode_sockaddr(self._address)
        return peer_name("" if address is None else address.sockaddr)


class _Begun:
    """A connection has been accepted."""

    __slots__ = ("number", "peer")

    def __init__(self, number: int, peer: _Peer) -> None:
        self.number = number
        self.peer = peer


def _read(ending: Any) -> tuple[int, Ending | _Begun]:
    """What the plane tells of a connection that has begun or ended."""
    if ending.cause == lib.PLANE_BEGUN:
        return 0, _Begun(ending.number, _Peer(_bytes(ending.peer)))
    told = Ending(
        REASONS[ending.cause],
        Role.C if ending.role == lib.ROLE_C else Role.S,
        ending.error,
        SIDES.get(ending.side),
        HEARD[ending.heard],
        decode_sockaddr(_bytes(ending.target)) or "",
        ending.sealed,
        ending.opened,
        ending.number,
        _Peer(_bytes(ending.peer)),
        ending.duration_ms / 1000,
    )
    return ending.id, told


# Addresses and pipes, from one language to the other


def _bytes(address: Any) -> bytes:
    return bytes(ffi.buffer(address.bytes, address.length))


def _encode(target: SocketAddress, address: Any) -> None:
    family, sockaddr = target
    if target.is_unix:
        path = os.fsencode(sockaddr)
        lib.plane_address(address, family, path, len(path), 0, 0, 0)
    else:
        ip, port, *more = sockaddr
        flow, scope = more or (0, 0)
        # a scope may be in the name as well, and the number says it all
        packed = socket.inet_pton(family, ip.partition("%")[0])
        lib.plane_address(address, family, packed, len(packed), port, flow, scope)


class _Pipe:
    """A pipe as the plane has it."""

    def __init__(self, pipe: PipeSettings) -> None:
        self.pipe = pipe  # its id stands for it, so it must stay
        self.K = ffi.from_buffer("uint8_t[]", pipe.K)
        self.handle = _make_pipe(pipe, self.K)

    def close(self) -> None:
        lib.plane_pipe_free(self.handle)
        ffi.release(self.K)


def _make_pipe(pipe: PipeSettings, K: Any) -> Any:
    told = {
        "role": lib.ROLE_C if pipe.role is Role.C else lib.ROLE_S,
        "K": K,
        "number": pipe.number,
        "weak": pipe.weak,
        "require_pfs": pipe.require_pfs,
        "keepalive": pipe.keepalive,
        "timeout_ms": _milliseconds(pipe.timeout),
        "idle_ms": _milliseconds(pipe.idle_timeout),
    }
    settings = ffi.new("struct plane_pipe_settings *", told)
    if pipe.bind is not None:
        _encode(pipe.bind, ffi.addressof(settings, "bind"))
    handle = lib.plane_pipe_new(settings)
    if handle == ffi.NULL:
        raise MemoryError
    _retarget(handle, pipe.targets)
    return handle


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000) if seconds * 1000 < 2**62 else NEVER


def _retarget(handle: Any, targets: list[SocketAddress]) -> None:
    addresses = ffi.new("struct plane_address[]", len(targets))
    for i, target in enumerate(targets):
        _encode(target, ffi.addressof(addresses, i))
    _check(lib.plane_pipe_retarget(handle, addresses, len(targets)))


def _check(error: int) -> None:
    if error != 0:
        raise OSError(error, os.strerror(error))
