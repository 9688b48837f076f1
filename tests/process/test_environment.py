"""Variables and modules that were meant for other programs do not concern ours."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.daemons import Stage, is_echoed, ours, wait_until
from tests.helpers import lack
from tests.process.programs import write_program

# Modules of somebody else's project that have the names of those that ours need
FOREIGN = ("socket", "select", "selectors", "signal", "json", "enum", "spiped", "encodings")

# of which an interpreter that does not run isolated imports these before it comes to a program
STARTUP = ("spiped", "encodings", "enum")

# What terminals of other programs with a Python in them leave in the environment, or a developer
VARIABLES = {
    "PYTHONHOME": "{foreign}",
    "PYTHONPATH": "{foreign}",
    "PYTHONSTARTUP": "{foreign}/socket.py",
    "PYTHONINSPECT": "1",
    "PYTHONUSERBASE": "{foreign}",
    "PYTHONPLATLIBDIR": "foreign",
    "PYTHONPYCACHEPREFIX": "/dev/null",
    "PYTHONWARNINGS": "error",
    "PYTHONDEVMODE": "1",
    "PYTHONVERBOSE": "1",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONTRACEMALLOC": "10",
    "PYTHONMALLOCSTATS": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONIOENCODING": "utf-16",
    "PYTHONUTF8": "1",
    "LC_ALL": "no_SUCH.locale",
    "TMPDIR": "/nowhere",
    "HOME": "/nowhere",
}

# Those that change what an interpreter does before it comes to a program that does not run isolated
LEFT = {
    "PYTHONHOME",
    "PYTHONPLATLIBDIR",
    "PYTHONDEVMODE",
    "PYTHONVERBOSE",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONMALLOCSTATS",
}


@pytest.fixture
def foreign(stage: Stage) -> Path:
    """A directory with modules that end whoever imports them."""
    place = stage.directory / "foreign"
    place.mkdir()
    for name in FOREIGN:
        (place / f"{name}.py").write_text(f"raise SystemExit('the wrong {name} was imported')\n")
    for version in ("3.10", "3.11", "3.12", "3.13"):
        site = place / "lib" / f"python{version}" / "site-packages"
        site.mkdir(parents=True)
        (site / "usercustomize.py").write_text("raise SystemExit('usercustomize was imported')\n")
        (site / "socket.py").symlink_to(place / "socket.py")
    return place


def programs(stage: Stage, foreign: Path, kind: str) -> tuple[str, str]:
    """`spiped` and `spipe`: as `make` writes them, or as a plain script."""
    if kind == "isolated":
        return ours("spiped"), ours("spipe")
    for name in STARTUP:
        (foreign / f"{name}.py").unlink()
    names = ("spiped", "spipe")
    spiped, spipe = (write_program(stage.directory / name, name=name) for name in names)
    return spiped, spipe


def check(stage: Stage, spiped: str, spipe: str, **how: object) -> None:
    """Both programs work, and say nothing."""
    server = stage.spiped("-d", stage.echo().address, "--workers", "1", program=spiped, **how)
    words = [spipe, "-t", server.source, "-k", stage.key]
    result = stage.run(*words, input=b"hello", **how)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello", b"")
    server.end()
    assert server.said == ""


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("kind", ["isolated", "plain"])
def test_a_leaked_variable_does_not_matter(
    stage: Stage, foreign: Path, kind: str, variable: str
) -> None:
    if kind == "plain" and variable in LEFT:
        pytest.skip("the interpreter heeds it before it comes to our program (see the manual)")
    stage.env[variable] = VARIABLES[variable].format(foreign=foreign)
    check(stage, *programs(stage, foreign, kind))


@pytest.mark.parametrize("kind", ["isolated", "plain"])
def test_an_empty_environment_is_enough(stage: Stage, foreign: Path, kind: str) -> None:
    spiped, spipe = programs(stage, foreign, kind)
    source = stage.address()
    words = ["-d", "-s", source, "-t", stage.echo().address, "-k", stage.key]
    pid_file = str(stage.directory / "pid")
    subprocess.run([spiped, *words, "-p", pid_file], env={}, check=True, cwd=stage.directory)
    server = stage.adopt(Path(pid_file), source)
    client = [spipe, "-t", server.source, "-k", stage.key]
    result = subprocess.run(client, env={}, input=b"hello", capture_output=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello", b"")


@pytest.mark.parametrize("kind", ["isolated", "plain"])
@pytest.mark.parametrize("place", ["current directory", "beside the program", "both"])
def test_modules_that_lie_about_are_not_ours(
    stage: Stage, foreign: Path, kind: str, place: str
) -> None:
    found = programs(stage, foreign, kind)
    how: dict[str, object] = {}
    if place != "beside the program":
        how["cwd"] = foreign
        stage.env["PYTHONPATH"] = ":".join(["", ".", str(foreign)])
    if place != "current directory":
        for path in found:
            shutil.copy(path, foreign)
        found = str(foreign / "spiped"), str(foreign / "spipe")
    check(stage, *found, **how)


def test_a_reload_and_an_upgrade_import_nothing_foreign(stage: Stage, foreign: Path) -> None:
    stage.env |= {"PYTHONPATH": str(foreign), "PYTHONHOME": str(foreign)}
    log = stage.directory / "log"
    server = stage.spiped(
        "-d", stage.echo().address, "--workers", "1", "--log-file", str(log), cwd=foreign
    )
    client = stage.spiped("-e", server.source)
    for number, text in ((signal.SIGHUP, "Reloaded: "), (signal.SIGUSR2, "Upgraded: ")):
        server.signal(number)
        wait_until(lambda text=text: text in log.read_text(), text)
        assert is_echoed(client.source)


# A library that sends connections elsewhere, as proxychains does

REDIRECT = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	struct sockaddr_in other = *(const struct sockaddr_in *)address;

	if (other.sin_family == AF_INET) {
		other.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		other.sin_port = htons(PROXY);
	}
	return (int)syscall(SYS_connect, fd, &other, length);
}
"""


@pytest.mark.parametrize("more", [[], ["--no-sandbox"]], ids=["", "no sandbox"])
def test_a_preloaded_library_that_sends_connections_elsewhere_needs_no_sandbox(
    stage: Stage, more: list[str]
) -> None:
    if shutil.which("cc") is None:
        lack("there is no C compiler")
    server = stage.spiped("-d", stage.echo().address)
    port = server.source.rpartition(":")[2]
    library = stage.directory / "redirect.so"
    source = stage.write("redirect.c", REDIRECT.encode())
    flags = ["-shared", "-fPIC", f"-DPROXY={port}", "-o", str(library)]
    stage.run("cc", source, *flags, check=True)
    stage.env["LD_PRELOAD"] = str(library)
    words = [ours("spipe"), "-t", "[192.0.2.1]:9", "-k", stage.key, *more]
    result = stage.run(*words, input=b"hello", text=False)
    if more:
        assert (result.returncode, result.stdout, result.stderr) == (0, b"hello", b"")
    elif b"Permission denied" in result.stderr:  # there is Landlock for ports here
        assert (result.returncode, result.stdout) == (1, b"")
