"""Asks a status server: two requests on one connection, and never for longer than a few seconds."""

from __future__ import annotations

import http.client
import json
import socket
import time

from spiped.errors import describe
from spiped.lean_typing import Any, NamedTuple
from spiped.net.address import SocketAddress
from spiped.observe.log.printable import printable
from spiped.top.address import Address, NoAnswer, host_of, socket_addresses

TIMEOUT = 5.0  # seconds, for everything that one look takes
ANSWER_MAX = 256 << 20  # bytes; 100,000 connections are 30 MB
PIECE = 1 << 16
PROTOCOL = b"HTTP/"


class Query(NamedTuple):
    """Which connections to ask for."""

    sort: str
    descending: bool
    limit: int  # 0: all

    @property
    def path(self) -> str:
        order = "desc" if self.descending else "asc"
        return f"/connections?sort={self.sort}&order={order}&limit={self.limit}"


class Answer(NamedTuple):
    """What a status server says, as it came: nothing of it has been looked at."""

    received: float  # on our own clock
    status: dict[str, Any]
    connections: dict[str, Any]


class _Socket(socket.socket):
    """Of which all that is done together ends at a deadline, however slowly bytes trickle in."""

    deadline = 0.0

    def left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def recv_into(self, *where: Any) -> int:
        self.settimeout(self.left())
        return super().recv_into(*where)

    def first_bytes(self, count: int) -> bytes:
        """The first bytes that come, or some of them; they can be read again."""
        self.settimeout(self.left())
        return self.recv(count, socket.MSG_PEEK)

    def sendall(self, *what: Any) -> None:
        self.settimeout(self.left())
        super().sendall(*what)


class _Connection(http.client.HTTPConnection):
    """An HTTP connection to a socket address of any family."""

    def __init__(self, address: SocketAddress, deadline: float) -> None:
        super().__init__("localhost")
        self._address = address
        self._deadline = deadline

    def connect(self) -> None:
        sock = _Socket(self._address.family, socket.SOCK_STREAM)
        try:
            sock.deadline = self._deadline
            sock.settimeout(sock.left())
            sock.connect(self._address.sockaddr)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def ask(address: Address, query: Query, timeout: float = TIMEOUT) -> Answer:
    """What the server says now.  Raises NoAnswer, with one line."""
    deadline = time.monotonic() + timeout
    try:
        return _ask_any(address, query, deadline)
    except NoAnswer:
        raise
    except TimeoutError:
        reason = f"no answer within {timeout:g} seconds"
    except ConnectionRefusedError:
        reason = "nobody listens there (Connection refused)"
    except FileNotFoundError:
        reason = "there is no such socket (No such file or directory)"
    except (ConnectionResetError, BrokenPipeError, http.client.IncompleteRead):
        reason = "the connection ends before there is a whole answer"
    except OSError as error:
        reason = describe(error)
    except (http.client.HTTPException, ValueError, OverflowError):
        raise _foreign(address, "it does not speak HTTP") from None
    raise NoAnswer(f"{address.name}: {reason}")


def _ask_any(address: Address, query: Query, deadline: float) -> Answer:
    """Ask at the first of the addresses that takes a connection."""
    *others, last = socket_addresses(address)
    for place in others:
        try:
            return _ask_at(address, place, query, deadline)
        except OSError:  # it may be reached at the next one
            continue
    return _ask_at(address, last, query, deadline)


def _ask_at(address: Address, place: SocketAddress, query: Query, deadline: float) -> Answer:
    connection = _Connection(place, deadline)
    try:
        status = _get(address, connection, host_of(place), "/status")
        if not KNOWN & status.keys():
            raise _foreign(address, "its answer is another's")
        connections = _get(address, connection, host_of(place), query.path)
        return Answer(time.monotonic(), status, connections)
    finally:
        connection.close()


# Of these fields of its status, every status server has some.
KNOWN = {"state", "pipes", "workers"}


def _get(
    address: Address, connection: http.client.HTTPConnection, host: str, path: str
) -> dict[str, Any]:
    headers = {"Host": host, "Accept": "application/json", "Accept-Encoding": "identity"}
    connection.request("GET", path, headers=headers)
    # Whoever says something else may not end the line for which a response would be waited for.
    assert isinstance(connection.sock, _Socket)
    if not PROTOCOL.startswith(connection.sock.first_bytes(len(PROTOCOL))):
        raise _foreign(address, "it does not speak HTTP")
    response = connection.getresponse()
    if response.status != http.client.OK:
        said = printable(f"{response.status} {response.reason}"[:80].strip())
        if response.status >= http.client.INTERNAL_SERVER_ERROR:
            raise NoAnswer(f"{address.name}: the status server answers {said}")
        raise _foreign(address, f"it answers {said}")
    body = _body(address, response)
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _foreign(address, "its answer is no JSON") from error
    if not isinstance(answer, dict):
        raise _foreign(address, "its answer is another's")
    return answer


def _body(address: Address, response: http.client.HTTPResponse) -> bytes:
    body = bytearray()
    while piece := response.read(PIECE):
        body += piece
        if len(body) > ANSWER_MAX:
            raise NoAnswer(f"{address.name}: the answer is longer than {ANSWER_MAX >> 20} MiB")
    if response.length:  # it ended before the length that was announced
        raise ConnectionResetError
    return bytes(body)


def _foreign(address: Address, reason: str) -> NoAnswer:
    return NoAnswer(f"{address.name}: no status server of spiped: {reason}")
