"""The status process: what it holds, what it cannot do, and when it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.daemons import Peer, free_port, is_listening, wait_until
from tests.helpers import ROOT
from tests.status.rig import Status, ask, read_answer, request, serving


def field(pid: int, name: str) -> str:
    """A line of the system's about a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def descriptors_of(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


def test_it_has_a_name_of_its_own(status: Status) -> None:
    assert psutil.Process(status.pid).name() == "spiped: status"


def test_it_holds_its_sockets_and_what_it_looks_at_and_nothing_else(tmp_path: Path) -> None:
    with serving(str(tmp_path / "status"), connections=3) as status:
        assert ask(status.addresses[0]).status == 200

        def links_of() -> list[str]:
            with suppress(FileNotFoundError):  # one is just being closed
                return [os.readlink(fd) for fd in descriptors_of(status.pid) if int(fd.name) > 2]
            return []

        def sockets() -> int:
            return sum(link.startswith("socket:") for link in links_of())

        # the supervisor's pair and the listening one; ours is closed a moment later
        wait_until(lambda: sockets() == 2, "it has two sockets")
        links = links_of()
    # each map has a descriptor of its own
    files = sorted(link.partition(" ")[0] for link in links if "memfd" in link)
    assert set(files) == {"/memfd:spiped-counters", "/memfd:spiped-facts"}
    others = [link for link in links if "memfd" not in link and not link.startswith("socket:")]
    assert set(others) == {"anon_inode:[eventpoll]"}


def test_it_can_only_read_what_it_looks_at(status: Status) -> None:
    maps = Path(f"/proc/{status.pid}/maps").read_text().splitlines()
    shared = [line.split()[1] for line in maps if "/memfd:" in line]
    assert len(shared) == 2
    assert set(shared) == {"r--s"}
    for fd in descriptors_of(status.pid):
        if "memfd" in os.readlink(fd):
            flags = Path(f"/proc/{status.pid}/fdinfo/{fd.name}").read_text().split("flags:")[1]
            assert int(flags.split()[0], 8) & os.O_ACCMODE == os.O_RDONLY


def test_it_is_in_a_sandbox(status: Status) -> None:
    assert field(status.pid, "NoNewPrivs") == "1"
    if Path("/proc/sys/kernel/seccomp/actions_avail").exists():
        assert field(status.pid, "Seccomp") == "2"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_not_for_it(status: Status, number: int) -> None:
    os.kill(status.pid, number)
    assert ask(status.tcp).status == 200


def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    with serving(f"[127.0.0.1]:{free_port()}", str(tmp_path / "status")) as status:
        # who is answered tells that who came before has been accepted
        with Peer.connect(status.tcp) as silent, Peer.connect(status.tcp) as idle:
            idle.send(request())
            assert read_answer(idle).status == 200
            assert status.end() == (0, "")
            assert idle.read_to_end() == b""
            assert silent.read_to_end() == b""
        assert not any(map(is_listening, status.addresses))


def test_it_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    with serving(f"[127.0.0.1]:{free_port()}") as status:
        process = psutil.Process(status.pid)
        status.process.kill()
        wait_until(lambda: not is_listening(status.tcp), "nobody listens any more")
        wait_until(
            lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE,
            "the process is gone",
        )


def test_a_response_that_is_under_way_is_finished_first() -> None:
    with serving(f"[127.0.0.1]:{free_port()}", connections=3000, still=True) as status:
        with Peer.connect(status.tcp) as peer:
            peer.send(request("/connections?limit=0"))
            start = peer.receive(1)
            assert status.process.stdin is not None
            status.process.stdin.close()
            rest = peer.read_to_end()
        content = json.loads((start + rest).partition(b"\r\n\r\n")[2])
        assert len(content["connections"]) == 3000


def test_a_mistake_of_ours_ends_it_and_is_told_to_the_supervisor() -> None:
    with serving(f"[127.0.0.1]:{free_port()}", connections=3) as status:
        status.order('say {"pipes": [3]}')
        with Peer.connect(status.tcp) as peer:
            peer.send(request("/status"))
            assert b"200" not in peer.read_all()[0]
        assert status.process.stderr is not None
        said = status.process.stderr.read()
        assert status.process.wait(30) == 1
    assert "Traceback" in said
    assert "AttributeError" in said


def test_without_h11_there_is_a_message_of_one_line() -> None:
    program = f"""
import sys
sys.path = [{str(ROOT)!r}, *(path for path in sys.path if "site-packages" not in path)]
from spiped.errors import OperatorError
from spiped.status import require
try:
    require()
except OperatorError as error:
    print(error.line)
"""
    command = [sys.executable, "-S", "-E", "-c", program]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert result.stdout == "--status needs the package h11: pip install 'spiped[status]'\n"
