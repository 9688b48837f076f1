"""The use that spiped is best known for: ssh through spipe, to an sshd that only spiped reaches."""

from __future__ import annotations

import getpass
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.daemons import Stage, is_listening, needs, ours, wait_until

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


@pytest.fixture
def sshd(stage: Stage) -> str:
    """An sshd of our own, which lets us in with user_key; its address."""
    sshd, keygen = needs("sshd"), needs("ssh-keygen")
    for name in ("host_key", "user_key"):
        key = str(stage.directory / name)
        stage.run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", key, check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it imprisons its unprivileged child
    address = stage.address()
    text = CONFIGURATION.format(address=address, directory=stage.directory)
    stage.start(sshd, "-D", "-e", "-f", stage.write("sshd_config", text.encode()))
    wait_until(lambda: is_listening(address), "sshd listens")
    return address


@pytest.fixture
def client(stage: Stage, sshd: str) -> Ssh:
    """Runs a program of ssh's, with what it needs to reach that sshd through a pipe of ours."""
    server = stage.spiped("-d", sshd)
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


def test_a_wrong_key_keeps_ssh_out(client: Ssh, stage: Stage) -> None:
    Path(stage.key).write_bytes(b"another")  # the daemon has read the old one
    result = client("ssh", HOST, "true")
    assert result.returncode == 255
    assert b"spipe: Handshake failed" in result.stderr
