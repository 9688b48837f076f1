"""What is said on the connections of a soak, at both of their ends.

A client says first what it is about to do, and the target answers with the port from which it was
reached.  Then both send and receive what was agreed on, a part of a pattern, and compare every
byte; an end must be clean and come where it should.  Whatever else ends a connection must have been
seen as a reset.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import struct
from collections.abc import Coroutine
from contextlib import suppress
from enum import IntEnum
from typing import Any, NamedTuple

PERIOD = 131071  # of the pattern: a prime, which no size of packet divides
CHUNK = 1 << 16

_PATTERN = random.Random(1).randbytes(PERIOD)
_PATTERN += _PATTERN[:CHUNK]


class Wrong(Exception):
    """Something that must never be: a byte that was not sent, an end where there was none."""


class Order(IntEnum):
    """Who sends when: both at once, or one after the end of the other."""

    TOGETHER = 0
    UP_FIRST = 1
    DOWN_FIRST = 2


class Talk(NamedTuple):
    """What the two ends agree on."""

    stream: int  # which part of the pattern is sent; down: another one
    up: int  # bytes from the client to the target
    down: int
    order: Order = Order.TOGETHER
    pieces: int = 1  # in which they are sent,
    pause: int = 0  # with so many milliseconds between them
    up_rest: int = 0  # milliseconds that the target rests after every read: it is slow,
    down_rest: int = 0  # and so is the client


HELLO = struct.Struct("!IIIBHIII")
ANSWER = struct.Struct("!H")


class Tally:
    """What has been verified."""

    def __init__(self) -> None:
        self.bytes = 0


async def receive_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
        if not piece:
            raise Wrong("a clean end before anything was agreed on")
        data += piece
    return data


async def propose(sock: socket.socket, talk: Talk) -> int:
    """As the client, say what is about to be; returns from which port the target was reached."""
    await asyncio.get_running_loop().sock_sendall(sock, HELLO.pack(*talk))
    (port,) = ANSWER.unpack(await receive_exactly(sock, ANSWER.size))
    return int(port)


async def agree(sock: socket.socket) -> Talk:
    """As the target, hear what is about to be."""
    stream, up, down, order, *rest = HELLO.unpack(await receive_exactly(sock, HELLO.size))
    try:
        answer = ANSWER.pack(sock.getpeername()[1])
    except OSError as error:  # reset meanwhile
        raise ConnectionResetError from error
    await asyncio.get_running_loop().sock_sendall(sock, answer)
    return Talk(stream, up, down, Order(order), *rest)


async def exchange_as_client(sock: socket.socket, talk: Talk, tally: Tally) -> None:
    sending = _send(sock, talk, 2 * talk.stream, talk.up)
    receiving = _receive(sock, 2 * talk.stream + 1, talk.down, talk.down_rest, tally)
    await _in_order(sending, receiving, talk.order, Order.UP_FIRST)


async def exchange_as_target(sock: socket.socket, talk: Talk, tally: Tally) -> None:
    sending = _send(sock, talk, 2 * talk.stream + 1, talk.down)
    receiving = _receive(sock, 2 * talk.stream, talk.up, talk.up_rest, tally)
    await _in_order(sending, receiving, talk.order, Order.DOWN_FIRST)


async def _in_order(
    sending: Coroutine[Any, Any, None],
    receiving: Coroutine[Any, Any, None],
    order: Order,
    sending_is_first: Order,
) -> None:
    if order is Order.TOGETHER:
        await _together(sending, receiving)
        return
    first, second = (sending, receiving) if order is sending_is_first else (receiving, sending)
    try:
        await first
        await second
    finally:
        second.close()  # it may never have begun


async def _together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Wait for all; if one fails, end the others, so that nobody uses the socket any more."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _part(stream: int, position: int, length: int) -> bytes:
    start = (stream * 7919 + position) % PERIOD
    return _PATTERN[start : start + length]


async def _send(sock: socket.socket, talk: Talk, stream: int, length: int) -> None:
    loop = asyncio.get_running_loop()
    piece = -(-length // talk.pieces)
    position = 0
    while position < length:
        end = min(position + piece, length)
        while position < end:
            count = min(CHUNK, end - position)
            await loop.sock_sendall(sock, _part(stream, position, count))
            position += count
        if talk.pause and position < length:
            await asyncio.sleep(talk.pause / 1000)
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        raise ConnectionResetError("reset before the end was passed on") from error


async def _receive(sock: socket.socket, stream: int, length: int, rest: int, tally: Tally) -> None:
    loop = asyncio.get_running_loop()
    position = 0
    while data := await loop.sock_recv(sock, CHUNK):
        if data != _part(stream, position, len(data)):
            raise Wrong(f"another byte than was sent, after {position} of {length}")
        position += len(data)
        tally.bytes += len(data)
        if rest:
            await asyncio.sleep(rest / 1000)
    if position != length:
        raise Wrong(f"a clean end after {position} of {length} bytes")


def make_socket() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def reset(sock: socket.socket) -> None:
    """Close, and let the other end see a reset."""
    with suppress(OSError):  # reset already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
