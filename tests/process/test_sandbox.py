"""What the processes may still do, and what becomes of their secrets (DESIGN.md, "Privilege")."""

from __future__ import annotations

import errno
import functools
import json
import os
import platform
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import backends
from tests.daemons import (
    KEY,
    PATIENCE,
    Daemon,
    Stage,
    family_of,
    is_echoed,
    is_gone,
    needs,
    nothing_comes_back,
    ours,
    wait_until,
    without,
)
from tests.helpers import ROOT, lack
from tests.process.memory import hash_of, where_is
from tests.process.test_log import FAKE_DEV

if sys.platform != "linux":
    pytest.skip("only Linux has such things", allow_module_level=True)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
native_only = pytest.mark.skipif("native" not in backends(), reason="only in the extension")

KILLED = f"killed by signal {signal.SIGSYS.value}"

# What comes of an attempt, with a filter of system calls and without.
POSSIBLE = (
    "accept",
    "connect to the target",
    "write to an open file",
    "lock",
    "allocate",
    "draw randomness",
    "sleep",
    "tell the time",
    "print a traceback",
    "raise a signal",
    "connect to a UNIX target",
    "connect from an address",
)
IMPOSSIBLE = {
    "open a file": ("EPERM", "EACCES"),
    "make a file": ("EPERM", "EACCES"),
    "list a directory": ("EPERM", "EACCES"),
    "remove a file": ("EPERM", "EACCES"),
    "execute": (KILLED, "EACCES"),
    "connect elsewhere": ("EACCES", "EACCES"),
    "bind": (KILLED, "EACCES"),
    "send a signal": (KILLED, "EPERM"),
}
FILTERED = {
    "fork": KILLED,
    "trace": KILLED,
    "change identity": KILLED,
    "allow dumps": "EPERM",
    "make memory executable": "EPERM",
    "map executable memory": "EPERM",
    "make a netlink socket": "EPERM",
    "make a raw socket": "EPERM",
    "make a datagram socket": "EPERM",
    "make a UNIX socket": "EPERM",
    "listen": KILLED,
    "send a datagram": KILLED,
    "set another socket option": KILLED,
    "use a call of the future": "ENOSYS",
}


def landlock_abi() -> int:
    from spiped.sandbox import pure

    return pure.landlock_abi()


@functools.cache
def outcomes(backend: str) -> dict[str, str]:
    """What comes of every attempt in the sandbox."""
    with tempfile.TemporaryDirectory() as directory:
        result = subprocess.run(
            [sys.executable, "-m", "tests.process.inmate", backend],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=PATIENCE,
        )
    assert result.returncode == 0, result.stderr.decode()
    found: dict[str, str] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("what", POSSIBLE)
def test_a_worker_can_do_what_it_has_to(backend: str, what: str) -> None:
    assert outcomes(backend)[what].endswith("done")


def test_a_worker_can_print_a_traceback(backend: str) -> None:
    said = outcomes(backend)["print a traceback"]
    assert said.startswith("Traceback")
    assert "in fail_loudly\nRuntimeError: what has happened" in said


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_a_worker_cannot_do_what_landlock_denies(backend: str, what: str) -> None:
    if landlock_abi() < 6:
        pytest.skip("this kernel's Landlock is of an older version")
    native, pure = IMPOSSIBLE[what]
    assert outcomes(backend)[what] == (native if backend == "native" else pure)


@native_only
@pytest.mark.parametrize("what", FILTERED)
def test_a_worker_cannot_do_what_the_filter_denies(what: str) -> None:
    assert outcomes("native")[what] == FILTERED[what]


@native_only
@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 belongs to x86-64")
def test_the_filter_knows_x32() -> None:
    assert outcomes("native")["use the calls of x32"] == KILLED


# Daemons


def status(pid: int, field: str) -> int:
    """A number in /proc/PID/status."""
    found = re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None, f"this kernel does not tell {field}"
    return int(found[1])


def workers_of(daemon: Daemon, count: int) -> list[int]:
    wait_until(lambda: len(daemon.workers) == count, f"there are {count} workers")
    return daemon.workers


def knock(daemon: Daemon) -> None:
    """A connection that is nothing but a reason for a message."""
    with daemon.connect() as peer:
        peer.send(b"?").finish().read_all()


def check_confined(daemon: Daemon, backend: str, count: int) -> None:
    assert status(daemon.pid, "NoNewPrivs") == 1
    assert status(daemon.pid, "Seccomp") == 0  # the supervisor forks, reads, looks up
    for worker in workers_of(daemon, count):
        # the first that it does is to enter
        wait_until(lambda worker=worker: status(worker, "NoNewPrivs") == 1, "it has entered")
        if backend == "native":
            wait_until(lambda worker=worker: status(worker, "Seccomp") == 2, "it is filtered")


def test_all_workers_are_confined_also_later_ones(stage: Stage, backend: str) -> None:
    server = stage.spiped("-d", stage.echo().address, "--workers", "2")
    client = stage.spiped("-e", server.source)
    check_confined(server, backend, 2)
    os.kill(server.workers[0], signal.SIGKILL)
    server.wait_to_say("starting another")
    check_confined(server, backend, 2)
    old = set(server.workers)
    server.signal(signal.SIGHUP)
    wait_until(lambda: all(map(is_gone, old)), "the old ones have left")
    check_confined(server, backend, 2)
    assert is_echoed(client.source, b"x" * 100_000)


def test_it_can_be_switched_off(stage: Stage, backend: str) -> None:
    words = ("--no-sandbox", "--verbose", "--workers", "1")
    server = stage.spiped("-d", stage.echo().address, *words)
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source)
    assert "Sandbox of the workers: none\n" in server.said
    for pid in (server.pid, *server.workers):
        assert status(pid, "NoNewPrivs") == status(pid, "Seccomp") == 0


def test_what_is_in_force_is_said_only_if_asked_for(stage: Stage) -> None:
    stage.env["SPIPED_BACKEND"] = backends()[0]
    quiet = stage.spiped("-d", "[127.0.0.1]:1")
    verbose = stage.spiped("-d", "[127.0.0.1]:1", "--verbose")
    verbose.wait_to_say("Sandbox of the workers: no_new_privs")
    if backends()[0] == "native":
        assert quiet.said == ""


def test_without_the_extension_it_says_what_is_missing(stage: Stage) -> None:
    stage.env["SPIPED_BACKEND"] = "pure"
    server = stage.spiped("-d", "[127.0.0.1]:1")
    server.wait_to_say("Warning: sandbox: no system-call filter")


@pytest.mark.parametrize("transport", ["tcp", "tcp6", "unix"])
@pytest.mark.parametrize("bind", [False, True], ids=["", "bind"])
def test_every_kind_of_target_is_reached(
    stage: Stage, backend: str, transport: str, bind: bool
) -> None:
    echo = stage.echo(transport)
    local = {"tcp": "[127.0.0.1]", "tcp6": "[::1]", "unix": str(stage.path("bound"))}[transport]
    options = ("-b", local) if bind else ()
    server = stage.spiped("-d", echo.address, *options, source=stage.address())
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source, b"x" * 100_000)


def test_connections_that_fail_are_no_reason_to_die(stage: Stage, backend: str) -> None:
    """Of the ways to end, those that the relay takes other system calls for."""
    listener = stage.listener()
    server = stage.spiped("-d", listener.address, "--workers", "1")
    client = stage.spiped("-e", server.source, "--workers", "1")
    workers = {*server.workers, *client.workers}
    with client.connect() as near:
        far = listener.accept()
        near.send(b"x" * 500_000)
        near.reset()
        with far:
            far.read_to_reset()
    knock(server)
    stranger = stage.spiped("-e", server.source, key=stage.write("other_key", b"another"))
    assert nothing_comes_back(stranger.source)
    listener.close()
    assert nothing_comes_back(client.source)
    assert {*server.workers, *client.workers} == workers
    assert "died" not in server.said + client.said


def test_a_worker_that_the_filter_ends_is_replaced_with_the_reason(stage: Stage) -> None:
    server = stage.spiped("-d", stage.echo().address, "--workers", "1")
    (victim,) = workers_of(server, 1)
    os.kill(victim, signal.SIGSYS)
    server.wait_to_say("died (ended by the sandbox: ")
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source)


def test_children_keep_no_way_to_the_pid_file(stage: Stage) -> None:
    server = stage.spiped("-d", stage.echo().address, "--workers", "1", background=True)
    (worker,) = workers_of(server, 1)
    assert server.pid_file is not None
    opened = [os.readlink(link) for link in Path(f"/proc/{worker}/fd").iterdir()]
    assert not any("/" in target and target.endswith(".pid") for target in opened)
    assert str(server.pid_file) not in opened


@needs_root
def test_a_lesser_user_keeps_the_name_of_the_process(stage: Stage) -> None:
    words = ["-d", "-s", stage.address(), "-t", "[127.0.0.1]:1", "-k", stage.key, "-F"]
    program = [sys.executable, "-m", "spiped"]  # which the system calls python
    server = stage.start(*program, *words, "-u", "nobody", "--workers", "1")
    wait_until(lambda: len(family_of(server.pid)) == 2, "there is a worker")
    for pid in family_of(server.pid):
        name = "spiped" if pid == server.pid else "spiped: worker"
        assert Path(f"/proc/{pid}/comm").read_text() == f"{name}\n"


# The log


def privately(stage: Stage, *words: str) -> list[str]:
    """The beginning of a command that has its own view of the file system."""
    beginning = [needs("unshare"), "--mount", "--propagation", "private", *words]
    if stage.run(*beginning, "true").returncode != 0:
        pytest.skip("a private view of the file system is not allowed here")
    return beginning


def test_a_log_keeps_the_time_zone(stage: Stage) -> None:
    zone = "/usr/share/zoneinfo/Asia/Kathmandu"
    if not os.path.exists(zone) or not os.path.exists("/etc/localtime"):
        lack("there are no time zones here")
    script = f'mount --bind {zone} "$(readlink -f /etc/localtime)" && exec "$@"'
    beginning = privately(stage, "sh", "-c", script, "sh")
    log = stage.directory / "log"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TZ", raising=False)
        server = stage.spiped(
            "-d", "[127.0.0.1]:1", "--log-file", str(log), beginning=beginning, background=True
        )
    knock(server)
    wait_until(lambda: " spiped: connection" in log.read_text(), "there is a message")
    line = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0545 spiped: ")
    assert all(line.match(text) for text in log.read_text().splitlines())


def test_syslog_is_found_again_when_it_comes_back(stage: Stage) -> None:
    devices = stage.directory / "dev"
    devices.mkdir()
    beginning = privately(stage, "sh", "-c", FAKE_DEV, "sh", str(devices))

    def serve() -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(str(devices / "log"))
            log.settimeout(PATIENCE)
            yield log
        (devices / "log").unlink()

    words = ("-d", "[127.0.0.1]:1", "--syslog", "--workers", "1")
    daemon: Daemon | None = None
    for _ in range(2):
        for log in serve():
            if daemon is None:
                daemon = stage.spiped(*words, beginning=beginning, background=True)
            knock(daemon)
            wait_until(
                lambda log=log: b"the client left before it said enough" in log.recv(8192),
                "it is told",
            )
    assert daemon is not None
    workers_of(daemon, 1)


# Kernels that lack something

# Runs a program for which system calls fail: pairs of a number and an error.
REFUSE = """
import ctypes, os, struct, sys
calls = [int(word) for word in sys.argv[1].split(",")]
LOAD, EQUAL, RETURN, ALLOW, ERRNO = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
code = [struct.pack("=HBBI", LOAD, 0, 0, 0)]
for call, error in zip(calls[::2], calls[1::2]):
    code += [struct.pack("=HBBI", EQUAL, 0, 1, call)]
    code += [struct.pack("=HBBI", RETURN, 0, 0, ERRNO | error)]
code += [struct.pack("=HBBI", RETURN, 0, 0, ALLOW)]
program = ctypes.create_string_buffer(b"".join(code))
whole = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(program)))
libc = ctypes.CDLL(None)
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, whole, 0, 0) != 0:
    sys.exit(99)
os.execv(sys.argv[2], sys.argv[2:])
"""

LANDLOCK_CREATE_RULESET = 444
SECCOMP = {"x86_64": 317, "aarch64": 277}.get(platform.machine())
MLOCK2 = {"x86_64": 325, "aarch64": 284}.get(platform.machine())
MLOCK = {"x86_64": 149, "aarch64": 228}.get(platform.machine())


def lacking(stage: Stage, **calls: tuple[int | None, int]) -> list[str]:
    """The beginning of a command that runs as on a kernel without these calls."""
    pairs = [f"{call},{error}" for call, error in calls.values()]
    if SECCOMP is None:
        pytest.skip("system calls are numbered in another way here")
    beginning = [sys.executable, "-c", REFUSE, ",".join(pairs)]
    if stage.run(*beginning, "/bin/true").returncode != 0:
        pytest.skip("this kernel cannot be made to lack something")
    return beginning


LACKS = {
    "landlock": ({"landlock": (LANDLOCK_CREATE_RULESET, errno.ENOSYS)}, "no Landlock"),
    "landlock-off": ({"landlock": (LANDLOCK_CREATE_RULESET, errno.EOPNOTSUPP)}, "no Landlock"),
    "seccomp": ({"seccomp": (SECCOMP, errno.EINVAL)}, "no system-call filter"),
    "both": (
        {"seccomp": (SECCOMP, errno.EINVAL), "landlock": (LANDLOCK_CREATE_RULESET, errno.ENOSYS)},
        "no Landlock (Function not implemented), no system-call filter (Invalid argument)",
    ),
}


@native_only
@pytest.mark.parametrize("what", LACKS)
def test_a_kernel_that_lacks_something_is_warned_of_and_served(stage: Stage, what: str) -> None:
    calls, warning = LACKS[what]
    beginning = lacking(stage, **calls)
    words = ("--workers", "2", "--verbose")
    server = stage.spiped("-d", stage.echo().address, *words, beginning=beginning)
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source)
    lines = [line for line in server.said.splitlines() if "Warning: sandbox: " in line]
    assert len(lines) == 1
    assert warning in lines[0]
    # the filter that simulates it is one; ours would be the second
    filters = {status(worker, "Seccomp_filters") for worker in workers_of(server, 2)}
    assert filters == {1 if "seccomp" in calls else 2}


@native_only
def test_spipe_works_where_there_is_no_sandbox_and_is_silent(stage: Stage) -> None:
    beginning = lacking(stage, **LACKS["both"][0])
    server = stage.spiped("-d", stage.echo().address)
    words = [*beginning, ours("spipe"), "-t", server.source, "-k", stage.key]
    result = stage.run(*words, input=b"hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello", b"")


# spipe


def test_spipe_confines_all_its_threads(stage: Stage, backend: str) -> None:
    echo = stage.echo()
    server = stage.spiped("-d", echo.address)
    spipe = stage.start(
        ours("spipe"), "-t", server.source, "-k", stage.key, stdin=-1, stdout=-1
    ).process
    assert spipe is not None
    assert spipe.stdin is not None
    assert spipe.stdout is not None
    spipe.stdin.write(b"hello")
    spipe.stdin.flush()
    assert spipe.stdout.read(5) == b"hello"
    threads = [int(path.name) for path in Path(f"/proc/{spipe.pid}/task").iterdir()]
    assert len(threads) == 3
    for thread in threads:
        assert status(thread, "NoNewPrivs") == 1
        assert status(thread, "Seccomp") == (2 if backend == "native" else 0)
    spipe.stdin.close()
    assert spipe.wait(PATIENCE) == 0


def test_spipe_can_be_let_out(stage: Stage) -> None:
    listener = stage.listener()
    words = (ours("spipe"), "-t", listener.address, "-k", stage.key, "--no-sandbox")
    spipe = stage.start(*words)
    with listener.accept() as peer:
        peer.receive(32)
        assert status(spipe.pid, "NoNewPrivs") == status(spipe.pid, "Seccomp") == 0


# Secrets


@needs_root
def test_the_key_is_in_locked_memory_only(stage: Stage, backend: str) -> None:
    key = os.urandom(32)
    stage.write("key", key)
    server = stage.spiped("-d", stage.echo().address, "--workers", "2")
    client = stage.spiped("-e", server.source)
    assert is_echoed(client.source)
    for pid in (server.pid, *workers_of(server, 2)):
        assert status(pid, "VmLck") > 0
        places = where_is(pid, hash_of(key))
        if backend == "native":
            assert len(places) == 1
            assert all({"lo", "dd"} <= flags for flags in places)  # locked, and not dumped
        else:  # the libraries keep copies of their own
            assert any({"lo", "dd"} <= flags for flags in places)
        assert where_is(pid, key) == []


@needs_root
@native_only
def test_the_secrets_of_a_connection_are_in_locked_memory_and_end_with_it(stage: Stage) -> None:
    listener = stage.listener()
    server = stage.spiped("-d", listener.address, "--workers", "1")
    client = stage.spiped("-e", server.source, "--workers", "1")
    (worker,) = server.workers
    idle = status(worker, "VmLck")
    peers = [client.connect() for _ in range(40)]
    targets = [listener.accept() for _ in peers]
    assert status(worker, "VmLck") > idle
    for peer in (*peers, *targets):
        peer.close()
    # of each size, one slab is kept; the key has its own
    wait_until(lambda: status(worker, "VmLck") <= 3 * 16, "what was locked is given back")


@needs_root
@native_only
def test_an_old_key_is_erased_when_nobody_uses_it_any_more(stage: Stage) -> None:
    server = stage.spiped("-d", stage.echo().address, "--workers", "2")
    client = stage.spiped("-e", server.source)
    new = b"another key"
    with client.connect() as peer:
        peer.send(b"x").receive(1)
        old = set(workers_of(server, 2))
        stage.write("key", new)
        server.signal(signal.SIGHUP)
        wait_until(lambda: sum(map(is_gone, old)) == 1, "the idle one has left")
        young = set(server.workers) - old
        assert len(young) == 2
        for worker in young:
            assert where_is(worker, hash_of(KEY)) == []
            assert len(where_is(worker, hash_of(new))) == 1
        assert len(where_is(server.pid, hash_of(KEY))) == 1  # in case that one has to be replaced
    wait_until(lambda: all(map(is_gone, old)), "the other one has left")
    wait_until(lambda: where_is(server.pid, hash_of(KEY)) == [], "it is erased")
    assert len(where_is(server.pid, hash_of(new))) == 1


@native_only
@needs_root
def test_little_lockable_memory_is_warned_of_once_and_enough(stage: Stage) -> None:
    beginning = without("ipc_lock", "sys_resource")
    words = ["sh", "-c", 'ulimit -l 0 && exec "$@"', "sh"]
    server = stage.spiped(
        "-d", stage.echo().address, "--workers", "2", beginning=[*beginning, *words]
    )
    client = stage.spiped("-e", server.source, beginning=[*beginning, *words])
    assert is_echoed(client.source)
    assert server.said.count("RLIMIT_MEMLOCK") == 1
    assert "400 KiB are needed, `ulimit -l` is 0\n" in server.said
    for pid in (server.pid, *server.workers):
        assert status(pid, "VmLck") == 0


@native_only
def test_memory_is_locked_where_only_the_older_call_exists(stage: Stage) -> None:
    beginning = lacking(stage, mlock2=(MLOCK2, errno.ENOSYS))
    server = stage.spiped("-d", stage.echo().address, "--workers", "1", beginning=beginning)
    for pid in (server.pid, *workers_of(server, 1)):
        assert status(pid, "VmLck") > 0


def asks_for_names(pid: int) -> bool:
    """The process has an Internet datagram socket, as no other has."""
    process = psutil.Process(pid)
    return bool(getattr(process, "net_connections", process.connections)("udp"))


SILENT_DNS = """
    mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf &&
    mount --bind "$3" /etc/nsswitch.conf && shift 3 && exec "$@"
"""


@needs_root
def test_a_process_that_looks_up_names_knows_no_key_and_hides(stage: Stage, backend: str) -> None:
    echo = stage.echo()
    key = os.urandom(32)
    stage.write("key", key)
    hosts = Path(stage.write("hosts", b"127.0.0.1 later.example\n"))
    resolver = stage.write("resolv.conf", b"nameserver 127.9.9.9\n")
    switch = stage.write("nsswitch.conf", b"hosts: files dns\n")
    files = (str(hosts), resolver, switch)
    beginning = privately(stage, "sh", "-c", SILENT_DNS, "sh", *files)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody_answers:
        nobody_answers.bind(("127.9.9.9", 53))
        port = echo.address.rpartition(":")[2]
        server = stage.spiped("-d", f"later.example:{port}", "--workers", "1", beginning=beginning)
        workers = set(workers_of(server, 1))
        hosts.write_bytes(b"")
        server.signal(signal.SIGHUP)
        nobody_answers.settimeout(PATIENCE)
        nobody_answers.recv(512)  # it asks
        (child,) = (pid for pid in set(server.workers) - workers if asks_for_names(pid))
        assert psutil.Process(child).rlimit(resource.RLIMIT_CORE) == (0, 0)
        assert status(child, "NoNewPrivs") == 1
        places = where_is(child, hash_of(key))
        assert places == [] if backend == "native" else not any("lo" in p for p in places)
        os.kill(child, signal.SIGKILL)
