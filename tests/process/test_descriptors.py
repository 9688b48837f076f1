"""File descriptors: as many as the limit of connections needs, and none that nobody needs."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections import Counter

import psutil
import pytest

from tests.daemons import Daemon, Stage, echoes, is_echoed, needs, ours, wait_until
from tests.process.surroundings import privately

MANY = 4096


def limited(soft: int, hard: int) -> list[str]:
    """The beginning of a command that may have so many, and raise that to so many."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < hard:
        pytest.skip(f"nobody may have more than {most} descriptors here")
    return [needs("prlimit"), f"--nofile={soft}:{hard}", "--"]


def limit_of(pid: int) -> tuple[int, int]:
    return psutil.Process(pid).rlimit(resource.RLIMIT_NOFILE)


def start(stage: Stage, *more: str, **how: object) -> Daemon:
    return stage.spiped("-d", stage.echo().address, "--workers", "1", *more, **how)


@pytest.mark.parametrize(
    ("connections", "soft", "hard", "raised", "warns"),
    [
        ("1000", 64, MANY, 2020, False),
        ("1000", 64, 1000, 1000, True),
        ("1000", 64, 2020, 2020, False),
        ("1000", MANY, MANY, MANY, False),
        ("0", 64, MANY, MANY, False),
        ("10", 64, MANY, 64, False),
        ("100000000000000000", 64, MANY, MANY, True),
    ],
)
def test_the_limit_is_raised_as_far_as_connections_need_it_or_the_start_warns(
    stage: Stage, connections: str, soft: int, hard: int, raised: int, warns: bool
) -> None:
    server = start(stage, "-n", connections, beginning=limited(soft, hard))
    for pid in (server.pid, *server.workers):
        assert limit_of(pid) == (raised, hard)
    needed = 20 + 2 * int(connections)
    warning = (
        f"spiped: Warning: {connections} connections (-n) need {needed} file descriptors,"
        f" and the limit is {hard} (ulimit -n)\n"
    )
    assert (warning in server.said) == warns
    assert server.said.count("file descriptors") == int(warns)


def test_as_many_connections_are_served_as_were_asked_for(stage: Stage) -> None:
    beginning = limited(64, MANY)
    server = start(stage, "-n", "200", beginning=beginning)
    client = stage.spiped("-e", server.source, "--workers", "1", "-n", "200", beginning=beginning)
    peers = [client.connect() for _ in range(150)]
    assert all(map(echoes, peers))
    assert client.said == ""


def test_the_limit_is_as_high_after_an_upgrade(stage: Stage) -> None:
    log = stage.directory / "log"
    beginning = limited(64, MANY)
    server = start(stage, "-n", "1000", "--log-file", str(log), beginning=beginning)
    before = server.workers
    server.signal(signal.SIGUSR2)
    wait_until(lambda: server.workers and not set(before) & set(server.workers), "it has upgraded")
    for pid in (server.pid, *server.workers):
        assert limit_of(pid) == (2020, MANY)


# Children close what they have inherited

LONG_LIST = 20_000  # of numbers, which nobody should go through


def test_whoever_looks_names_up_closes_what_is_open_and_tries_no_other_number(
    stage: Stage,
) -> None:
    """Where there is no close_range(2), as with musl: limits of 2^30 are usual in containers."""
    trace = stage.directory / "trace"
    words = ["-f", "--seccomp-bpf", "-qq", "-o", str(trace), "-e", "trace=close,close_range"]
    tracing = [needs("strace"), *words, "-e", "inject=close_range:error=ENOSYS"]
    beginning = [*limited(LONG_LIST, LONG_LIST), *tracing]
    if stage.run(*beginning, "true").returncode != 0:
        pytest.skip("strace cannot do this here")
    source, log = stage.address(), stage.directory / "log"
    command = [*beginning, ours("spiped"), "-F", "-d", "-s", source, "-t", "localhost:9"]
    command += ["-k", stage.key, "--workers", "1", "--log-file", str(log)]
    tracer = stage.start(*command)
    wait_until(lambda: log.exists() and "Started: " in log.read_text(), "it has started")
    (pid,) = (child.pid for child in psutil.Process(tracer.pid).children())
    for number, text in ((signal.SIGHUP, "Reloaded: "), (signal.SIGUSR2, "Upgraded: ")):
        os.kill(pid, number)
        wait_until(lambda text=text: text in log.read_text(), text)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: tracer.is_gone, "it has ended")
    closed = Counter(re.findall(r"^(\d+) +close\(", trace.read_text(), re.MULTILINE))
    assert len(closed) > 4
    assert max(closed.values()) < LONG_LIST / 10


def test_it_works_where_no_process_can_see_its_descriptors(stage: Stage) -> None:
    """There is no /proc, as in a bare chroot."""
    beginning = privately(stage, "mount -t tmpfs none /proc")
    log = stage.directory / "log"
    port = stage.echo().address.rpartition(":")[2]
    words = ("--workers", "1", "--log-file", str(log))
    server = stage.spiped("-d", f"localhost:{port}", *words, beginning=beginning)
    client = stage.spiped("-e", server.source)
    for number, text in ((signal.SIGHUP, "Reloaded: "), (signal.SIGUSR2, "Upgraded: ")):
        server.signal(number)
        wait_until(lambda text=text: text in log.read_text(), text)
        assert is_echoed(client.source)
