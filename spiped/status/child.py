"""The status process: a child of the supervisor's that serves what the daemon tells of itself.

It holds no key, reads memory that others write, and has nobody to give orders to.  It ends when the
supervisor's end of a socket pair does: by the supervisor's end, or because it lets go.
"""

from __future__ import annotations

import gc
import signal
import socket
from collections.abc import Callable, Sequence

from spiped.errors import describe
from spiped.lean_typing import NamedTuple, suppress
from spiped.net.reactor import READ, Reactor
from spiped.observe.view import View
from spiped.process import descriptors
from spiped.process.fork import present_traceback
from spiped.process.signals import HANDLED, unblock_signals
from spiped.process.streams import detach_streams
from spiped.process.title import name_process
from spiped.status.page import Page
from spiped.status.routes import Routes
from spiped.status.server import DESCRIPTORS, Server

LOOK_INTERVAL = 1.0  # seconds over which rates are measured

LAST_WORDS_MAX = 8192  # bytes of why the process could not go on: for a log, and nothing else


class StatusSetup(NamedTuple):
    """What a status process is forked with."""

    program: str  # its name
    listeners: Sequence[socket.socket]
    page: Page  # `spiped.status.page.load`, before there is no way to files
    view: View  # nobody else in the process may refer to slots of its counters
    erase_secrets: Callable[[], None]
    enter_sandbox: Callable[[], None] | None  # raises OSError; None: there is to be none
    detach: bool  # a daemon's: let go of the standard streams


def run(setup: StatusSetup, sock: socket.socket) -> int:
    """The life of a status process, from the fork to its end; returns the exit status.

    ``sock``: our end of a pair.  Its end of file is the end of us, in order; a failure leaves a
    text there, and the exit status 1.  Whatever else is open is closed.
    """
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)  # meant for the supervisor, whose end we notice
    unblock_signals()
    setup.erase_secrets()
    name_process(f"{setup.program}: status")
    try:
        reactor = _prepare(setup, sock)
        reactor.run()
    except OSError as error:
        _leave_words(sock, describe(error))
        return 1
    except Exception:
        _leave_words(sock, present_traceback())
        return 1
    return 0


def _prepare(setup: StatusSetup, sock: socket.socket) -> Reactor:
    """Serve, with no more than that needs."""
    if setup.detach:
        detach_streams()
    gc.collect()  # nothing that is forgotten may later close a number that is in use again
    needed = [sock.fileno(), *(listener.fileno() for listener in setup.listeners)]
    setup.view.only_look(lambda seen: descriptors.close_all_but(*needed, *seen))
    descriptors.raise_limit(DESCRIPTORS)
    reactor = Reactor()
    server = Server(reactor, setup.listeners, Routes(setup.view, setup.page))

    def on_end(events: int) -> None:
        """Nothing is ever said to us: the supervisor is gone, or wants us to go."""
        reactor.unwatch(sock)
        server.stop(reactor.stop)

    def look() -> None:
        setup.view.look()
        reactor.call_later(LOOK_INTERVAL, look)

    look()
    sock.setblocking(False)
    reactor.watch(sock, READ, on_end)
    if setup.enter_sandbox is not None:
        setup.enter_sandbox()
    gc.freeze()
    return reactor


def _leave_words(sock: socket.socket, text: str) -> None:
    """Say why this is the end.  The supervisor logs it; it never acts on it."""
    with suppress(OSError):
        sock.send(text.encode(errors="replace")[-LAST_WORDS_MAX:])
