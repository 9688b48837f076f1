"""`make install`, as root does it on a hardened machine, and as packagers do it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import run
from tests.daemons import Stage, is_echoed, needs
from tests.process.surroundings import privately
from tests.process.test_identity import USER

pytestmark = pytest.mark.acceptance

AS_USER = ["--reuid", str(USER.pw_uid), "--regid", str(USER.pw_gid), "--clear-groups"]


def for_everybody() -> list[str]:
    """The beginning of a command that a lesser user executes, if we are root."""
    return [needs("setpriv"), *AS_USER] if os.geteuid() == 0 else []


def install(sources: Path, python: str, *variables: str, **how: Any) -> None:
    words = [needs("make"), "install", f"PYTHON={python}", *variables]
    run(*words, cwd=sources, more={"SPIPED_REQUIRE_NATIVE": "1"}, **how)


def check_pipe(stage: Stage, place: Path, spiped: str, *beginning: str) -> None:
    """Both ends of a pipe, which this program is, carry data."""
    key = place / "key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o644)
    how = {"beginning": beginning, "program": spiped, "key": str(key), "cwd": "/"}
    server = stage.spiped("-d", stage.echo().address, **how)
    client = stage.spiped("-e", server.source, **how)
    assert is_echoed(client.source, b"x" * 100_000)
    assert "extension" not in server.said


@pytest.mark.parametrize("umask", [0o027, 0o077])
def test_everybody_can_run_what_was_installed_under_any_umask(
    stage: Stage, place: Path, sources: Path, public_python: str, umask: int
) -> None:
    prefix = place / "usr"
    prefix.mkdir()  # as there is one on any system
    install(sources, public_python, f"PREFIX={prefix}", umask=umask)
    closed = [
        path
        for path in (prefix, *prefix.rglob("*"))
        if not path.is_symlink() and not stat.S_IMODE(path.stat().st_mode) & stat.S_IROTH
    ]
    assert closed == []
    spiped = str(prefix / "bin" / "spiped")
    run(*for_everybody(), spiped, "-v", cwd=Path("/"))
    check_pipe(stage, place, spiped, *for_everybody())
    run(needs("make"), "uninstall", f"PREFIX={prefix}", cwd=sources)
    assert [path for path in prefix.rglob("*") if not path.is_dir()] == []


def test_a_second_installation_replaces_the_first(
    place: Path, sources: Path, public_python: str
) -> None:
    prefix = place / "usr"
    install(sources, public_python, f"PREFIX={prefix}")
    stale = prefix / "lib" / "spiped" / "spiped" / "of_another_version.py"
    stale.touch()
    install(sources, public_python, f"PREFIX={prefix}")
    assert not stale.exists()
    assert not list((prefix / "lib").glob("*.new"))
    run(str(prefix / "bin" / "spipe"), "-v", cwd=place)


def test_what_is_installed_below_destdir_runs_where_it_is_unpacked(
    stage: Stage, place: Path, sources: Path, public_python: str
) -> None:
    staged = place / "a package"
    variables = [f"DESTDIR={staged}", "PREFIX=/opt/spiped-test", "MAN1DIR=/opt/spiped-test/man"]
    install(sources, public_python, *variables)
    assert [path.name for path in staged.iterdir()] == ["opt"]
    unpack = 'mount -t tmpfs -o mode=755 none /opt; cp -a "$1/." /'
    beginning = privately(stage, unpack, str(staged / "opt" / ".."))
    run(*beginning, *for_everybody(), "/opt/spiped-test/bin/spipe", "-v", cwd=Path("/"))
    check_pipe(stage, place, "/opt/spiped-test/bin/spiped", *beginning, *for_everybody())
