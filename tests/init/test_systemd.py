"""The systemd unit: valid, confined, and not confined too much for spiped to work."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from spiped.command.ctl import control_path
from spiped.service.worker_process import ASK_INTERVAL, UNANSWERED_MAX
from tests.daemons import Stage, is_gone, needs, ours, wait_until
from tests.init.systems import INIT
from tests.process.service_manager import Manager

UNIT = INIT / "systemd" / "spiped@.service"
SOCKET = INIT / "systemd" / "example.socket"
INSTALLED = "/usr/local/bin/spiped"

MOST_EXPOSED = 2.0  # of 10; systemd calls that OK

# Makes a process that can have no memory to write to and then execute, as the unit's
# MemoryDenyWriteExecute= does, and runs a program in it.
DENY_WRITE_EXECUTE = """
import ctypes, os, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    sys.exit(99)
os.execv(sys.argv[1], sys.argv[1:])
"""


def settings(name: str) -> list[str]:
    """The values that the unit has for a setting."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


@pytest.fixture
def unit(stage: Stage) -> str:
    """The unit with the path that spiped has here, as an instance."""
    text = UNIT.read_text()
    assert text.count(INSTALLED) == 1
    return stage.write("spiped@mail.service", text.replace(INSTALLED, ours("spiped")).encode())


def test_systemd_finds_nothing_wrong_with_it(stage: Stage, unit: str) -> None:
    verified = stage.run(needs("systemd-analyze"), "verify", "--man=no", unit)
    assert verified.returncode == 0, verified.stderr.decode()
    assert "spiped" not in verified.stderr.decode()


def test_systemd_finds_nothing_wrong_with_the_socket(stage: Stage, unit: str) -> None:
    socket = stage.write("spiped@mail.socket", SOCKET.read_bytes())
    verified = stage.run(needs("systemd-analyze"), "verify", "--man=no", socket)
    assert verified.returncode == 0, verified.stderr.decode()
    assert "spiped" not in verified.stderr.decode()


def test_the_watchdog_waits_twice_as_long_as_a_worker_may_hang() -> None:
    (seconds,) = settings("WatchdogSec")
    assert int(seconds) > 2 * (UNANSWERED_MAX + 1) * ASK_INTERVAL


def test_spipedctl_finds_an_instance_by_its_name() -> None:
    (command,) = settings("ExecStart")
    words = command.replace("%t", "/run").replace("%i", "mail").split()
    assert words[words.index("--control") + 1] == control_path("mail")


def test_an_instance_that_stops_leaves_the_directory_that_all_share() -> None:
    (directories,) = settings("RuntimeDirectory")
    assert directories.split() == ["spiped", "spiped/%i"]
    assert settings("RuntimeDirectoryPreserve") == ["yes"]


def test_the_socket_has_the_name_that_the_settings_know() -> None:
    (name,) = re.findall("^FileDescriptorName=(.*)$", SOCKET.read_text(), re.MULTILINE)
    for path in (SOCKET, INIT / "systemd" / "example.conf"):
        assert f"systemd:{name}" in path.read_text()


def test_systemd_counts_it_among_the_confined(stage: Stage, unit: str) -> None:
    words = ["security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED * 10:.0f}"]
    judged = stage.run(needs("systemd-analyze"), *words, unit)
    if b"unrecognized option" in judged.stderr:
        pytest.skip("this systemd-analyze cannot judge a file")
    assert judged.returncode == 0, judged.stdout.decode()
    exposure = re.search(r"Overall exposure level .*: ([\d.]+)", judged.stdout.decode())
    assert exposure is not None
    assert float(exposure[1]) <= MOST_EXPOSED


def test_the_user_it_runs_as_can_be_created(stage: Stage) -> None:
    (stage.directory / "etc").mkdir()
    path = INIT / "systemd" / "sysusers.conf"
    created = stage.run(needs("systemd-sysusers"), "--root", str(stage.directory), str(path))
    assert created.returncode == 0, created.stderr.decode()
    passwd = (stage.directory / "etc" / "passwd").read_text()
    assert [line.split(":")[0] for line in passwd.splitlines()] == settings("User")


# What the sandbox allows, and what spiped does


def system_calls(stage: Stage, names: Sequence[str]) -> set[str]:
    """The system calls among these names, and in sets like @system-service."""
    sets = [name for name in names if name.startswith("@")]
    if not sets:
        return set(names)
    listed = stage.run(needs("systemd-analyze"), "syscall-filter", *sets, "--no-pager")
    assert listed.returncode == 0, listed.stderr.decode()
    members = set(re.findall(r"^    ([@\w-]+)$", listed.stdout.decode(), re.MULTILINE))
    members |= set(names) - set(sets)
    nested = sorted(member for member in members if member.startswith("@"))
    members -= set(nested)
    return members | system_calls(stage, nested) if nested else members


def allowed_calls(stage: Stage) -> set[str]:
    """What the unit's filter lets through."""
    allowed: set[str] = set()
    for line in settings("SystemCallFilter"):
        if line.startswith("~"):
            allowed -= system_calls(stage, line[1:].split())
        else:
            allowed |= system_calls(stage, line.split())
    return allowed


def wrapper(stage: Stage, *words: str) -> str:
    """A program that runs our spiped by way of another."""
    path = Path(stage.write("wrapper", f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'.encode()))
    path.chmod(0o755)
    return str(path)


def use(stage: Stage, program: str) -> None:
    """Have a daemon do what it does: connections to a name, a reload, an upgrade, a drain.

    It is told to say how it is, also to a watchdog.
    """
    manager = Manager(stage)
    stage.env["WATCHDOG_USEC"] = "1000000"
    port = stage.echo().address.rpartition(":")[2]
    options = ["--workers", "2", "--verbose", "-r", "0.2"]
    server = stage.spiped("-d", f"localhost:{port}", *options, program=program)
    client = stage.spiped("-e", server.source, "--workers", "1")

    def is_answered() -> bool:
        with client.connect() as peer:
            return peer.send(b"hello").finish().read_to_end() == b"hello"

    assert is_answered()
    for number in (signal.SIGHUP, signal.SIGUSR2):
        old = set(server.workers)
        server.signal(number)
        wait_until(lambda old=old: all(map(is_gone, old)), "the old workers have left")
        assert is_answered()
    manager.wait_for("WATCHDOG")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    manager.wait_for("STOPPING")


def test_spiped_needs_no_system_call_that_the_unit_denies(stage: Stage, backend: str) -> None:
    allowed = allowed_calls(stage)
    assert "recvfrom" in allowed
    assert "setrlimit" not in allowed

    trace = stage.path("trace")
    use(stage, wrapper(stage, needs("strace"), "-D", "-f", "-q", "-o", str(trace), ours("spiped")))
    wait_until(lambda: is_complete(trace), "the trace is complete")
    lines = trace.read_text().splitlines()
    used = {match[1] for line in lines if (match := re.match(r"\d+ +(\w+)\(", line))}
    assert {"accept4", "connect", "landlock_restrict_self"} <= used
    assert ("seccomp" in used) == (backend == "native")
    assert used <= allowed

    families = set(re.findall(r"socket\((AF_\w+)", "\n".join(lines)))
    permitted = settings("RestrictAddressFamilies")[0].split()
    # glibc asks for the network interfaces before it looks a name up, and can do without an answer
    assert families - {"AF_NETLINK"} <= set(permitted)

    # ProtectSystem=strict: nothing is written to, ProcSubset=pid: nor is there anything to be read
    # about the system
    opened = re.findall(r"open\w*\((?:AT_FDCWD, )?\"([^\"]+)\", (\S+)", "\n".join(lines))
    written = {path for path, flags in opened if re.search("O_WRONLY|O_RDWR|O_CREAT", flags)}
    assert written <= {"/dev/null", "/proc/thread-self/comm"}
    assert all(
        path.startswith(("/proc/self/", "/proc/thread-self/"))
        for path, _ in opened
        if path.startswith("/proc")
    )


def is_complete(trace: Path) -> bool:
    """All processes that are in the trace have ended."""
    lines = trace.read_text().splitlines() if trace.exists() else []
    ended = {line.split()[0] for line in lines if " +++ " in line}
    return bool(lines) and ended == {line.split()[0] for line in lines}


def test_spiped_needs_no_memory_both_writable_and_executable(stage: Stage, backend: str) -> None:
    words = [sys.executable, "-c", DENY_WRITE_EXECUTE]
    probe = stage.run(*words, "/bin/true")
    if probe.returncode != 0:
        pytest.skip("this kernel cannot deny it to a process")
    use(stage, wrapper(stage, *words, ours("spiped")))
