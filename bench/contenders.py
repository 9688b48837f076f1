"""The contenders: how a pair of each is started between a client and a target.

client -> source port -> near end -> middle port -> far end -> target port -> target
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.measure import tree
from bench.programs import Programs

START_LIMIT = 20.0  # seconds

# Where Debian puts its programs; ours, installed or in a virtual environment, are elsewhere.
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class CannotRun(Exception):
    """A contender cannot do what is asked of it, and why."""


class Setting(NamedTuple):
    """How a pair is to be run."""

    weak: bool = False  # -f: without forward secrecy
    workers: int | None = None  # per end, where that can be chosen
    unix: bool = False  # over UNIX sockets
    timeout: float | None = None  # -o, in seconds
    portable: bool = False  # with the portable kernels, which are slow


class Place(NamedTuple):
    """Where a pair finds its files."""

    directory: Path
    programs: Programs

    @property
    def key(self) -> Path:
        return self.directory / "key"


class Ports(NamedTuple):
    """Where each part listens: a port, or the number in the path of a UNIX socket."""

    source: int
    middle: int
    target: int


def name_of(place: Place, setting: Setting, port: int) -> str:
    """How the load generator calls it: a port, or the path of a UNIX socket."""
    return str(place.directory / f"{port}.sock") if setting.unix else str(port)


class End(NamedTuple):
    """One end of a pair, or what else it needs: a command, and the port or path it listens on."""

    command: list[str]
    name: str


class Contender(NamedTuple):
    name: str
    title: str
    needs: tuple[str, ...]  # programs of the system
    ends: Callable[[Place, Ports, Setting], list[End]]  # far end first
    spipe: str | None = None  # the client for one connection, if there is one


def system_program(name: str) -> str:
    path = shutil.which(name, path=SYSTEM_PATH)
    if path is None:
        raise CannotRun(f"{name} is not installed")
    return path


def own_program(name: str) -> str:
    """One of our commands, in the environment that runs us."""
    return os.path.join(sysconfig.get_path("scripts"), name)


def _spiped(
    command: list[str], place: Place, ports: Ports, setting: Setting, *more: str
) -> list[End]:
    def address(port: int) -> str:
        name = name_of(place, setting, port)
        return name if setting.unix else f"[127.0.0.1]:{name}"

    def end(mode: str, source: int, target: int) -> End:
        addresses = ("-s", address(source), "-t", address(target))
        flags = ["-k", str(place.key), "-F", "-n", "0", *more]
        flags += ["-f"] if setting.weak else []
        flags += [] if setting.timeout is None else ["-o", f"{setting.timeout:g}"]
        return End([*command, mode, *addresses, *flags], name_of(place, setting, source))

    return [end("-d", ports.middle, ports.target), end("-e", ports.source, ports.middle)]


def _this(program: str, place: Place, ports: Ports, setting: Setting) -> list[End]:
    workers = [] if setting.workers is None else ["--workers", str(setting.workers)]
    kernels = ["env", "SPIPED_KERNELS=portable"] if setting.portable else []
    return _spiped([*kernels, program], place, ports, setting, *workers)


def _ours(place: Place, ports: Ports, setting: Setting) -> list[End]:
    return _this(own_program("spiped"), place, ports, setting)


def _debian(place: Place, ports: Ports, setting: Setting) -> list[End]:
    return _spiped([system_program("spiped")], place, ports, setting)


STUNNEL = """\
foreground = yes
pid =
syslog = no
debug = 3
[pair]
client = {client}
accept = 127.0.0.1:{accept}
connect = 127.0.0.1:{connect}
sslVersion = TLSv1.3
PSKsecrets = {secrets}
PSKidentity = pair
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
"""


def _stunnel(place: Place, ports: Ports, setting: Setting) -> list[End]:
    secrets = place.directory / "psk"
    _write_secret(secrets, f"pair:{os.urandom(32).hex()}\n")

    def end(client: str, accept: int, connect: int) -> End:
        configuration = place.directory / f"stunnel-{accept}.conf"
        configuration.write_text(
            STUNNEL.format(client=client, accept=accept, connect=connect, secrets=secrets)
        )
        return End([system_program("stunnel"), str(configuration)], str(accept))

    return [end("no", ports.middle, ports.target), end("yes", ports.source, ports.middle)]


SSHD = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {directory}/host-key
AuthorizedKeysFile {directory}/user-key.pub
PasswordAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
"""


def _ssh(place: Place, ports: Ports, setting: Setting) -> list[End]:
    directory = place.directory / "ssh"
    sshd = system_program("sshd")
    ssh = system_program("ssh")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists when it runs as root
    if not directory.exists():
        directory.mkdir()
        for key in ("host-key", "user-key"):
            maker = [system_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f"]
            subprocess.run([*maker, str(directory / key)], check=True)
    configuration = directory / f"sshd-{ports.middle}.conf"
    configuration.write_text(SSHD.format(port=ports.middle, directory=directory))
    options = {
        "ControlMaster": "yes",
        "ControlPath": str(directory / f"control-{ports.middle}"),
        "ExitOnForwardFailure": "yes",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": str(directory / "known-hosts"),
    }
    return [
        End([sshd, "-D", "-e", "-q", "-f", str(configuration)], str(ports.middle)),
        End(
            [
                *(ssh, "-F", "none", "-N", "-q", "-i", str(directory / "user-key")),
                *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
                *("-L", f"127.0.0.1:{ports.source}:127.0.0.1:{ports.target}"),
                *("-p", str(ports.middle), "127.0.0.1"),
            ],
            str(ports.source),
        ),
    ]


def _plain(place: Place, ports: Ports, setting: Setting) -> list[End]:
    workers = str(setting.workers or len(os.sched_getaffinity(0)))

    def end(source: int, target: int) -> End:
        return End([place.programs.plain_relay, str(source), str(target), workers], str(source))

    return [end(ports.middle, ports.target), end(ports.source, ports.middle)]


def _nothing(place: Place, ports: Ports, setting: Setting) -> list[End]:
    return []


OURS = Contender("ours", "spiped (this)", (), _ours, spipe=own_program("spipe"))
DEBIAN = Contender("debian", "C spiped", ("spiped",), _debian, spipe="/usr/bin/spipe")
STUNNEL_TLS = Contender("stunnel", "stunnel, TLS 1.3 PSK", ("stunnel",), _stunnel)
SSH = Contender("ssh", "ssh -L", ("ssh", "sshd", "ssh-keygen"), _ssh)
PLAIN = Contender("plain", "plain TCP relay", (), _plain)
PYTHON = Contender("python", "python3 -c pass", (), _nothing)
KERNELS = Contender("kernels", "kernels of this CPU", (), _nothing)

CONTENDERS = {c.name: c for c in (OURS, DEBIAN, STUNNEL_TLS, SSH, PLAIN, PYTHON, KERNELS)}


def add_base(tree: Path) -> None:
    """Let ours, as built in another tree, be a contender by the name of "base"."""
    programs = tree / ".venv" / "bin"
    if not (programs / "spiped").exists():
        raise CannotRun(f"there is no spiped in {programs}: build that tree first")
    CONTENDERS["base"] = Contender(
        "base",
        "spiped (base)",
        (),
        partial(_this, str(programs / "spiped")),
        spipe=str(programs / "spipe"),
    )


def missing(contender: Contender) -> str | None:
    """Why a contender cannot run here, if so."""
    try:
        for program in contender.needs:
            system_program(program)
    except CannotRun as reason:
        return str(reason)
    return None


def version(contender: Contender) -> str:
    """What the contender says it is."""
    if missing(contender) is not None:
        return "not installed"
    commands = {
        "ours": [own_program("spiped"), "-v"],
        "debian": ["spiped", "-v"],
        "stunnel": ["stunnel", "-version"],
        "ssh": ["ssh", "-V"],
        "python": [sys.executable, "--version"],
    }
    if contender.spipe is not None and contender.name == "base":
        commands["base"] = [contender.spipe, "-v"]
    if contender.name not in commands:
        return ""
    name, *words = commands[contender.name]
    program = name if os.path.isabs(name) else system_program(name)
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return next((line for line in lines if any(c.isdigit() for c in line)), "")


def _write_secret(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


def free_port() -> int:
    """A port that is free, and that no outgoing connection will be given meanwhile."""
    while True:
        port = random.randrange(10240, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def listens(name: str) -> bool:
    """Somebody listens on a port or path; asking does not disturb them, as a connection would."""
    if name.startswith("/"):
        rows = Path("/proc/net/unix").read_text().splitlines()[1:]
        return any(row.split()[3] == "00010000" and row.endswith(f" {name}") for row in rows)
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state == "0A" and int(local.partition(":")[2], 16) == int(name):
            return True
    return False


class Pair(NamedTuple):
    """Both ends of a contender, running."""

    ports: Ports
    processes: list[psutil.Popen]


@contextmanager
def running_pair(
    contender: Contender, place: Place, target: int, setting: Setting
) -> Iterator[Pair]:
    """Start a pair in front of a target.  Raises CannotRun."""
    reason = missing(contender)
    if reason is not None:
        raise CannotRun(reason)
    pair = Pair(Ports(free_port(), free_port(), target), [])
    try:
        for end in contender.ends(place, pair.ports, setting):
            _start(end, pair)
        yield pair
    finally:
        for process in tree(pair.processes):
            process.kill()
        for process in pair.processes:
            process.wait()


def _start(end: End, pair: Pair) -> None:
    with tempfile.TemporaryFile() as messages:
        process = psutil.Popen(
            end.command, stdin=subprocess.DEVNULL, stdout=messages, stderr=messages
        )
        pair.processes.append(process)
        deadline = time.monotonic() + START_LIMIT
        while not listens(end.name):
            if process.poll() is not None or time.monotonic() > deadline:
                messages.seek(0)
                said = messages.read().decode(errors="replace").strip().splitlines()
                raise CannotRun(f"did not start: {said[-1] if said else 'no message'}")
            time.sleep(0.01)
