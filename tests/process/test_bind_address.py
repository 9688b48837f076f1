"""`-b`: where connections to the target come from, and what that costs."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.daemons import Echo, Stage, free_port, is_echoed, nothing_comes_back
from tests.link.machines import Namespace

PORTS = 6  # that outgoing connections may have; one can have a port again after a second
PAUSE = 0.2  # seconds from connection to connection

BINDINGS = [
    ("127.0.0.1", []),
    ("127.0.0.1", ["-b", "[127.0.0.5]"]),
    ("127.0.0.1", ["-b", "[127.0.0.5]:0"]),
    ("127.0.0.1", ["-b", "127.0.0.5"]),
    ("::1", ["-b", "[::1]"]),
]


def test_short_connections_need_no_more_ports_than_without(stage: Stage, backend: str) -> None:
    """A port that was taken for one local address alone would be gone for a minute."""
    namespace = stage.on_stage(Namespace())
    namespace.set(ip_local_port_range=f"40000 {40000 + PORTS - 1}")
    sources = []
    with namespace.entered():
        for number, (ip, options) in enumerate(BINDINGS):
            target = stage.on_stage(Echo(f"[{ip}]:{20001 + number}"))
            source = stage.address("unix")
            server = stage.spiped("-d", target.address, *options, source=source)
            sources.append(stage.spiped("-e", server.source).source)
    for _ in range(2 * PORTS):
        assert all(map(is_echoed, sources))
        time.sleep(PAUSE)  # the rate is what the promise is about


def test_connections_come_from_the_address_and_the_port_that_were_asked_for(stage: Stage) -> None:
    """With a port, there can be one at a time; the second one fails with a reason."""
    listener = stage.listener()
    port = free_port()
    daemon = stage.spiped("-e", listener.address, "-b", f"[127.0.0.7]:{port}", "-o", "1")
    with daemon.connect(), listener.accept() as target:
        assert target.sock.getpeername() == ("127.0.0.7", port)
        with suppress(ConnectionResetError), daemon.connect() as second:  # perhaps at once
            assert second.read_all()[0] == b""
        daemon.wait_to_say(f"could not connect: {listener.address}: ")


def test_connections_from_a_path_come_from_there(stage: Stage) -> None:
    listener = stage.listener("unix")
    path = str(stage.path("bound"))
    daemon = stage.spiped("-e", listener.address, "-b", path)
    with daemon.connect(), listener.accept() as target:
        assert target.sock.getpeername() == path
    assert Path(path).exists()


UNFIT = [("tcp", "[::1]"), ("tcp", "/nowhere/bound"), ("unix", "[::1]"), ("unix", "/nowhere/bound")]


@pytest.mark.parametrize(("transport", "binding"), UNFIT)
def test_a_local_address_that_does_not_fit_fails_with_a_reason(
    stage: Stage, backend: str, transport: str, binding: str
) -> None:
    listener = stage.listener(transport)
    words = ("-b", binding, "--workers", "1")
    daemon = stage.spiped("-e", listener.address, *words, source=stage.address("unix"))
    workers = daemon.workers
    assert nothing_comes_back(daemon.source)
    reason = "No such file" if transport == "unix" and "/" in binding else "Address family"
    daemon.wait_to_say(f"could not connect: {listener.address}: {reason}")
    assert daemon.workers == workers
