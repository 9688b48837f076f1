"""What a service manager is told, by whom, and when."""

from __future__ import annotations

import os
import signal
import socket
import time
from itertools import pairwise
from pathlib import Path

import pytest

from spiped.observe.log.log import Log
from spiped.service.service_manager import ServiceManager
from tests.daemons import (
    Daemon,
    Stage,
    echoes,
    is_echoed,
    is_listening,
    ours,
    wait_until,
)
from tests.process.programs import write_program
from tests.process.service_manager import Manager
from tests.process.test_upgrade import Release

WORKERS = ("--workers", "2")
LONG = "1000"  # seconds, that no test takes


def start(stage: Stage, *options: str, **how: object) -> Daemon:
    """An encrypting daemon that is watched; the other one is not."""
    address = stage.env.pop("NOTIFY_SOCKET")
    server = stage.spiped("-d", stage.echo().address)
    stage.env["NOTIFY_SOCKET"] = address
    return stage.spiped("-e", server.source, *WORKERS, *options, **how)


# Ready


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_it_is_told_that_the_daemon_is_ready_once_and_not_before(
    stage: Stage, abstract: bool
) -> None:
    manager = Manager(stage, abstract=abstract)
    daemon = start(stage)
    ready = manager.wait_for("READY")
    assert ready.sender == daemon.pid
    assert ready.told["STATUS"] == "Serving: 2 workers"
    assert is_listening(daemon.source)
    assert len(daemon.workers) == 2
    assert is_echoed(daemon.source)
    assert len(manager.all("READY")) == 1
    assert not manager.all("MAINPID")


def test_in_the_background_the_main_process_says_who_takes_over_and_that_one_is_ready(
    stage: Stage,
) -> None:
    manager = Manager(stage)
    pid_file = stage.path("pid")
    words = ("-e", "-s", stage.address(), "-t", "[127.0.0.1]:1", "-k", stage.key)
    command = stage.start(ours("spiped"), *words, "-p", str(pid_file))
    assert command.wait() == 0
    daemon = stage.adopt(pid_file)
    ready = manager.wait_for("READY")
    (handover,) = manager.all("MAINPID")
    assert handover.told == {"MAINPID": str(daemon.pid)}
    assert handover.sender == command.pid
    assert ready.sender == daemon.pid
    assert manager.messages.index(handover) < manager.messages.index(ready)


def test_while_names_are_unknown_it_may_take_longer(stage: Stage) -> None:
    manager = Manager(stage)
    words = ("-e", "-s", stage.address(), "-t", "nowhere.invalid:1", "-k", stage.key)
    stage.start(ours("spiped"), "-F", "-D", *words)
    manager.wait_for("EXTEND_TIMEOUT_USEC", "90000000", at_least=2)
    assert manager.status == "Waiting until all names are known"
    assert not manager.all("READY")


def test_a_start_that_fails_leaves_its_reason(stage: Stage) -> None:
    manager = Manager(stage)
    words = ("-e", "-s", stage.address(), "-t", "[127.0.0.1]:1", "-k", "/nowhere/key")
    assert stage.run(ours("spiped"), "-F", *words).returncode == 1
    manager.wait_for_status("Failed: Cannot open file: /nowhere/key: No such file or directory")
    assert not manager.all("READY")


# Reload and upgrade


def reload(manager: Manager, daemon: Daemon) -> None:
    """Reload, and see that the manager is told in the way that it wants."""
    ready = len(manager.all("READY"))
    before = time.monotonic_ns() // 1000
    daemon.signal(signal.SIGHUP)
    manager.wait_for("READY", at_least=ready + 1)
    reloading = manager.all("RELOADING")[-1]
    assert reloading.sender == daemon.pid
    assert before <= int(reloading.told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.messages.index(reloading) < manager.messages.index(manager.all("READY")[-1])


def test_a_reload_is_told_of_from_its_beginning_to_its_end(stage: Stage) -> None:
    manager = Manager(stage)
    daemon = start(stage)
    manager.wait_for("READY")
    old = daemon.workers
    reload(manager, daemon)
    assert not set(old) & set(daemon.workers) or "drain" in manager.status
    manager.wait_for_status("Serving: 2 workers")
    reload(manager, daemon)


def test_a_reload_that_fails_is_over_as_well_and_the_status_says_so(stage: Stage) -> None:
    manager = Manager(stage)
    key = stage.write("own_key", Path(stage.key).read_bytes())
    daemon = start(stage, key=key)
    manager.wait_for("READY")
    os.truncate(key, 0)
    reload(manager, daemon)
    manager.wait_for_status("; the last reload failed, see the log")
    assert is_echoed(daemon.source)
    Path(key).write_bytes(Path(stage.key).read_bytes())
    reload(manager, daemon)
    wait_until(lambda: "failed" not in manager.status, "the status forgets it")


def test_workers_that_drain_are_in_the_status(stage: Stage) -> None:
    manager = Manager(stage)
    daemon = start(stage)
    with daemon.connect() as peer:
        assert echoes(peer)
        reload(manager, daemon)
        manager.wait_for_status("Serving: 2 workers; 1 older worker drains")
    wait_until(lambda: manager.status == "Serving: 2 workers", "it has left")


def test_an_upgrade_goes_on_telling_and_is_a_reload(stage: Stage) -> None:
    manager = Manager(stage)
    release = Release(stage)
    daemon = start(stage, program=str(release.path), background=False)
    manager.wait_for("READY")
    for version in ("2", "3"):
        ready = len(manager.all("READY"))
        release.publish(version)
        daemon.signal(signal.SIGUSR2)
        manager.wait_for("READY", at_least=ready + 1)
        assert manager.all("READY")[-1].sender == daemon.pid
        assert manager.all("RELOADING")[-1].sender == daemon.pid
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    manager.wait_for("STOPPING")


SAYS_ENVIRONMENT = """
import os
with open({path!r}, "a") as file:
    print(os.getpid(), os.environ.get("NOTIFY_SOCKET"), os.environ.get("WATCHDOG_PID"), file=file)
"""


def test_only_the_program_that_takes_over_inherits_the_manager(stage: Stage) -> None:
    """And neither its rehearsal, nor a worker."""
    manager = Manager(stage)
    stage.env["WATCHDOG_USEC"] = "1000000"
    release = Release(stage)
    daemon = start(stage, program=str(release.path))
    manager.wait_for("READY")
    heard = stage.path("environment")
    release.publish("2", SAYS_ENVIRONMENT.format(path=str(heard)))
    daemon.signal(signal.SIGUSR2)
    manager.wait_for("READY", at_least=2)
    rehearsal, image = [line.split() for line in heard.read_text().splitlines()]
    assert rehearsal[0] != str(daemon.pid)
    assert rehearsal[1:] == ["None", "None"]
    assert image[:2] == [str(daemon.pid), manager.address]
    told = set(datagram_sockets(daemon.pid))
    assert len(told) == 1
    for worker in daemon.workers:
        assert not told & set(datagram_sockets(worker))


def datagram_sockets(pid: int) -> list[str]:
    """The UNIX datagram sockets that a process has open, by inode."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    inodes = {row[6] for row in rows if row[4] == "0002"}
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return [link[8:-1] for link in links if link.startswith("socket:") and link[8:-1] in inodes]


# The end


def test_the_end_is_told_at_once_and_may_take_as_long_as_it_takes(stage: Stage) -> None:
    manager = Manager(stage)
    daemon = start(stage)
    with daemon.connect() as peer:
        assert echoes(peer)
        daemon.signal(signal.SIGTERM)
        stopping = manager.wait_for("STOPPING")
        assert stopping.sender == daemon.pid
        assert stopping.told["EXTEND_TIMEOUT_USEC"] == "30000000"
        assert stopping.told["STATUS"] == "Stopping: 1 connection is left"
        wait_until(lambda: len(manager.all("EXTEND_TIMEOUT_USEC")) >= 3, "and again and again")
        assert echoes(peer)
    assert daemon.wait() == 0
    assert len(manager.all("STOPPING")) == 1


def test_a_lame_duck_says_that_it_stops_and_its_status_that_it_still_accepts(stage: Stage) -> None:
    manager = Manager(stage)
    daemon = start(stage, "--shutdown-delay", LONG)
    manager.wait_for("READY")
    daemon.signal(signal.SIGTERM)
    assert "EXTEND_TIMEOUT_USEC" in manager.wait_for("STOPPING").told
    manager.wait_for_status("Leaving: clients are still accepted; 0 connections")
    assert is_echoed(daemon.source)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    manager.wait_for_status("Stopping: connections are reset")
    assert len(manager.all("STOPPING")) == 1


# The watchdog


def test_the_watchdog_is_fed_while_a_worker_answers_and_not_while_none_does(stage: Stage) -> None:
    manager = Manager(stage)
    stage.env["WATCHDOG_USEC"] = "1000000"
    daemon = start(stage)
    manager.wait_for("WATCHDOG", at_least=5)
    hung = daemon.workers
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: daemon.said.count("does not answer") == 2, "they are found to hang")
    wait_until(lambda: len(set(daemon.workers) - set(hung)) == 2, "they are replaced")
    fed = len(manager.all("WATCHDOG"))
    manager.wait_for("WATCHDOG", at_least=fed + 3)
    times = [message.at for message in manager.all("WATCHDOG")]
    gaps = [after - before for before, after in pairwise(times)]
    assert max(gaps) > 4  # of the twelve seconds
    assert is_echoed(daemon.source)


def test_one_worker_that_answers_is_enough_for_the_watchdog(stage: Stage) -> None:
    manager = Manager(stage)
    stage.env["WATCHDOG_USEC"] = "1000000"
    daemon = start(stage)
    manager.wait_for("WATCHDOG", at_least=2)
    hung = daemon.workers[0]
    os.kill(hung, signal.SIGSTOP)
    begun = len(manager.all("WATCHDOG"))
    wait_until(lambda: daemon.said.count("does not answer") == 1, "it is found to hang")
    assert len(manager.all("WATCHDOG")) - begun >= 5


# What a service manager may be like


def test_a_manager_that_takes_nothing_holds_up_nobody_and_hears_it_later(stage: Stage) -> None:
    manager = Manager(stage, reads=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        filled = 0
        try:
            while True:
                filler.sendto(b"FILLED=1", manager.address)
                filled += 1
        except BlockingIOError:
            pass
    daemon = start(stage)
    assert is_echoed(daemon.source)
    for _ in range(filled):
        manager.take()
    manager.read()
    manager.wait_for("READY")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("vsock:2:1234", "not a UNIX socket"),
        ("relative", "not a UNIX socket"),
        ("/nowhere/notify", "No such file or directory"),
        ("/" + 200 * "x", "AF_UNIX path too long"),
        ("@nobody/listens/here", "Connection refused"),
    ],
)
def test_a_manager_that_cannot_be_told_is_named_once(
    stage: Stage, address: str, reason: str
) -> None:
    stage.env["NOTIFY_SOCKET"] = address
    daemon = start(stage)
    daemon.wait_to_say(
        "spiped: Warning: the service manager is not told how the daemon is:"
        f" NOTIFY_SOCKET={address}: {reason}\n"
    )
    assert is_echoed(daemon.source)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert daemon.said.count("NOTIFY_SOCKET") == 1


# The rest of what its environment may say


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("30000000", None, 30),
        ("500000", "self", 0.5),
        ("30000000", "1", None),
        (None, None, None),
        ("0", None, None),
        ("", None, None),
        ("-1", None, None),
        ("1s", None, None),
        (5000 * "9", None, 99_999_999_999_999.999_99),
    ],
)
def test_the_time_of_the_watchdog(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    microseconds: str | None,
    pid: str | None,
    seconds: float | None,
) -> None:
    manager = Manager(stage)
    values = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": microseconds,
        "WATCHDOG_PID": str(os.getpid()) if pid == "self" else pid,
    }
    for name, value in values.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    ours = ServiceManager(Log("spiped"))
    assert ours.watchdog == (None if seconds is None else pytest.approx(seconds))
    assert not any(name in os.environ for name in values)
    assert ours.variables() == {n: v for n, v in values.items() if v is not None}
    ours.close()


def test_without_a_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ours = ServiceManager(Log("spiped"))
    assert not ours.is_there
    ours.tell("READY=1", status="all is well")
    ours.flush()
    assert ours.watchdog is None
    assert ours.variables() == {}


def test_a_status_is_one_line_and_sent_when_it_is_another(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager(stage)
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    ours = ServiceManager(Log("spiped"))
    for status in ("one", "one", "two\nREADY=1", "two\nREADY=1", "one"):
        ours.tell(status=status)
    manager.wait_for("STATUS", "one", at_least=2)
    told = [message.told for message in manager.messages]
    assert told == [{"STATUS": "one"}, {"STATUS": "two\\x0aREADY=1"}, {"STATUS": "one"}]
    ours.close()


def test_a_worker_that_takes_its_time_to_start_does_not_make_the_daemon_ready(
    stage: Stage,
) -> None:
    """Ready is who serves, and not who listens."""
    manager = Manager(stage)
    gate = stage.path("gate")
    program = write_program(stage.directory / "spiped", harm=SLOW_WORKER.format(gate=str(gate)))
    words = ("-e", "-s", stage.address(), "-t", "[127.0.0.1]:1", "-k", stage.key)
    stage.start(program, "-F", *WORKERS, *words)
    wait_until(gate.exists, "a worker waits")
    assert not manager.all("READY")
    gate.unlink()
    manager.wait_for("READY")


SLOW_WORKER = """
import os, time
from spiped.service.worker import Worker
begin = Worker.begin
def slow(self):
    if self._setup.serial == 2:
        open({gate!r}, "w").close()
        while os.path.exists({gate!r}):
            time.sleep(0.01)
    begin(self)
Worker.begin = slow
"""
