"""A name server of the test's own: it answers, or does not."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

import pytest

from tests.daemons import Stage
from tests.process.surroundings import privately

A, IN = 1, 1  # RFC 1035, 3.2
RESPONSE, SERVFAIL, NXDOMAIN = 0x8180, 2, 3

# So long does the resolver wait, and then again: no test does.
RESOLV_CONF = "nameserver {address}\noptions timeout:30 attempts:5\n"


class NameServer:
    """Knows some names of IPv4 addresses; of others it knows that they do not exist.

    ``beginning`` is that of a command that asks it and nobody else.
    """

    def __init__(self, stage: Stage) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for number in range(70, 100):
            self.address = f"127.0.0.{number}"
            try:
                self._sock.bind((self.address, 53))
            except PermissionError:
                pytest.skip("a name server needs root, for its port")
            except OSError:
                continue
            break
        self.names: dict[str, str] = {}
        self.is_silent = False
        self.is_failing = False
        self.asked = 0  # how often for an IPv4 address
        self.beginning = self._private(stage)
        stage.on_stage(self)
        threading.Thread(target=self._serve, daemon=True).start()

    def _private(self, stage: Stage) -> list[str]:
        files = {
            "/etc/resolv.conf": RESOLV_CONF.format(address=self.address),
            "/etc/nsswitch.conf": "hosts: dns\nservices: files\n",
        }
        script, ours = "", []
        for number, (path, content) in enumerate(files.items(), 1):
            ours.append(stage.write(path.rpartition("/")[2], content.encode()))
            script += f'mount --bind "${number}" "$(readlink -f {path})"\n'
        return privately(stage, script, *ours)

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                query, client = self._sock.recvfrom(512)
                answer = self._answer(query)
                if answer is not None:
                    self._sock.sendto(answer, client)

    def _answer(self, query: bytes) -> bytes | None:
        name, end = _name_in(query)
        (kind,) = struct.unpack_from(">H", query, end)
        if kind == A:
            self.asked += 1
        if self.is_silent:
            return None
        question = query[12 : end + 4]
        ip = self.names.get(name)
        if self.is_failing or ip is None:
            code = SERVFAIL if self.is_failing else NXDOMAIN
            return query[:2] + struct.pack(">HHHHH", RESPONSE | code, 1, 0, 0, 0) + question
        count = 1 if kind == A else 0
        header = query[:2] + struct.pack(">HHHHH", RESPONSE, 1, count, 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, A, IN, 0, 4) + socket.inet_aton(ip)
        return header + question + record * count

    def close(self) -> None:
        self._sock.close()


def _name_in(query: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels), at + 1
