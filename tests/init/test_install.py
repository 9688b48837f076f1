"""Installing: what goes where, and what the programs are like that run there.

These tests read what `make` would do; tests/acceptance does it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spiped.options.completions import PLACES as PLACES_OF_COMPLETIONS
from tests.daemons import Stage, needs
from tests.helpers import ROOT

PROGRAMS = ("spiped", "spipe", "spipedctl", "spiped-top")

# What is said to make, and where things go then
PLACES = {
    "nothing": ("", "/usr/local/bin", "/usr/local/lib/spiped", "/usr/local/share/man/man1"),
    "a prefix": ("PREFIX=/usr", "/usr/bin", "/usr/lib/spiped", "/usr/share/man/man1"),
    "programs": ("BINDIR=/opt/bin", "/opt/bin", "/opt/lib/spiped", "/usr/local/share/man/man1"),
    "programs and manuals": (
        "BINDIR=/opt/x/bin MAN1DIR=/opt/x/man",
        "/opt/x/bin",
        "/opt/x/lib/spiped",
        "/opt/x/man",
    ),
    "all manuals": ("MANDIR=/m", "/usr/local/bin", "/usr/local/lib/spiped", "/m/man1"),
    "a library": ("LIBDIR=/l", "/usr/local/bin", "/l", "/usr/local/share/man/man1"),
}

STAGED = [None, "/stage", "/a stage with blanks", "relative"]


def share_of(what: str) -> str:
    """Where the completions of shells go then, which no variable of these tests changes."""
    return "/usr/share" if what == "a prefix" else "/usr/local/share"


def told(target: str, *variables: str) -> list[str]:
    """The words of the commands that make would execute."""
    words = [needs("make"), "--no-print-directory", "-n", target, *variables]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return shlex.split(done.stdout.replace("\\\n", " "))


@pytest.mark.parametrize("staged", STAGED)
@pytest.mark.parametrize("what", PLACES)
def test_everything_goes_where_it_was_told_to(what: str, staged: str | None) -> None:
    variables, *places = PLACES[what]
    destination = [] if staged is None else [f"DESTDIR={staged}"]
    words = told("install", *variables.split(), *destination)
    programs, library, manuals = ((staged or "") + place for place in places)
    assert words[words.index("mkdir") + 1 :][:4] == ["-p", library, programs, manuals]
    assert words[words.index("--target") + 1] == f"{library}.new"
    assert f"directory={programs}" in words
    assert f"library={places[1]}" in words  # where the programs will look for it
    assert words[words.index("install") + 1 :][-1] == manuals
    pages = [f"man/{program}.1" for program in PROGRAMS]
    assert words[-6:] == ["644", *pages, manuals]
    assert f"directory={(staged or '') + share_of(what)}" in words  # the completions
    absolute = [word for word in words if word.startswith("/usr/local")]
    assert staged is None or not absolute


@pytest.mark.parametrize("staged", STAGED)
@pytest.mark.parametrize("what", PLACES)
def test_what_was_installed_is_removed_and_nothing_else(what: str, staged: str | None) -> None:
    variables, *places = PLACES[what]
    destination = [] if staged is None else [f"DESTDIR={staged}"]
    words = told("uninstall", *variables.split(), *destination)
    programs, library, manuals = ((staged or "") + place for place in places)
    files = [f"{programs}/{program}" for program in PROGRAMS]
    files += [f"{manuals}/{program}.1" for program in PROGRAMS]
    share = (staged or "") + share_of(what)
    for place in PLACES_OF_COMPLETIONS.values():
        files += [f"{share}/{place.format(program)}" for program in PROGRAMS]
    assert [word for word in words if word not in ("rm", "-rf", "-f")] == [library, *files]


def test_another_python_gets_another_environment(tmp_path: Path) -> None:
    """Although there is one: the interpreter of that is written down."""
    for name in ("Makefile", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "_native").mkdir()
    (tmp_path / "spiped").mkdir()
    (tmp_path / "spiped" / "__init__.py").touch()
    environment = tmp_path / ".venv"
    environment.mkdir()
    (environment / "interpreter").write_text("/another/python3\n")
    (environment / "ready").touch()
    (environment / "kept").touch()
    make = [needs("make"), "-C", str(tmp_path), ".venv/interpreter"]
    subprocess.run(make, check=True, capture_output=True)
    assert (environment / "kept").exists()  # nobody has asked for another
    subprocess.run([*make, f"PYTHON={sys.executable}"], check=True, capture_output=True)
    assert (environment / "interpreter").read_text() == f"{sys.executable}\n"
    assert not (environment / "kept").exists()
    refused = subprocess.run([*make, "PYTHON=no-such-python"], capture_output=True, text=True)
    assert refused.returncode != 0
    assert "There is no no-such-python" in refused.stderr


# The programs


def write(directory: Path, *words: str) -> Path:
    """What init/program.py makes, in this directory; returns `spipe`."""
    command = [sys.executable, str(ROOT / "init" / "program.py"), f"directory={directory}", *words]
    subprocess.run(command, check=True)
    return directory / "spipe"


@pytest.mark.parametrize(
    "place", ["bin", "a place with blanks", "long" * 40, "quotes ' and \" and $HOME"]
)
def test_a_program_finds_its_interpreter_wherever_that_is(stage: Stage, place: str) -> None:
    directory = stage.directory / place
    directory.mkdir()
    interpreter = directory / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    interpreter.chmod(0o755)
    program = write(directory, f"interpreter={interpreter}")
    result = stage.run(str(program), "-v", text=True)
    assert (result.returncode, result.stdout) == (0, "")
    assert re.fullmatch(r"spipe \d+\.\d+\.\d+\n", result.stderr)
    for name in PROGRAMS:
        assert (directory / name).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("library", ["lib", "a library with blanks", "quotes ' and \""])
def test_a_program_looks_for_modules_in_its_library_alone(stage: Stage, library: str) -> None:
    path = stage.directory / library
    (path / "spiped").mkdir(parents=True)
    (path / "spiped" / "__init__.py").touch()
    (path / "spiped" / "entry.py").write_text(
        "import sys\ndef spipe(): print(sys.path[0], 'site' in sys.modules, sys.flags.isolated)\n"
    )
    stage.env["PYTHONPATH"] = str(ROOT)
    program = write(stage.directory, f"interpreter={sys.executable}", f"library={path}")
    assert stage.run(str(program), text=True).stdout == f"{path} False 1\n"


def test_a_program_replaces_a_link_and_not_what_it_leads_to(stage: Stage) -> None:
    other = Path(stage.write("other", b"another program"))
    (stage.directory / "spipe").symlink_to(other)
    program = write(stage.directory, f"interpreter={sys.executable}")
    assert not program.is_symlink()
    assert other.read_bytes() == b"another program"


# What the README and the unit file promise


def test_the_commands_of_the_readme_make_a_key_on_a_fresh_machine(stage: Stage) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    (script,) = [block for block in blocks if "/dev/urandom" in block]
    etc = stage.directory / "etc"
    etc.mkdir()
    result = stage.run("sh", "-ec", script.replace("/etc/", f"{etc}/"), umask=0)
    assert result.returncode == 0, result.stderr
    (key,) = [path for path in etc.rglob("*") if path.is_file()]
    assert key.stat().st_size == 32
    assert key.stat().st_mode & 0o077 == 0


def test_a_stop_is_spipeds_and_not_the_service_managers() -> None:
    """Connections have an end before systemd kills, which it would count as a failure."""
    unit = (ROOT / "init" / "systemd" / "spiped@.service").read_text()
    limit = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    own = re.search(r"^Environment=.*\bSHUTDOWN_TIMEOUT=(\d+)", unit, re.MULTILINE)
    assert limit is not None
    assert own is not None
    assert "--shutdown-timeout ${SHUTDOWN_TIMEOUT}" in unit
    assert int(own[1]) < int(limit[1])
