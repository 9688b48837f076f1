"""The service scripts, as far as reading them goes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.daemons import Stage, needs
from tests.init.systems import INIT, ROOT

SCRIPTS = {
    "sysvinit": INIT / "sysvinit" / "spiped",
    "openrc": INIT / "openrc" / "spiped",
    "freebsd": INIT / "freebsd" / "spiped",
    "rc.subr": ROOT / "tests" / "init" / "rc.subr",
}

SETTING = re.compile(r"^#?([A-Z_]+)=", re.MULTILINE)

each_script = pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)


@each_script
def test_shellcheck_has_nothing_to_say(stage: Stage, script: Path) -> None:
    checked = stage.run(needs("shellcheck"), str(script))
    assert checked.returncode == 0, checked.stdout.decode()


@pytest.mark.parametrize("shell", ["sh", "dash"])
def test_shellcheck_takes_the_sysvinit_script_for_portable(stage: Stage, shell: str) -> None:
    checked = stage.run(needs("shellcheck"), "-s", shell, str(SCRIPTS["sysvinit"]))
    assert checked.returncode == 0, checked.stdout.decode()


@each_script
def test_the_shell_can_parse_it(stage: Stage, script: Path) -> None:
    parsed = stage.run(needs("dash"), "-n", str(script))
    assert parsed.returncode == 0, parsed.stderr.decode()


@pytest.mark.parametrize("system", ["sysvinit", "openrc", "freebsd"])
def test_what_is_to_be_run_is_executable(system: str) -> None:
    assert SCRIPTS[system].stat().st_mode & 0o111 == 0o111


def test_the_sysvinit_script_tells_insserv_what_it_needs() -> None:
    header = SCRIPTS["sysvinit"].read_text().split("### END INIT INFO")[0]
    fields = dict(re.findall(r"^# ([\w-]+): +(.+)$", header, re.MULTILINE))
    assert fields.keys() >= {
        "Provides",
        "Required-Start",
        "Required-Stop",
        "Default-Start",
        "Default-Stop",
        "Short-Description",
    }


def test_an_operator_learns_one_set_of_settings() -> None:
    """The names in systemd's example are what the unit, sysvinit and OpenRC read."""
    example = set(SETTING.findall((INIT / "systemd" / "example.conf").read_text()))
    assert example == {"MODE", "SOURCE", "TARGET", "KEY", "OPTIONS"}
    unit = (INIT / "systemd" / "spiped@.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert command is not None
    # that one is for systemd alone, which would else end connections by force
    assert set(re.findall(r"\$\{?([A-Z_]+)", command[1])) == example | {"SHUTDOWN_TIMEOUT"}
    confd = set(SETTING.findall((INIT / "openrc" / "spiped.confd").read_text()))
    assert confd > example
    for system in ("sysvinit", "openrc"):
        used = set(re.findall(r"\$\{?([A-Z_]+)", SCRIPTS[system].read_text()))
        assert used > example


def test_the_example_means_to_a_shell_what_it_means_to_systemd(stage: Stage) -> None:
    """Only what both read alike: no expansion, no escapes, no word behind the value."""
    lines = (INIT / "systemd" / "example.conf").read_text().splitlines()
    settings = [line.lstrip("#") for line in lines if SETTING.match(line)]
    assert settings
    for line in settings:
        assert re.fullmatch(r'[A-Z]+=(\S+|"[^"]*")', line)
        assert not set(line) & set("$`\\'")


def test_every_file_is_in_the_readme() -> None:
    readme = (INIT / "README").read_text()
    files = [path for path in INIT.rglob("*") if path.is_file() and path.name != "README"]
    assert files
    for path in files:
        assert str(path.relative_to(INIT)) in readme
