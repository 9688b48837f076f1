"""Looking up names without waiting for it: a short-lived child process asks and reports."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

from spiped.errand import Errand
from spiped.errors import OperatorError
from spiped.light import suppress
from spiped.net.address import SocketAddress, decode_addresses, encode_addresses, resolve
from spiped.net.reactor import Reactor


def look_up(
    reactor: Reactor,
    address: str,
    forget: Callable[[], None],
    on_done: Callable[[list[SocketAddress], tuple[str, ...]], None],
) -> None:
    """Look an address up; calls back with what it stands for, or with the lines that say why not.

    The child begins by calling ``forget``: it needs no secrets.
    Raises OSError if the system does not let us have the process.
    """

    def take(report: bytes) -> None:
        try:
            answer = json.loads(report)
        except ValueError:
            on_done([], ("The process that looked up the target died",))
        else:
            on_done(decode_addresses(answer["addresses"]), tuple(answer["errors"]))

    Errand(reactor, lambda sock: _answer(sock, address, forget), take)


def _answer(sock: socket.socket, address: str, forget: Callable[[], None]) -> None:
    """What the child does; it ends by itself if the name service never answers."""
    forget()
    addresses: list[SocketAddress] = []
    errors: tuple[str, ...] = ()
    try:
        addresses = resolve(address)
    except OperatorError as error:
        errors = error.lines
    answer = {"addresses": encode_addresses(addresses), "errors": errors}
    with suppress(OSError):  # the supervisor is gone
        sock.sendall(json.dumps(answer).encode())
