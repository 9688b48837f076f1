"""Where a status server is, as the operator writes it: unix:PATH, HOST:PORT or http://HOST:PORT."""

from __future__ import annotations

import socket

from spiped.errors import OperatorError
from spiped.lean_typing import NamedTuple
from spiped.net.address import SocketAddress, resolve
from spiped.observe.log.printable import printable

OPTION, VARIABLE = "--status", "SPIPED_STATUS"

UNIX, HTTP = "unix:", "http://"
DEFAULT_PORT = 80
# What may stand behind an http://HOST:PORT that was copied from a browser
PATHS = ("", "/status", "/connections")


class Address(NamedTuple):
    """The address of a status server."""

    name: str  # the option or variable and what it says, for messages
    place: str  # a path, or what `net.address` takes for an IP address or a host


class NoAnswer(OperatorError):
    """There is no answer, or none that a status server gives."""


def read_address(given: str | None, variable: str | None) -> Address:
    """What the option says, or else the variable.  Raises OperatorError."""
    origin, text = (OPTION, given) if given is not None else (VARIABLE, variable)
    if not text:
        if given is None:
            raise OperatorError(f"No address to ask: give {OPTION}, or set {VARIABLE}")
        raise OperatorError(f"{OPTION}: the address is empty")
    name = printable(f"{origin} {text}")
    place = text
    if text.startswith(UNIX):
        place = text.removeprefix(UNIX)
        if not place or "\0" in place:
            raise OperatorError(f"{name}: the path of a socket is missing")
        return Address(name, place if "/" in place else f"./{place}")
    if "://" in text:
        place = _place_of_url(name, text)
    if not place.startswith("/") and not place.rpartition(":")[0]:
        if "/" in place:
            raise OperatorError(f"{name}: a UNIX socket needs an absolute path, or unix:{place}")
        raise OperatorError(f"{name}: not unix:PATH, HOST:PORT or http://HOST:PORT")
    return Address(name, place)


def _place_of_url(name: str, url: str) -> str:
    if not url.lower().startswith(HTTP):
        raise OperatorError(f"{name}: a status server speaks HTTP only")
    host, slash, path = url[len(HTTP) :].partition("/")
    if not host or "@" in host or f"{slash}{path}".rstrip("/") not in PATHS:
        raise OperatorError(f"{name}: not http://HOST:PORT")
    has_port = host.rpartition("]")[2].startswith(":") if host.startswith("[") else ":" in host
    return host if has_port else f"{host}:{DEFAULT_PORT}"


def socket_addresses(address: Address) -> list[SocketAddress]:
    """What to connect to; looks a name up, which may take its time.  Raises NoAnswer."""
    place = address.place
    if "/" in place:
        return [SocketAddress(socket.AF_UNIX, place)]
    try:
        return resolve(place)
    except OperatorError as error:
        raise NoAnswer(f"{address.name}: {printable(error.lines[0])}") from error


def host_of(address: SocketAddress) -> str:
    """What an HTTP request calls the server: never a name, which it would refuse."""
    if address.is_unix:
        return "localhost"
    ip, port = address.sockaddr[:2]
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
