"""Strangers in floods beside established round trips.

The decrypting daemon is flooded; a few connections through it go on with small round trips, of
which every byte is compared.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from bench.programs import FLAGS, build
from tests.daemons import Stage

SOURCE = Path(__file__).with_name("strangers.c")


class Flood(NamedTuple):
    """How many strangers, how many a second, and how many of them hang at once."""

    count: int
    rate: int
    hanging: int


class Report(NamedTuple):
    """What the load generator and the strangers have told, and what the daemons used."""

    trips: dict[str, float]
    strangers: dict[str, float]
    cpu: dict[str, float]  # seconds, of each daemon with its workers


class Scene:
    """A pair of daemons before a target, and the programs for both kinds of load."""

    def __init__(self, stage: Stage, connections: int) -> None:
        self._stage = stage
        self._connections = connections
        self._load = build(stage.directory).load
        self._strangers = str(stage.directory / "strangers")
        compiler = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run([*compiler, *FLAGS, str(SOURCE), "-o", self._strangers], check=True)
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
            fd = listener.fileno()
            stage.start(self._load, "target", str(fd), pass_fds=[fd])
            target = f"[127.0.0.1]:{listener.getsockname()[1]}"
        self.server = stage.spiped("-d", target, "-n", "0", background=True)
        self.client = stage.spiped("-e", self.server.source, "-n", "0", background=True)

    def measure(self, seconds: float, flood: Flood | None = None) -> Report:
        """Round trips for so long, beside a flood if there is one."""
        before = self._cpu()
        trips = self._start(
            self._load, "pingpong", _port(self.client.source), self._connections, seconds
        )
        assert trips.stdout is not None
        assert json.loads(trips.stdout.readline()) == {"ready": True}
        strangers = None
        if flood is not None:
            strangers = self._start(self._strangers, _port(self.server.source), *flood)
        report = _finish(trips, b"go\n")
        told = {} if strangers is None else _finish(strangers)
        after = self._cpu()
        return Report(report, told, {name: after[name] - before[name] for name in after})

    def _start(self, *words: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def _cpu(self) -> dict[str, float]:
        return {
            name: sum(_seconds(pid) for pid in (daemon.pid, *daemon.workers))
            for name, daemon in (("-e", self.client), ("-d", self.server))
        }


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _finish(process: subprocess.Popen[bytes], word: bytes = b"") -> dict[str, Any]:
    output, _ = process.communicate(word)
    assert process.returncode == 0, output
    answer: dict[str, Any] = json.loads(output)
    return answer
