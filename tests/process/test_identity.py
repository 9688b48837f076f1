"""Who the processes are, and what others may learn of them."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import signal
from pathlib import Path

import psutil
import pytest

from tests.daemons import Daemon, Stage, is_echoed, ours, wait_until, without

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def start(stage: Stage, *options: str, **how: object) -> Daemon:
    return stage.spiped("-d", stage.echo().address, "--workers", "2", *options, **how)


def processes(daemon: Daemon) -> list[psutil.Process]:
    wait_until(lambda: len(daemon.workers) == 2, "there are two workers")
    return [psutil.Process(pid) for pid in (daemon.pid, *daemon.workers)]


def somebody() -> pwd.struct_passwd:
    """A user with a group of its own, who is not root."""
    return next(user for user in pwd.getpwall() if user.pw_uid != 0 and user.pw_gid != 0)


def another_group(than: int) -> grp.struct_group:
    return next(group for group in grp.getgrall() if group.gr_gid not in (0, than))


USER = somebody()
GROUP = another_group(USER.pw_gid)

IDENTITIES = {
    USER.pw_name: (USER.pw_uid, USER.pw_gid),  # with its own group, and not root's
    str(USER.pw_uid): (USER.pw_uid, USER.pw_gid),
    f"{USER.pw_name}:{GROUP.gr_name}": (USER.pw_uid, GROUP.gr_gid),
    f"{USER.pw_uid}:{GROUP.gr_gid}": (USER.pw_uid, GROUP.gr_gid),
    f":{GROUP.gr_name}": (0, GROUP.gr_gid),
}


@needs_root
@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
@pytest.mark.parametrize("identity", IDENTITIES)
def test_all_processes_become_whom_they_are_told_to(
    stage: Stage, identity: str, background: bool
) -> None:
    uid, gid = IDENTITIES[identity]
    daemon = start(stage, "-u", identity, background=background)
    for process in processes(daemon):
        assert set(process.uids()) == {uid}
        assert set(process.gids()) == {gid}
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "\nGroups:\t \n" in status  # no supplementary ones
    client = stage.spiped("-e", daemon.source)
    assert is_echoed(client.source)


@needs_root
def test_a_user_whom_nobody_knows_keeps_the_group_and_is_warned(stage: Stage) -> None:
    uid = 54321
    with pytest.raises(KeyError):
        pwd.getpwuid(uid)
    daemon = start(stage, "-u", str(uid))
    assert "Warning: the group is still 0" in daemon.said
    assert all(set(process.uids()) == {uid} for process in processes(daemon))


@needs_root
def test_a_lesser_user_takes_up_a_new_worker_and_leaves_no_stale_pid(stage: Stage) -> None:
    daemon = start(stage, "-u", USER.pw_name, background=True)
    victim = daemon.workers[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in daemon.workers, "the worker is gone")
    client = stage.spiped("-e", daemon.source)
    assert all(set(process.uids()) == {USER.pw_uid} for process in processes(daemon))
    assert is_echoed(client.source)
    daemon.signal(signal.SIGTERM)
    daemon.wait_until_gone()
    assert daemon.pid_file is not None  # which it may not remove from root's directory
    assert not daemon.pid_file.exists() or daemon.pid_file.read_bytes() == b""


@needs_root
def test_a_lesser_user_who_cannot_read_the_key_again_keeps_it(stage: Stage) -> None:
    Path(stage.key).chmod(0o600)
    options = ("-u", USER.pw_name, "--log-file", str(stage.directory / "log"))
    daemon = start(stage, *options, background=True)
    before = daemon.workers
    daemon.signal(signal.SIGHUP)
    log = stage.directory / "log"
    wait_until(lambda: "the old key stays in force" in log.read_text(), "it says so")
    assert "Permission denied" in log.read_text()
    client = stage.spiped("-e", daemon.source)
    assert is_echoed(client.source)
    assert daemon.workers == before


OVERRIDES = ("sys_ptrace", "perfmon", "sys_admin")  # with these, root may look at everything


def may_look_inside(stage: Stage, beginning: list[str], pid: int) -> bool:
    """A process that begins like this one may see what that one has in memory."""
    result = stage.run(*beginning, "cat", f"/proc/{pid}/environ")
    assert result.returncode == 0 or b"Permission denied" in result.stderr
    return result.returncode == 0


def test_no_process_of_the_same_user_may_look_inside(stage: Stage) -> None:
    beginning = without(*OVERRIDES)
    open_one = stage.start(*beginning, "sleep", "1000")
    daemon = start(stage, beginning=beginning)
    assert may_look_inside(stage, beginning, open_one.pid)
    assert not any(may_look_inside(stage, beginning, process.pid) for process in processes(daemon))


def test_no_core_file_can_be_written(stage: Stage) -> None:
    daemon = start(stage)
    for process in processes(daemon):
        assert process.rlimit(resource.RLIMIT_CORE) == (0, 0)


def test_spipe_hides_itself_as_well(stage: Stage) -> None:
    listener = stage.listener()
    words = (ours("spipe"), "-t", listener.address, "-k", stage.key)
    beginning = without(*OVERRIDES)
    spipe = stage.start(*beginning, *words)
    with listener.accept():
        assert psutil.Process(spipe.pid).rlimit(resource.RLIMIT_CORE) == (0, 0)
        assert Path(f"/proc/{spipe.pid}/comm").read_text() == "spipe\n"
        assert not may_look_inside(stage, beginning, spipe.pid)
