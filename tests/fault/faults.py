"""Every system call of the data path, what it can return, and where: the table of the suite.

The errors are those of the manual pages (section 2, and ip(7) and tcp(7) where these say so) and
of POSIX, but for what only a programming error (EBADF, EFAULT, ENOTSOCK, ...) or another kernel
(ENOSYS) brings about.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple

from spiped.proto.terms import Role
from tests.fault.plan import Call, Fault, How, Where
from tests.fault.states import STATES, State


class Failure(NamedTuple):
    """How a call fails."""

    error: int
    how: How = How.FAIL
    times: int = 1
    skip: int = 0


PORTABLE = ("pure",)
NATIVE = ("native",)


class Row(NamedTuple):
    call: Call
    failures: tuple[Failure, ...]
    places: dict[str, tuple[str, ...]]  # on which socket, and in which states
    backends: tuple[str, ...] = ("native", "pure")  # whose data plane makes this call


def errors(names: str, how: How = How.FAIL, times: int = 1) -> tuple[Failure, ...]:
    return tuple(Failure(getattr(errno, name), how, times) for name in names.split())


def second(failures: tuple[Failure, ...]) -> tuple[Failure, ...]:
    """The same, one call later."""
    return tuple(failure._replace(skip=1) for failure in failures)


TURN = 5  # errors that are skipped from one state to the next of a sample
LONG_TURN = 3
STORM = 30  # times that a call is interrupted in a row
ONE_BYTE = (Failure(0, How.SHORT), Failure(0, How.SHORT, times=50))
INTERRUPTED = errors("EINTR") + errors("EINTR", times=STORM)

# What the network or the peer has done to a connection.
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
CARRYING = ("idle", "ending", "filling plain", "filling crypt")
FAILED = ("reset by plain", "reset by crypt", "forged", "draining to plain", "draining to crypt")
EVERYWHERE = tuple(STATES)

SHUTDOWN = errors("ENOTCONN", How.FAIL_DEAD) + MEMORY

NO_ROOM = errors("ENOMEM ENOSPC")  # for one more descriptor in an epoll set

TABLE = (
    Row(Call.accept, ACCEPT, {"listener": ("accepting",)}),
    Row(Call.getsockname, errors("ENOBUFS"), {"accepted": ("accepting",)}, PORTABLE),
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
        PORTABLE,  # the other one asks after an event that says that there is something
    ),
    Row(
        Call.getsockopt,
        OPTION,
        {
            "accepted": ("reset while connecting",),
            "plain": ("reset by plain",),
            "crypt": ("reset by crypt", "reset in handshake"),
        },
    ),
    Row(Call.getrandom, errors("EIO EINTR"), {"": ("accepting", "to connect")}),
    Row(
        Call.epoll_ctl,
        NO_ROOM + second(NO_ROOM),
        {
            "accepted": ("accepting", "to connect"),
            "connected": ("to connect",),
            "plain": ("computing",),
            "crypt": ("connecting",),
        },
    ),
    Row(Call.epoll_ctl, errors("ENOMEM ENOSPC", times=5), {"listener": ("accepting",)}),
    Row(Call.epoll_wait, INTERRUPTED, {"": EVERYWHERE}),
    Row(
        Call.recv,
        RECV,
        {
            "crypt": (
                *(*HANDSHAKE, *CARRYING, "half-closed by plain", "forged"),
                *("unsent to plain", "ready, no target", "connecting"),
            ),
            "plain": (
                *(*CARRYING, "half-closed by crypt"),
                *("unsent to crypt", "ready, no target", "connecting"),
            ),
        },
    ),
    Row(
        Call.send,
        SEND,
        {
            "crypt": (
                *("accepting", "to connect", "computing", "connecting"),
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
        errors("ENOMEM") + second(errors("ENOMEM")),
        {"": ("accepting", "connecting", "filling plain", "filling crypt")},
    ),
    Row(Call.shutdown, SHUTDOWN, {"crypt": ("idle", "ending")}),
    Row(
        Call.shutdown,
        SHUTDOWN,
        {
            "plain": ("idle", "ending", "half-closed by plain"),
            "crypt": ("half-closed by crypt",),
        },
        NATIVE,  # the other one passes the second end on by closing
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
            "accepted": ("refused", "reset in handshake", "reset while connecting"),
            "connected": ("reset while connecting",),
            "plain": ("idle", "ending", *FAILED),
            "crypt": ("idle", "ending", *FAILED),
        },
    ),
    # What a worker needs before it carries anything, and what it is told
    Row(Call.epoll_create1, errors("EMFILE ENFILE ENOMEM"), {"": ("a worker starting",)}),
    Row(Call.epoll_ctl, NO_ROOM, {"": ("a worker starting",)}),
    Row(Call.malloc, errors("ENOMEM"), {"": ("a worker starting",)}),
    Row(Call.recv, errors("EINTR EAGAIN ENOMEM"), {"channel": ("a worker starting",)}),
)


class Case(NamedTuple):
    state: State
    fault: Fault

    def __str__(self) -> str:
        return f"{self.state.name}: {self.fault}"


def cases(role: Role, backend: str) -> Iterator[Case]:
    """All of the table that there is for a daemon in this role, on a back end's data plane."""
    sides = ("plain", "crypt") if role is Role.C else ("crypt", "plain")
    where = {
        "": Where.ANYWHERE,
        "listener": Where.LISTENER,
        "channel": Where.CHANNEL,
        "accepted": Where.ACCEPTED,
        "connected": Where.CONNECTED,
        sides[0]: Where.ACCEPTED,
        sides[1]: Where.CONNECTED,
    }
    for row in TABLE:
        if backend not in row.backends:
            continue
        for socket, names in row.places.items():
            for state in (STATES[name] for name in names):
                if role in state.roles:
                    for error, how, times, skip in row.failures:
                        fault = Fault(row.call, where[socket], error, how, skip, times)
                        yield Case(state, fault)


def sample(role: Role, backend: str) -> Iterator[Case]:
    """Every call on every socket in every state, but not with every error: these take turns.

    In states that take a second to get out of, the calls take turns too.
    """
    seen: dict[tuple[str, Call, Where], list[Case]] = {}
    for case in cases(role, backend):
        seen.setdefault((case.state.name, case.fault.call, case.fault.where), []).append(case)
    for number, choice in enumerate(seen.values()):
        if not choice[0].state.long or number % LONG_TURN == 0:
            yield choice[number * TURN % len(choice)]
