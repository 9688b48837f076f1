"""Service managers, each with what it takes to have it run pipes in a directory of the test.

All of them offer the same, so the tests of what a service is to do run over all.
"""

from __future__ import annotations

import grp
import os
import pwd
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.daemons import Stage, family_of, is_gone, needs, ours, wait_until
from tests.helpers import ROOT

INIT = ROOT / "init"


class Pipe(NamedTuple):
    """The settings of a pipe: one with -d."""

    name: str
    source: str
    target: str
    key: str
    options: str = "--workers 1"


class System:
    """A service manager."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.directory = stage.directory / "system"
        self.run_directory = self.directory / "run"
        self.run_directory.mkdir(parents=True)
        self.log = self.directory / "log"
        self.stop_seconds = 60  # that connections have to come to their end; for `configure`
        self.run_as = ""  # a user; if none, root; for `configure`

    def configure(self, pipe: Pipe) -> None:
        """Write the settings of a pipe, in place of what there was under its name."""
        raise NotImplementedError

    def do(self, action: str, name: str) -> subprocess.CompletedProcess[bytes]:
        """Start, stop, restart, reload, or ask for the status of, a pipe."""
        raise NotImplementedError

    def pid_file(self, name: str) -> Path:
        return self.run_directory / f"{name}.pid"

    def pid(self, name: str) -> int:
        return int(self.pid_file(name).read_text())

    def close(self) -> None:
        """End whatever still runs."""
        for path in self.run_directory.glob("*.pid"):
            with suppress(ValueError):
                end(family_of(int(path.read_text())))

    def options(self, pipe: Pipe) -> str:
        return f"{pipe.options} --log-file {self.log}"


def end(pids: Iterable[int]) -> None:
    """End processes at once, and wait until they are gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, pids)), f"{pids} are gone")


def variables(**values: object) -> str:
    """Settings as sh reads them."""
    return "".join(f'{name}="{value}"\n' for name, value in values.items())


class SysV(System):
    """init/sysvinit/spiped, with start-stop-daemon."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.conf_directory = self.directory / "conf"
        self.conf_directory.mkdir()
        self.defaults = self.directory / "defaults"
        self.tools = self.find_tools()

    def find_tools(self) -> dict[str, object]:
        """Settings that say what the script finds on its PATH."""
        needs("start-stop-daemon")
        return {}

    def configure(self, pipe: Pipe) -> None:
        self.defaults.write_text(
            variables(
                DAEMON=ours("spiped"),
                CONF_DIR=self.conf_directory,
                RUN_DIR=self.run_directory,
                RUN_AS=self.run_as,
                STOP_SECONDS=self.stop_seconds,
                **self.tools,
            )
        )
        (self.conf_directory / f"{pipe.name}.conf").write_text(
            variables(
                MODE="-d",
                SOURCE=pipe.source,
                TARGET=pipe.target,
                KEY=pipe.key,
                OPTIONS=self.options(pipe),
            )
        )

    def do(self, action: str, *names: str) -> subprocess.CompletedProcess[bytes]:
        self.stage.env["SPIPED_DEFAULTS"] = str(self.defaults)
        return self.stage.run(needs("dash"), str(INIT / "sysvinit" / "spiped"), action, *names)


class PlainSysV(SysV):
    """init/sysvinit/spiped, where there is no start-stop-daemon."""

    def find_tools(self) -> dict[str, object]:
        path = self.directory / "bin"
        path.mkdir()
        for tool in ("basename", "cat", "date", "mkdir", "rm", "sleep"):
            (path / tool).symlink_to(needs(tool))
        return {"PATH": path}


class OpenRC(System):
    """init/openrc/spiped under the real openrc-run.

    That keeps its state in a directory with a fixed name, so it runs where this is the test's own.
    """

    STATE = "daemons exclusive failed inactive options started starting stopping wasinactive tmp"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        needs("openrc-run")
        self.init_directory = self.directory / "init.d"
        self.conf_directory = self.directory / "conf.d"
        self.init_directory.mkdir()
        self.conf_directory.mkdir()
        script = self.init_directory / "spiped"
        script.write_bytes((INIT / "openrc" / "spiped").read_bytes())
        script.chmod(0o755)
        self._namespace = stage.start("unshare", "--mount", "cat", stdin=subprocess.PIPE)
        wait_until(self._is_there, "the namespace is there")
        prepared = self._inside(
            "sh",
            "-c",
            "mount -t tmpfs tmpfs /run && mkdir /run/openrc && cd /run/openrc && "
            f"mkdir {self.STATE} && touch softlevel",
        )
        assert prepared.returncode == 0, prepared.stderr

    def _is_there(self) -> bool:
        if self._namespace.process.poll() is not None:
            pytest.skip(f"no mount namespace for us: {self._namespace.said}")
        comm = Path(f"/proc/{self._namespace.pid}/comm").read_text()
        return comm.strip() == "cat"

    def _inside(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return self.stage.run("nsenter", f"--mount=/proc/{self._namespace.pid}/ns/mnt", *words)

    def configure(self, pipe: Pipe) -> None:
        link = self.init_directory / f"spiped.{pipe.name}"
        if not link.is_symlink():
            link.symlink_to("spiped")
        (self.conf_directory / link.name).write_text(
            variables(
                MODE="-d",
                SOURCE=pipe.source,
                TARGET=pipe.target,
                KEY=pipe.key,
                OPTIONS=self.options(pipe),
                DAEMON=ours("spiped"),
                RUN_DIR=self.run_directory,
                RUN_AS=self.run_as,
                STOP_SECONDS=self.stop_seconds,
            )
        )

    def do(self, action: str, name: str) -> subprocess.CompletedProcess[bytes]:
        return self._inside(str(self.init_directory / f"spiped.{name}"), action)


class FreeBSD(System):
    """init/freebsd/spiped, with what it uses of rc.subr."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.rc_conf = self.directory / "rc.conf"
        self.script = self.directory / "spiped"
        text = (INIT / "freebsd" / "spiped").read_text()
        library = str(Path(__file__).parent / "rc.subr")
        assert "\n. /etc/rc.subr\n" in text
        self.script.write_text(text.replace("/etc/rc.subr", library))
        self.pipes: dict[str, Pipe] = {}

    def configure(self, pipe: Pipe, enable: str = "YES") -> None:
        self.pipes[pipe.name] = pipe
        settings: dict[str, object] = {
            "spiped_enable": enable,
            "spiped_pipes": " ".join(self.pipes),
            "spiped_uid": self.run_as or "root",
            "spiped_gid": grp.getgrgid(pwd.getpwnam(self.run_as or "root").pw_gid).gr_name,
            "spiped_program": ours("spiped"),
            "spiped_rundir": self.run_directory,
            "spiped_stop_timeout": self.stop_seconds,
        }
        for name, each in self.pipes.items():
            prefix = f"spiped_pipe_{name}_"
            settings[prefix + "mode"] = "decrypt"
            settings[prefix + "source"] = each.source
            settings[prefix + "target"] = each.target
            settings[prefix + "key"] = each.key
            settings[prefix + "flags"] = self.options(each)
        self.rc_conf.write_text(variables(**settings))

    def do(self, action: str, *names: str) -> subprocess.CompletedProcess[bytes]:
        self.stage.env["RC_CONF"] = str(self.rc_conf)
        return self.stage.run(needs("dash"), str(self.script), action, *names)

    def pid_file(self, name: str) -> Path:
        return self.run_directory / f"spiped_{name}.pid"
