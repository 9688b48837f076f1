"""Clients of a soak: ``python -m tests.soak.client SOURCE WRONG_KEY SERVER RATE SPAN SEED``.

The first three are ports: where clients connect, where those with the wrong key do, and that of the
decrypting daemon itself, for strangers.  RATE connections are begun a second, of all kinds; none is
silent for more than SPAN seconds.

Commands come on standard input: "go", "rest", and its end.  Every half second a line of JSON says
what there has been.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from tests.soak.talk import (
    Order,
    Talk,
    Tally,
    Wrong,
    exchange_as_client,
    make_socket,
    propose,
    reset,
)

REPORT_EVERY = 0.5  # seconds
ACTIVE_MAX = 500  # connections at once; more are not begun
PATIENCE = 60.0  # seconds that a connection may take beyond its pauses
NONCE = 32  # bytes: all that a stranger may ever hear


class Kind(NamedTuple):
    """What clients do: sizes are upper limits, pauses are shares of the span."""

    share: int
    up: int
    down: int
    order: Order = Order.TOGETHER
    pieces: int = 1
    pause: float = 0.0
    up_rest: int = 0  # ms
    down_rest: int = 0  # ms
    aborts: bool = False


KINDS = {
    "short": Kind(60, 2_000, 2_000),
    "bulk": Kind(4, 2_000_000, 2_000_000),
    "long": Kind(5, 40_000, 40_000, pieces=40, pause=0.02),
    "idle": Kind(4, 200, 200, pieces=2, pause=1.0),
    "client first": Kind(8, 50_000, 50_000, Order.UP_FIRST),
    "target first": Kind(6, 50_000, 50_000, Order.DOWN_FIRST),
    "slow client": Kind(1, 1_000, 1_000_000, down_rest=5),
    "slow target": Kind(1, 1_000_000, 1_000, up_rest=5),
    "aborts": Kind(5, 500_000, 500_000, pieces=50, pause=0.05, aborts=True),
}
STRANGERS = {"garbage": 4, "wrong key": 2}


class Ports(NamedTuple):
    source: int
    wrong_key: int
    server: int


class Clients:
    """Begins connections of all kinds, and keeps account of what became of them."""

    def __init__(self, ports: Ports, rate: float, span: float, seed: int) -> None:
        self._ports = ports
        self._rate = rate
        self._span = span
        self._dice = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._going = asyncio.Event()
        self._tally = Tally()
        self._opened = 0  # at the source
        self._strangers = 0  # at the server, and at that with the wrong key
        self._ended: Counter[str] = Counter()  # as they should, by kind
        self._lost: list[dict[str, object]] = []
        self._wrong: list[str] = []
        shares = {name: kind.share for name, kind in KINDS.items()} | STRANGERS
        self._names, self._shares = list(shares), list(shares.values())

    async def begin_all(self) -> None:
        """Begin connections at the rate, while that is wanted."""
        loop = asyncio.get_running_loop()
        due = time.monotonic()
        while True:
            if not self._going.is_set():
                await self._going.wait()
                due = time.monotonic()
            (name,) = self._dice.choices(self._names, self._shares)
            task = loop.create_task(self._account_for(name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            due += self._dice.expovariate(self._rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            while len(self._tasks) >= ACTIVE_MAX:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                due = time.monotonic()

    async def _account_for(self, name: str) -> None:
        talks: dict[str, Callable[[], Awaitable[None]]] = {
            "garbage": self._talk_garbage,
            "wrong key": self._hold_wrong_key,
        }
        talk = talks.get(name) or (lambda: self._talk(KINDS[name]))
        try:
            await asyncio.wait_for(talk(), PATIENCE + 4 * self._span)
            self._ended[name] += 1
        except ConnectionResetError:
            self._ended["lost"] += 1
        except asyncio.TimeoutError:
            self._wrong.append(f"{name}: nothing moves any more")
        except (Wrong, OSError) as error:
            self._wrong.append(f"{name}: {error}")

    async def _talk(self, kind: Kind) -> None:
        """One connection as it should be; raises ConnectionResetError if it was reset."""
        sock, began, port = make_socket(), time.monotonic(), 0
        try:
            await self._connect(sock, self._ports.source)
            self._opened += 1
            own_port = sock.getsockname()[1]
            try:
                talk = self._draw(kind)
                port = await propose(sock, talk)
                exchange = exchange_as_client(sock, talk, self._tally)
                if kind.aborts:
                    await self._abort(exchange)
                    return
                await exchange
                sock.close()
            except ConnectionError as error:
                ended = time.monotonic()
                self._lost.append(
                    {"e": own_port, "d": port, "began": began, "ended": ended, "how": str(error)}
                )
                raise ConnectionResetError from error
        finally:
            reset(sock)

    async def _connect(self, sock: socket.socket, port: int) -> None:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))

    def _draw(self, kind: Kind) -> Talk:
        dice = self._dice
        up, down = (size if kind.aborts else dice.randint(1, size) for size in (kind.up, kind.down))
        pause = int(1000 * self._span * kind.pause * dice.random())
        rests = (kind.up_rest, kind.down_rest)
        return Talk(dice.getrandbits(20), up, down, kind.order, kind.pieces, pause, *rests)

    async def _abort(self, exchange: Awaitable[None]) -> None:
        """Leave in the middle; the caller resets."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(exchange, 0.3 * self._dice.random())

    async def _talk_garbage(self) -> None:
        """Be a stranger: say anything, and go away, or wait for a while."""
        loop, sock = asyncio.get_running_loop(), make_socket()
        try:
            await self._connect(sock, self._ports.server)
            self._strangers += 1
            with suppress(ConnectionError):
                await loop.sock_sendall(sock, os.urandom(self._dice.choice((0, 31, 32, 320, 4000))))
                if self._dice.random() < 0.5:
                    return
                with suppress(asyncio.TimeoutError):
                    heard = await asyncio.wait_for(self._listen(sock), self._span)
                    if heard > NONCE:
                        raise Wrong(f"a stranger was told {heard} bytes")
        finally:
            reset(sock)

    async def _hold_wrong_key(self) -> None:
        """Come with the wrong key."""
        loop, sock = asyncio.get_running_loop(), make_socket()
        try:
            await self._connect(sock, self._ports.wrong_key)
            self._strangers += 1
            try:
                await loop.sock_sendall(sock, b"let me in")
                heard = await self._listen(sock)
            except ConnectionError:
                return
            raise Wrong(f"a clean end after {heard} bytes")
        finally:
            reset(sock)

    @staticmethod
    async def _listen(sock: socket.socket) -> int:
        heard = 0
        while data := await asyncio.get_running_loop().sock_recv(sock, 4096):
            heard += len(data)
        return heard

    async def report(self) -> None:
        while True:
            line = {
                "active": len(self._tasks),
                "going": self._going.is_set(),
                "opened": self._opened,
                "strangers": self._strangers,
                "bytes": self._tally.bytes,
                "ended": self._ended,
                "lost": self._lost,
                "wrong": self._wrong,
            }
            print(json.dumps(line), flush=True)
            self._lost.clear()
            self._wrong.clear()
            await asyncio.sleep(REPORT_EVERY)

    async def obey(self) -> None:
        """Follow the commands, until there are no more."""
        commands = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        while line := await commands.readline():
            if line == b"go\n":
                self._going.set()
            else:
                self._going.clear()


async def run(ports: Ports, rate: float, span: float, seed: int) -> None:
    clients = Clients(ports, rate, span, seed)
    helpers = [asyncio.ensure_future(clients.begin_all()), asyncio.ensure_future(clients.report())]
    await clients.obey()
    for helper in helpers:
        helper.cancel()
        if not helper.cancelled() and helper.done():
            helper.result()


if __name__ == "__main__":
    source, wrong_key, server, rate, span, seed = sys.argv[1:]
    ports = Ports(int(source), int(wrong_key), int(server))
    with suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(run(ports, float(rate), float(span), int(seed)))
