"""What is done to the daemons of a soak: workers are killed or stopped, keys are reloaded.

Before a worker is killed it is stopped, so that what it carries can be told: these connections, and
no others, may be lost.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import random
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.daemons import PATIENCE, Daemon, family_of, is_status, wait_until
from tests.helpers import ROOT
from tests.status.rig import ask

libc = ctypes.CDLL(None, use_errno=True)
PIDFD_GETFD = 438  # the number of the system call, on all architectures

STABLE = 1.0  # seconds; a worker that dies younger is not replaced at once
STOP_MAX = 0.7  # seconds; less than a watchdog would take for a worker that hangs

KILLS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)

ACTIONS = {
    "kill": 60,
    "stop": 15,
    "drain": 5,
    "reload": 9,
    "bad reload": 5,
    "kill status": 5,
}
UPGRADE = {"upgrade": 6}  # where spiped can do that


def can_upgrade() -> bool:
    return "SIGUSR2" in (ROOT / "man" / "spiped.1").read_text()


class End(NamedTuple):
    """One of the two daemons."""

    name: str  # "e" or "d"
    daemon: Daemon
    workers: int  # how many there should be
    key: Path
    log: Path
    status: str  # where to ask for it

    def ports_of(self, worker: int) -> frozenset[int]:
        """The ports by which clients know the connections of a worker.

        That is the client's own at one end, and at the other end the one that the target sees.
        """
        own = _port(self.daemon.source)
        ports = set()
        for sock in _sockets_of(worker):
            port = sock.getsockname()[1]
            if self.name == "d" and port != own:
                ports.add(port)
            elif self.name == "e" and port == own:
                with suppress(OSError):  # the client has gone, or it is the listening one
                    ports.add(sock.getpeername()[1])
        return frozenset(ports)

    def connections_of(self, worker: int) -> int:
        """How many it carries, at most: of some, one socket is closed already."""
        return sum(
            not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            for sock in _sockets_of(worker)
        )


class Kill(NamedTuple):
    """A worker that was killed, and what it carried."""

    when: float  # on the monotonic clock
    end: str
    ports: frozenset[int]
    connections: int = 0  # that it had accepted

    def excuses(self, lost: dict[str, object]) -> bool:
        """A client's connection was this worker's.

        One that the target has not answered yet has no port there; it may have been.
        """
        began, ended = lost["began"], lost["ended"]
        assert isinstance(began, float)
        assert isinstance(ended, float)
        if not began <= self.when <= ended:
            return False
        port = lost[self.end]
        return port in self.ports or (self.end == "d" and port == 0)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _sockets_of(pid: int) -> Iterator[socket.socket]:
    """The sockets of a process, for a look at each.

    What the system lists is not enough: it leaves out those that both ends have ended, of which the
    process may not have read everything yet.
    """
    pidfd = os.pidfd_open(pid)
    try:
        for path in Path(f"/proc/{pid}/fd").iterdir():
            if os.readlink(path).startswith("socket:"):
                fd = libc.syscall(PIDFD_GETFD, pidfd, int(path.name), 0)
                assert fd >= 0, os.strerror(ctypes.get_errno())
                with socket.socket(fileno=fd) as sock:
                    if sock.family == socket.AF_INET:
                        yield sock
    finally:
        os.close(pidfd)


class Havoc:
    """Does one thing after the other."""

    def __init__(self, ends: list[End], dice: random.Random) -> None:
        self._ends = ends
        self._dice = dice
        self._actions = ACTIONS | (UPGRADE if can_upgrade() else {})
        self.kills: list[Kill] = []
        self.done: Counter[str] = Counter()

    def act(self) -> None:
        """Do any one of the things, to one of the daemons."""
        (action,) = self._dice.choices(list(self._actions), list(self._actions.values()))
        end = self._dice.choice(self._ends)
        match action:
            case "reload":
                reload(end)
            case "bad reload":
                self._reload_badly(end)
            case "kill status":
                for pid in family_of(end.daemon.pid):
                    if is_status(pid):
                        os.kill(pid, signal.SIGKILL)
            case "upgrade":
                end.daemon.signal(signal.SIGUSR2)
            case _:
                with suppress(psutil.NoSuchProcess):  # it has drained meanwhile
                    if not self._do_to_worker(end, action):
                        return
        self.done[action] += 1

    def _do_to_worker(self, end: End, action: str) -> bool:
        """False if there is nobody to do it to."""
        now = time.time()
        workers = [psutil.Process(pid) for pid in end.daemon.workers]
        grown = [worker for worker in workers if now - worker.create_time() > 2 * STABLE]
        if len(grown) < end.workers:
            return False  # leave somebody to do the work
        victim = self._dice.choice(grown)
        if action == "kill":
            self._kill(end, victim)
        elif action == "stop":
            victim.suspend()
            time.sleep(STOP_MAX * self._dice.random())
            victim.resume()
        else:
            victim.terminate()
        return True

    def _kill(self, end: End, victim: psutil.Process) -> None:
        number = self._dice.choice(KILLS)
        victim.suspend()
        wait_until(lambda: victim.status() == psutil.STATUS_STOPPED, "the worker stands still")
        ports, connections = end.ports_of(victim.pid), end.connections_of(victim.pid)
        kill = Kill(time.monotonic(), end.name, ports, connections)
        victim.send_signal(number)
        self.kills.append(kill)
        self.done[number.name] += 1
        victim.resume()  # so that it notices, unless it is gone already

    def carried(self, name: str) -> int:
        """How many connections killed workers of this end had, at most."""
        return sum(kill.connections for kill in self.kills if kill.end == name)

    def _reload_badly(self, end: End) -> None:
        """Read a key that cannot be read, and wait until that has been noticed."""
        key = end.key.read_bytes()
        end.key.unlink()
        end.key.mkdir()
        before = _refusals(end.log)
        end.daemon.signal(signal.SIGHUP)
        try:
            wait_until(lambda: _refusals(end.log) > before, "the reload fails")
        finally:
            end.key.rmdir()
            end.key.write_bytes(key)


def reload(end: End) -> None:
    """Have the key read again: from another file, the same key."""
    new = end.key.with_suffix(".new")
    new.write_bytes(end.key.read_bytes())
    new.replace(end.key)
    end.daemon.signal(signal.SIGHUP)


def renew(end: End) -> None:
    """Replace all workers, those that the daemon has started with: later ones are all alike."""
    before = set(end.daemon.workers)
    reload(end)
    wait_until(
        lambda: len(end.daemon.workers) == end.workers and before.isdisjoint(end.daemon.workers),
        "all workers are new",
    )


def _refusals(log: Path) -> int:
    text = log.read_text()
    return text.count("Reload failed") + text.count("Reload refused")


class Footprint(NamedTuple):
    """What a daemon takes when nothing is going on."""

    workers: int
    descriptors: tuple[int, ...]  # of the supervisor, and of the workers
    memory: int  # bytes that are its own

    def is_like(self, other: Footprint) -> bool:
        return self[:2] == other[:2]


def footprint(end: End) -> Footprint:
    workers = end.daemon.workers
    pids = [end.daemon.pid, *workers]
    return Footprint(
        len(workers),
        tuple(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
        sum(psutil.Process(pid).memory_full_info().pss for pid in pids),
    )


def quiet_footprint(end: End, wanted: Footprint | None = None) -> Footprint:
    """Wait until the daemon is at rest: with all its workers and, if given, as wanted."""
    seen: list[Footprint] = []

    def at_rest() -> bool:
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            seen.append(footprint(end))
            return seen[-1].workers == end.workers and (wanted is None or seen[-1].is_like(wanted))
        return False

    with suppress(AssertionError):  # the caller compares, and says more
        wait_until(at_rest, "the daemon is at rest", 2 * PATIENCE)
    return seen[-1]


class Totals(NamedTuple):
    """What a daemon has counted, through all that was done to it."""

    now: int  # connections
    listed: int  # of these, in the table
    accepted: int
    established: int
    ended: int
    opened: int  # bytes of payload
    shaken: int  # handshakes in the histogram


def totals(end: End) -> Totals:
    """Asked for when nobody comes any more; a status process that has just died is waited for."""
    told: list[dict[str, Any]] = []

    def is_told() -> bool:
        with suppress(OSError, http.client.HTTPException):
            paths = ("/status", "/connections")
            told[:] = [json.loads(ask(end.status, path).body) for path in paths]
        return bool(told) and told[1]["listed"] == 0

    with suppress(AssertionError):  # the caller compares
        wait_until(is_told, "the table of connections is empty")
    (pipe,), listed = told[0]["pipes"], told[1]["listed"]
    connections = pipe["connections"]
    return Totals(
        connections["active"],
        listed,
        connections["accepted"],
        connections["established"],
        sum(connections["ended"].values()) - connections["ended"]["overload"],
        pipe["bytes"]["opened"],
        _handshakes(end),
    )


def _handshakes(end: End) -> int:
    text = ask(end.status, "/metrics").body.decode()
    found = re.search(r"^spiped_handshake_duration_seconds_count\{.*\} (\d+)", text, re.MULTILINE)
    assert found is not None
    return int(found[1])
