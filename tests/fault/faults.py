"""Every system call of the data path, what it can return, and where: the table of the suite.

The errors are those of the manual pages (section 2, and ip(7), tcp(7) where these say so), but for
what only a programming error brings about (EBADF, EFAULT, ENOTSOCK, a wrong argument, ...), and with
the "may fail" of POSIX where the pages are silent.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple

from spiped.proto.role import Role
from tests.fault.plan import Call, Fault, How, Where
from tests.fault.states import STATES, State


class Failure(NamedTuple):
    """How a call fails."""

    error: int
    how: How = How.FAIL
    times: int = 1
    skip: int = 0


class Row(NamedTuple):
    call: Call
    failures: tuple[Failure, ...]
    places: dict[str, tuple[str, ...]]  # on which socket, and in which states


def errors(names: str, how: How = How.FAIL, times: int = 1) -> tuple[Failure, ...]:
    return tuple(Failure(getattr(errno, name), how, times) for name in names.split())


def second(failures: tuple[Failure, ...]) -> tuple[Failure, ...]:
    """The same, one call later."""
    return tuple(failure._replace(skip=1) for failure in failures)


STORM = 30  # times that a call is interrupted in a row
ONE_BYTE = (Failure(0, How.SHORT), Failure(0, How.SHORT, times=50))
INTERRUPTED = errors("EINTR") + errors("EINTR", times=STORM)

# What the network or the peer has done to a connection.  Of some, the connection cannot but be gone.
GONE = errors("ECONNRESET EPIPE ENOTCONN ETIMEDOUT", How.FAIL_DEAD)
NETWORK = errors("EHOSTUNREACH ENETUNREACH ENETDOWN")

MEMORY = errors("ENOBUFS ENOMEM")
DESCRIPTORS = errors("EMFILE ENFILE") + MEMORY

RECV = (*INTERRUPTED, *ONE_BYTE, *errors("EAGAIN ENOMEM ECONNREFUSED"), *GONE, *NETWORK)
SEND = (*INTERRUPTED, *ONE_BYTE, *errors("EAGAIN EACCES EPERM"), *MEMORY, *GONE, *NETWORK)
OPTION = errors("EINVAL ENOPROTOOPT ENOBUFS ENOMEM EACCES")

ACCEPT = (
    *DESCRIPTORS,
    *errors("EMFILE ENFILE", times=4),  # the reserve does not help at once
    *errors("EAGAIN ENOSR ESOCKTNOSUPPORT EPROTONOSUPPORT"),
    *INTERRUPTED,
    # the connection is gone before we have it
    *errors("ECONNABORTED EPERM EPROTO ETIMEDOUT ENETDOWN ENOPROTOOPT", How.FAIL_AFTER),
    *errors("EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP ENETUNREACH", How.FAIL_AFTER),
)

SOCKET = errors("EACCES EAFNOSUPPORT EINVAL EPROTONOSUPPORT") + DESCRIPTORS

CONNECT = (
    *errors("EACCES EPERM EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT ECONNREFUSED EPROTOTYPE"),
    *errors("ETIMEDOUT EAGAIN ENOBUFS ENOMEM EHOSTUNREACH ENETUNREACH"),
    *errors("EAGAIN", times=3),
    *errors("EINPROGRESS EINTR", How.FAIL_AFTER),
)

# What SO_ERROR says of a connection that could not be made
REFUSED = errors("ECONNREFUSED ETIMEDOUT EHOSTUNREACH ENETUNREACH ECONNRESET EACCES", How.PENDING)

HANDSHAKE = ("nonce", "hello")
CARRYING = ("idle", "half-closed by plain", "half-closed by crypt", "ending")
EVERYWHERE = tuple(STATES)

TABLE = (
    Row(Call.accept, ACCEPT, {"listener": ("accepting",)}),
    Row(Call.getsockname, errors("ENOBUFS"), {"accepted": ("accepting",)}),
    Row(Call.fcntl, errors("ENOLCK EDEADLK EINTR"), {"": ("accepting",)}),
    Row(Call.socket, SOCKET, {"": ("to connect",)}),
    Row(Call.setsockopt, OPTION, {"connected": ("to connect",), "crypt": ("ending",)}),
    Row(
        Call.bind,
        errors("EACCES EADDRINUSE EADDRNOTAVAIL EINVAL ENOMEM"),
        {"connected": ("to connect",)},
    ),
    Row(Call.connect, CONNECT, {"connected": ("to connect",)}),
    Row(
        Call.getsockopt,
        OPTION + REFUSED,
        {"connected": ("to connect", "connecting", "ready, no target")},
    ),
    Row(
        Call.getsockopt,
        OPTION,
        {
            "plain": ("reset by plain", "draining to crypt"),
            "crypt": ("reset by crypt", "reset in handshake", "draining to plain"),
        },
    ),
    Row(Call.getrandom, errors("EIO ENOSYS EINTR"), {"": ("accepting",)}),
    Row(
        Call.epoll_ctl,
        errors("ENOMEM ENOSPC"),
        {
            "accepted": ("accepting",),
            "connected": ("to connect",),
            "plain": ("hello", "computing", "ready, no target"),
            "crypt": ("hello", "computing", "connecting"),
            "listener": ("accepting",),
        },
    ),
    Row(
        Call.epoll_ctl,
        second(errors("ENOMEM ENOSPC")),
        {
            "accepted": ("accepting",),
            "connected": ("to connect",),
            "plain": ("ready, no target", "computing"),
        },
    ),
    Row(Call.epoll_wait, INTERRUPTED, {"": EVERYWHERE}),
    Row(
        Call.recv,
        RECV,
        {
            "crypt": (*HANDSHAKE, *CARRYING, "unsent to plain", "ready, no target", "forged"),
            "plain": (*CARRYING, "unsent to crypt", "connecting"),
        },
    ),
    Row(
        Call.send,
        SEND,
        {
            "crypt": (
                *("accepting", "computing", "connecting"),
                *("idle", "half-closed by crypt", "filling crypt"),
                *("unsent to crypt", "draining to crypt"),
            ),
            "plain": (
                *("idle", "half-closed by plain", "filling plain", "ready, no target", "forged"),
                *("unsent to plain", "draining to plain"),
            ),
        },
    ),
    Row(
        Call.malloc,
        (*errors("ENOMEM"), *second(errors("ENOMEM"))),
        {"": ("accepting", "to connect", "filling plain", "filling crypt")},
    ),
    Row(
        Call.shutdown,
        (*errors("ENOTCONN", How.FAIL_DEAD), *MEMORY),
        {
            "plain": ("idle", "ending", "half-closed by plain"),
            "crypt": ("idle", "ending", "half-closed by crypt"),
        },
    ),
    Row(
        Call.ioctl,
        errors("EINVAL ENOTTY ENOMEM"),
        {"plain": ("draining to plain", "forged"), "crypt": ("draining to crypt",)},
    ),
    Row(
        Call.close,
        errors("EINTR EIO", How.FAIL_AFTER),
        {
            side: (
                *("idle", "ending", "reset by plain", "reset by crypt", "forged"),
                *("draining to plain", "draining to crypt"),
                *("refused", "reset in handshake"),
            )
            for side in ("plain", "crypt")
        },
    ),
)


class Case(NamedTuple):
    state: State
    fault: Fault

    def __str__(self) -> str:
        return f"{self.state.name}: {self.fault}"


def cases(role: Role) -> Iterator[Case]:
    """All of the table that there is for a daemon in this role."""
    sides = ("plain", "crypt") if role is Role.C else ("crypt", "plain")
    where = {
        "": Where.ANYWHERE,
        "listener": Where.LISTENER,
        "accepted": Where.ACCEPTED,
        "connected": Where.CONNECTED,
        sides[0]: Where.ACCEPTED,
        sides[1]: Where.CONNECTED,
    }
    for row in TABLE:
        for socket, names in row.places.items():
            for state in (STATES[name] for name in names):
                if role in state.roles:
                    for error, how, times, skip in row.failures:
                        fault = Fault(row.call, where[socket], error, how, skip, times)
                        yield Case(state, fault)
