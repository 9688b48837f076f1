"""Socket addresses as the operator writes them, and what they resolve to.

Three forms, told apart by their first character: ``/path`` is a UNIX stream socket, ``[ip]:port`` a
literal, anything else ``host:port``, split at the last colon.
"""

from __future__ import annotations

import os
import socket
import sys

from spiped.errors import LookupFailed, OperatorError, describe
from spiped.lean_typing import Any, NamedTuple

UNIX_PATH_MAX = 107
PORT_MAX = 65535

# Of struct sockaddr, in bytes
LENGTHS: dict[int, int] = {socket.AF_INET: 16, socket.AF_INET6: 28}


class SocketAddress(NamedTuple):
    """An address that a socket can use."""

    family: int
    sockaddr: Any  # str for UNIX sockets, a tuple for the others

    @property
    def is_unix(self) -> bool:
        return self.family == socket.AF_UNIX

    def __str__(self) -> str:
        if self.is_unix:
            return str(self.sockaddr)
        return f"[{self.sockaddr[0]}]:{self.sockaddr[1]}"


def leads_back(source: SocketAddress, target: SocketAddress) -> bool:
    """Whoever connects to the target comes to the source, as far as the addresses tell."""
    if source == target or source.is_unix or target.is_unix:
        return source == target
    (listening, port, *_), (reached, target_port, *_) = source.sockaddr, target.sockaddr
    is_any = listening in ("0.0.0.0", "::")  # noqa: S104
    is_local = reached.startswith("127.") or reached in ("0.0.0.0", "::", "::1")  # noqa: S104
    return port == target_port and is_any and is_local


def is_literal(text: str) -> bool:
    """The address stands for itself: nothing needs to be looked up, now or later."""
    return text.startswith(("/", "["))


def resolve(text: str, *, port_optional: bool = False) -> list[SocketAddress]:
    """What ``text`` stands for; never empty.  Blocks on name resolution.

    ``port_optional``: an address without a port means any port (for ``-b``).  Raises OperatorError.
    """
    try:
        if text.startswith("/"):
            return [_resolve_path(text)]
        if text.startswith("["):
            return [_resolve_literal(text, port_optional)]
        return _resolve_host(text, port_optional)
    except OperatorError as error:
        raise type(error)(*error.args, f"Error resolving socket address: {text}") from error


def _resolve_path(path: str) -> SocketAddress:
    if len(os.fsencode(path)) > UNIX_PATH_MAX:
        raise OperatorError(f"socket path too long: {path}")
    return SocketAddress(socket.AF_UNIX, path)


def _resolve_literal(text: str, port_optional: bool) -> SocketAddress:
    ip, bracket, rest = text[1:].rpartition("]")
    if not bracket:
        raise OperatorError(f"Invalid [IP address]: {text}")
    if not rest and port_optional:
        rest = ":0"
    if not rest.startswith(":"):
        raise OperatorError(f"Address must contain port number: {text}")
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        socket.inet_pton(family, ip)
    except (OSError, ValueError) as error:
        raise OperatorError(f"Error parsing IP address: {ip}") from error
    port = _parse_port(rest[1:], lowest=0 if port_optional else 1)
    return SocketAddress(family, (ip, port) if family == socket.AF_INET else (ip, port, 0, 0))


def _parse_port(text: str, lowest: int) -> int:
    """A decimal port number, as C's strtol takes it: leading blanks, a sign and zeros are fine."""
    port = _decimal(text.lstrip(" \t\n\v\f\r").removeprefix("+"))
    if port is None or not lowest <= port <= PORT_MAX:
        raise OperatorError(f"Invalid port number: {text}")
    return port


def _decimal(digits: str) -> int | None:
    """The number that these digits are, or at least one that is too large; else None."""
    if not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits.lstrip("0")[:10] or "0")  # Python refuses thousands of digits


def _resolve_host(text: str, port_optional: bool) -> list[SocketAddress]:
    host, colon, service = text.rpartition(":")
    if not colon:
        if not port_optional:
            raise OperatorError(f"Address must contain port number: {text}")
        host, service = text, "0"
    if (_decimal(service) or 0) > PORT_MAX:
        raise OperatorError(f"Invalid port number: {service}")
    # as bytes, because a str would be passed through the IDNA codec, which is slow to import
    try:
        found = socket.getaddrinfo(
            os.fsencode(host), service or None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except (OSError, UnicodeError, ValueError) as error:  # gaierror is an OSError, too
        reason = describe(error) if isinstance(error, OSError) else str(error)
        raise LookupFailed(f"Error looking up {host}: {reason}") from error
    return [SocketAddress(family, sockaddr) for family, _, _, _, sockaddr in found]


def encode_addresses(addresses: list[SocketAddress]) -> list[list[object]]:
    """Addresses in a form that JSON can carry."""
    return [[address.family, address.sockaddr] for address in addresses]


def decode_addresses(encoded: list[list[object]]) -> list[SocketAddress]:
    """The reverse of `encode_addresses`; JSON has lists where sockets want tuples."""
    addresses = []
    for family, sockaddr in encoded:
        assert isinstance(family, int)
        addresses.append(
            SocketAddress(family, tuple(sockaddr) if isinstance(sockaddr, list) else sockaddr)
        )
    return addresses


# struct sockaddr, as the system has it


def encode_sockaddr(address: Any) -> bytes:
    """Of an address as Python's sockets have it; empty for that of a UNIX socket, or none."""
    if not isinstance(address, tuple):
        return b""
    host: str = address[0]
    port: int = address[1]
    if ":" not in host:
        return _family(socket.AF_INET) + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)
    flow, scope = map(int, address[2:] or (0, 0))
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    start = port.to_bytes(2, "big") + flow.to_bytes(4, "big")
    return _family(socket.AF_INET6) + start + packed + scope.to_bytes(4, sys.byteorder)


def decode_sockaddr(sockaddr: bytes) -> SocketAddress | None:
    """The reverse; None if there is none, or none that has a name."""
    family = int.from_bytes(sockaddr[:2], sys.byteorder)
    port = int.from_bytes(sockaddr[2:4], "big")
    if len(sockaddr) < LENGTHS.get(family, 2):
        return None  # nonsense
    if family == socket.AF_INET:
        return SocketAddress(family, (socket.inet_ntop(family, sockaddr[4:8]), port))
    if family == socket.AF_INET6:
        ip = socket.inet_ntop(family, sockaddr[8:24])
        scope = int.from_bytes(sockaddr[24:28], sys.byteorder)
        return SocketAddress(family, (ip, port, 0, scope))
    if family == socket.AF_UNIX:
        return SocketAddress(family, os.fsdecode(sockaddr[2:].rstrip(b"\0")))
    return None


def _family(number: int) -> bytes:
    return number.to_bytes(2, sys.byteorder)
