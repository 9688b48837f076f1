"""The target of a soak: ``python -m tests.soak.target FD`` serves what comes to a listening socket.

Every half second it writes a line of JSON: the bytes that it has verified, and what was wrong.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress

from tests.soak.talk import Tally, Wrong, agree, exchange_as_target, reset

REPORT_EVERY = 0.5  # seconds
ACCEPT_PAUSE = 0.1  # seconds, when there are no descriptors

tally = Tally()
wrong: list[str] = []


async def converse(sock: socket.socket) -> None:
    try:
        await exchange_as_target(sock, await agree(sock), tally)
        sock.close()
    except (ConnectionError, asyncio.CancelledError):
        reset(sock)
    except Wrong as error:
        wrong.append(f"at the target: {error}")
        reset(sock)


async def serve(listener: socket.socket) -> None:
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    tasks = set()
    while True:
        try:
            sock, _ = await loop.sock_accept(listener)
        except OSError:
            await asyncio.sleep(ACCEPT_PAUSE)
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(converse(sock))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def run(listener: socket.socket) -> None:
    serving = asyncio.ensure_future(serve(listener))
    while not serving.done():
        print(json.dumps({"bytes": tally.bytes, "wrong": wrong}), flush=True)
        wrong.clear()
        await asyncio.sleep(REPORT_EVERY)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(run(socket.socket(fileno=int(sys.argv[1]))))
