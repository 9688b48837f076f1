"""One connection to a `spiped -d`, whose plaintext side is the standard streams."""

from __future__ import annotations

import signal
import socket

from spiped.crypto import Backend
from spiped.crypto.key_file import KeyFile
from spiped.net.address import SocketAddress, is_literal, resolve
from spiped.net.reactor import READ, Reactor
from spiped.observe.log.common import SeveralAddresses
from spiped.observe.log.key_warnings import key_warnings
from spiped.observe.log.log import Log
from spiped.observe.slot import NO_ENTRIES, Field, Slot
from spiped.options.settings import PipeOptions
from spiped.plane.choose import choose_plane
from spiped.plane.diagnosis import describe
from spiped.plane.ending import Cause, Ending
from spiped.plane.pipe_settings import PipeSettings
from spiped.process.aside import aside
from spiped.process.secrecy import forbid_core_dumps
from spiped.proto.terms import Role
from spiped.sandbox import Sandbox
from spiped.stdio.copiers import FAILED, FINISHED, Copiers

MESSAGES = {
    Cause.CONNECT: "Could not connect",
    Cause.HANDSHAKE: "Handshake failed",
}


def pipe_settings(options: PipeOptions, crypto: Backend, log: Log) -> PipeSettings:
    """Look names up and read the key.  Raises OperatorError."""
    targets = _look_up(options.target)
    bind = None
    if options.bind is not None:
        found = _look_up(options.bind, port_optional=True)
        if len(found) > 1:
            log.event(SeveralAddresses(options.bind, str(found[0])))
        bind = found[0]
    key = KeyFile(options.key).read_first(crypto)
    for warning in key_warnings(options.key, key):
        log.event(warning)
    return PipeSettings(
        role=Role.C,
        K=key.K,
        targets=targets,
        bind=bind,
        weak=options.no_pfs,
        require_pfs=options.require_pfs,
        keepalive=options.keepalive,
        timeout=options.timeout,
    )


def _look_up(text: str, *, port_optional: bool = False) -> list[SocketAddress]:
    """What an address stands for; signals take effect while a name server is asked."""
    if is_literal(text):
        return resolve(text, port_optional=port_optional)
    return aside(lambda: resolve(text, port_optional=port_optional))


class StdioSession:
    """The connection, from start to end, and the threads beside it."""

    def __init__(self, pipe: PipeSettings, crypto: Backend, *, sandbox: bool) -> None:
        forbid_core_dumps(crypto)
        plain, outer = socket.socketpair()
        wakeup, waker = socket.socketpair()
        for end in (plain, waker):
            end.setblocking(False)
        # a signal may reach another thread, which does not wake the one that handles it
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self._plain = plain
        self._pipe = pipe
        self._reactor = Reactor()
        self._slot = Slot()
        self._plane = choose_plane(crypto)(self._reactor, self._slot, NO_ENTRIES)
        self._copiers = Copiers(outer, waker)
        self._ending: Ending | None = None
        self._told_to_end = False
        self._is_ending = False
        self._wakeup = wakeup
        self._reactor.watch(wakeup, READ, self._on_wakeup)
        if sandbox:
            box = Sandbox(crypto)
            box.give_up_gaining()
            box.enter(pipe, threads=True)

    def tell_to_end(self) -> bool:
        """Send what can be read now, then the end of the stream, and leave when that has arrived.

        To be called in a signal handler, whose signal has woken us.  False the second time.
        """
        first, self._told_to_end = not self._told_to_end, True
        return first

    def run(self) -> str | None:
        """Run to the end; returns what to say about it if it was not a good one."""
        self._copiers.start()
        self._plane.carry(self._plain, self._pipe, self._on_end)
        self._reactor.run()
        assert self._ending is not None
        self._plane.close()
        if self._told_to_end:
            return None
        if self._copiers.failure is None:
            self._copiers.wait_for_output()
        if self._copiers.failure is not None:
            return self._copiers.failure
        if self._ending.cause is Cause.CLEAN:
            return None
        message = MESSAGES.get(self._ending.cause, "Connection error")
        return f"{message}: {describe(self._ending) or self._ending.cause.value}"

    def _on_wakeup(self, events: int) -> None:
        news = self._wakeup.recv(64)
        if FAILED in news:
            self._plane.abort_all()
        elif FINISHED in news:
            self._copiers.hang_up()
        elif self._told_to_end and not self._is_ending:
            self._is_ending = True
            if self._slot[Field.ESTABLISHED]:
                self._copiers.finish_input()
                self._reactor.call_later(self._pipe.timeout, self._plane.abort_all)
            else:  # nothing can be sent yet
                self._plane.abort_all()

    def _on_end(self, ending: Ending) -> None:
        self._ending = ending
        self._reactor.stop()
