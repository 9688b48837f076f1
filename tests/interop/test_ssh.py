"""The use that spiped is best known for: ssh through spipe, to an sshd that only spiped reaches."""

from __future__ import annotations

import getpass
import hashlib
import os
import random
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest

from tests.daemons import Daemon, Program, Stage, is_listening, needs, ours, wait_until

pytestmark = pytest.mark.usefixtures("backend")

CONFIGURATION = """\
ListenAddress {address}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
PermitUserEnvironment no
Subsystem sftp internal-sftp
"""

Ssh = Callable[..., CompletedProcess[bytes]]

NO_CAPTURE = {"capture_output": False, "stdout": subprocess.DEVNULL}


class Sshd(NamedTuple):
    address: str
    program: Program


@pytest.fixture
def sshd(stage: Stage) -> Sshd:
    """An sshd of our own, which lets us in with user_key."""
    sshd, keygen = needs("sshd"), needs("ssh-keygen")
    for name in ("host_key", "user_key"):
        key = str(stage.directory / name)
        stage.run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", key, check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it imprisons its unprivileged child
    address = stage.address()
    text = CONFIGURATION.format(address=address, directory=stage.directory)
    program = stage.start(sshd, "-D", "-e", "-f", stage.write("sshd_config", text.encode()))
    wait_until(lambda: is_listening(address), "sshd listens")
    return Sshd(address, program)


@pytest.fixture
def server(stage: Stage, sshd: Sshd) -> Daemon:
    """The end of the pipe that is before sshd."""
    return stage.spiped("-d", sshd.address)


@pytest.fixture
def client(stage: Stage, server: Daemon) -> Ssh:
    """Runs a program of ssh's, with what it needs to reach that sshd through a pipe of ours."""
    options = {
        "ProxyCommand": f"{ours('spipe')} -t {server.source} -k {stage.key}",
        "IdentityFile": stage.directory / "user_key",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": stage.directory / "known_hosts",
        "StrictHostKeyChecking": "accept-new",
        "LogLevel": "ERROR",
        "BatchMode": "yes",
    }
    words = ["-F", "none", *(f"-o{name}={value}" for name, value in options.items())]

    def run(program: str, *arguments: str, **how: object) -> CompletedProcess[bytes]:
        return stage.run(needs(program), *words, *arguments, **how)

    return run


HOST = f"{getpass.getuser()}@behind-the-pipe"


def test_a_command_runs_with_its_streams_and_its_exit_status(client: Ssh) -> None:
    data = random.Random(2).randbytes(5 << 20)
    result = client("ssh", HOST, "cat; echo some trouble >&2; exit 42", input=data)
    assert result.returncode == 42
    assert result.stderr == b"some trouble\n"
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()


def test_scp_copies_a_file_there_and_back(client: Ssh, stage: Stage) -> None:
    data = random.Random(3).randbytes(5 << 20)
    original, there, back = (str(stage.directory / name) for name in ("original", "there", "back"))
    Path(original).write_bytes(data)
    client("scp", original, f"{HOST}:{there}", check=True)
    client("scp", f"{HOST}:{there}", back, check=True)
    assert Path(there).read_bytes() == data
    assert Path(back).read_bytes() == data


SESSIONS = {
    "nothing": ("true", b""),
    "an exit status": ("exit 0", b"ignored"),
    "last words": ("head -c 3000000 /dev/zero", b""),
    "much input": ("cat > /dev/null", bytes(3_000_000)),
    "both": ("cat", bytes(3_000_000)),
    "a terminal": ("-tt true", b""),
}


@pytest.mark.parametrize("session", SESSIONS)
def test_the_end_of_a_session_is_an_orderly_end_for_everybody(
    client: Ssh, server: Daemon, sshd: Sshd, session: str
) -> None:
    """ssh signals SIGHUP to its ProxyCommand right after its last words."""
    command, given = SESSIONS[session]
    for _ in range(3):
        result = client("ssh", HOST, *command.split(), input=given)
        assert result.returncode == 0, result.stderr
        if session == "last words":
            assert len(result.stdout) == 3_000_000
        if session == "both":
            assert result.stdout == given
    ended = "isconnected from "  # Disconnected from, Received disconnect from
    wait_until(lambda: sshd.program.said.count(ended) >= 3, "sshd has taken notice")
    assert "connection" not in server.said
    assert not re.search("reset by peer|Read error", sshd.program.said)


def test_a_connection_that_others_share_ends_in_order(
    client: Ssh, server: Daemon, stage: Stage
) -> None:
    """ControlMaster: the pipe outlives the command that it was made for."""
    socket = str(stage.directory / "control")
    shared = [f"-oControlPath={socket}", "-oControlMaster=auto", "-oControlPersist=60"]
    for _ in range(3):
        client("ssh", *shared, HOST, "true", check=True, stderr=subprocess.DEVNULL, **NO_CAPTURE)
    client("ssh", *shared, "-O", "exit", HOST, check=True)
    wait_until(lambda: not Path(socket).exists(), "the master has left")

    def has_ended() -> bool:
        server.signal(signal.SIGUSR1)
        return "0 connections now, 1 accepted" in server.said

    wait_until(has_ended, "the connection has ended")
    assert "connection from" not in server.said


def test_a_wrong_key_keeps_ssh_out(client: Ssh, stage: Stage) -> None:
    Path(stage.key).write_bytes(b"another")  # the daemon has read the old one
    result = client("ssh", HOST, "true")
    assert result.returncode == 255
    assert b"spipe: Handshake failed" in result.stderr
