"""A status server that says what a test wants, in the words of docs/status.md, and misbehaves."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


def pipe(name: str = "mail", **fields: Any) -> Json:
    return {
        "name": name,
        "mode": "decrypt",
        "source": "[0.0.0.0]:8025",
        "targets": [
            {
                "name": "[127.0.0.1]:25",
                "addresses": ["[127.0.0.1]:25"],
                "resolved": 1_000.0,
                "state": "up",
            }
        ],
        "keys": [{"name": "mail.key", "active": True, "last_seen": 1_000.0}],
        "connections": {
            "active": 3,
            "unauthenticated": 1,
            "limit": 100,
            "unauthenticated_limit": 75,
            "accepted": 1234,
            "established": 1200,
            "ended": {"ended": 1190, "wrong_key": 30, "handshake_timed_out": 4},
        },
        "bytes": {"sealed": 5_000_000, "opened": 7_000_000},
        "packets": {"sealed": 5_000, "opened": 7_000},
        **fields,
    }


def worker(number: int, **fields: Any) -> Json:
    return {
        "id": number,
        "pid": 4000 + number,
        "generation": 1,
        "state": "serving",
        "active": 2,
        "unauthenticated": 0,
        "accepted": 617,
        "established": 600,
        "sealed": 2_500_000,
        "opened": 3_500_000,
        "cpu_seconds": 12.5,
        "memory_bytes": 9_000_000,
        **fields,
    }


def connection(number: int, **fields: Any) -> Json:
    return {
        "id": f"{1 + number % 2}-{number}",
        "pipe": "mail",
        "key": "mail.key",
        "worker": 1 + number % 2,
        "peer": f"[10.0.{number // 250}.{number % 250}]:{40000 + number % 20000}",
        "target": "[127.0.0.1]:25",
        "state": "relaying",
        "age": number,
        "idle": 0,
        "sealed": 1000 * number,
        "opened": 2000 * number,
        "sealed_rate": 10 * number,
        "opened_rate": 20 * number,
        "queued": 0,
        **fields,
    }


def status(**fields: Any) -> Json:
    return {
        "version": "1.0.0",
        "pid": 4000,
        "name": "mail",
        "state": "serving",
        "ready": True,
        "now": time.time(),
        "started": 1_000.0,
        "generation": 1,
        "reloads": {"succeeded": 0, "failed": 0, "last": None},
        "upgrades": 0,
        "worker_restarts": 0,
        "log_lines_dropped": 0,
        "pipes": [pipe()],
        "workers": [worker(1), worker(2)],
        **fields,
    }


class World:
    """What the server tells, which a test changes as it likes."""

    def __init__(self) -> None:
        self.status: Callable[[], Json] = status
        self.connections = [connection(number) for number in (1, 2, 3)]
        self.hidden = 0
        self.asked: list[str] = []
        # takes the place of an answer, if it is there
        self.instead: Callable[[BaseHTTPRequestHandler], None] | None = None

    def listing(self, query: str) -> Json:
        given = {name: values[0] for name, values in parse_qs(query).items()}
        rows = sorted(
            self.connections,
            key=lambda row: row.get(given.get("sort", "age"), 0),
            reverse=given.get("order") == "desc",
        )
        limit = int(given.get("limit", "100"))
        listed = rows[:limit] if limit else rows
        return {
            "total": len(rows) + self.hidden,
            "listed": len(listed),
            "hidden": self.hidden,
            "connections": listed,
        }

    def last_query(self) -> dict[str, str]:
        """What connections were asked for last."""
        paths = [path for path in self.asked if path.startswith("/connections")]
        return {name: values[0] for name, values in parse_qs(urlsplit(paths[-1]).query).items()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StatusServer

    def do_GET(self) -> None:
        world = self.server.world
        world.asked.append(self.path)
        if not is_literal(self.headers["Host"]):
            self.send_error(421)
        elif world.instead is not None:
            world.instead(self)
        elif self.path == "/status":
            answer(self, json.dumps(world.status()).encode())
        elif self.path.startswith("/connections?"):
            answer(self, json.dumps(world.listing(urlsplit(self.path).query)).encode())
        else:
            self.send_error(404)

    def address_string(self) -> str:
        return "client"

    def log_message(self, *words: object) -> None:
        pass


def is_literal(host: str) -> bool:
    """As the real one, it is asked by an address or as localhost, and by no other name."""
    name = host.rpartition(":")[0].strip("[]") if ":" in host else host
    with suppress(OSError):
        socket.inet_pton(socket.AF_INET6 if ":" in name else socket.AF_INET, name)
        return True
    return name == "localhost"


def answer(handler: BaseHTTPRequestHandler, body: bytes, code: int = 200) -> None:
    handler.send_response(code)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class StatusServer(ThreadingHTTPServer):
    """Listens at an address as a stage writes it: [ip]:port, or a path."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: str, world: World) -> None:
        self.world = world
        self.address = address
        is_unix = address.startswith("/")
        self.address_family = socket.AF_UNIX if is_unix else socket.AF_INET
        if is_unix:
            self.option = f"unix:{address}"
            super().__init__(address, _Handler)  # type: ignore[arg-type]
        else:
            host, _, port = address.rpartition(":")
            self.option = f"{host.strip('[]')}:{port}"
            super().__init__((host.strip("[]"), int(port)), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        socket.socket.bind(self.socket, self.server_address)  # no look-up of our own name

    def handle_error(self, *about: Any) -> None:
        pass  # clients come and go

    def close(self) -> None:
        self.shutdown()
        self.server_close()


def moving(begin: float | None = None) -> Callable[[], Json]:
    """The status of a daemon that is busy, more and less: for pictures."""
    begin = time.time() if begin is None else begin

    def now() -> Json:
        t = time.time() - begin
        swing = 10 * t + 9 * math.sin(t / 2) + 3 * math.sin(1.7 * t) + 20
        names = ("mail", "ssh")
        pipes = [
            pipe(
                name,
                source=f"[0.0.0.0]:{port}",
                bytes={"sealed": swing * share * 21e6, "opened": swing * share * 9e6},
            )
            for name, port, share in zip(names, (8025, 8022), (0.8, 0.2), strict=True)
        ]
        for each in pipes:
            established = int(1200 + 60 * t + 40 * math.sin(t))
            each["connections"] |= {"established": established, "accepted": established + 34}
        workers = [
            worker(
                n,
                cpu_seconds=100 + 0.4 * t * n / 2,
                sealed=int(swing * 10e6),
                opened=int(swing * 4e6),
                established=int(600 + 60 * t + 40 * math.sin(t + n)),
            )
            for n in (1, 2)
        ]
        return status(pipes=pipes, workers=workers, started=begin - 302_400)

    return now
