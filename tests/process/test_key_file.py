"""The key: the many things that a path can stand for, at the start and at a reload."""

from __future__ import annotations

import os
import shlex
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemons import Daemon, Stage, is_echoed, ours, wait_until

OLD, NEW = b"the key of yesterday: 32 bytes..", b"the key of tomorrow: 32 bytes..."
WORKERS = "1"


@pytest.fixture
def log(stage: Stage) -> Path:
    return stage.directory / "log"


def words(stage: Stage, source: str, key: str, *more: str) -> list[str]:
    target = stage.echo().address
    log = str(stage.directory / "log")
    return ["-d", "-s", source, "-t", target, "-k", key, "--workers", WORKERS, "--log-file", log,
            "-p", str(stage.directory / "pid"), *more]  # fmt: skip


def start(stage: Stage, key: str, script: str = 'exec "$@"', **how: object) -> Daemon:
    """A daemon in the background, started by a script of bash; KEY is a file with the key."""
    source = stage.address()
    stage.env["KEY"] = stage.write("source of the key", OLD)
    command = ["/bin/bash", "-c", script, "bash", ours("spiped"), *words(stage, source, key)]
    result = stage.run(*command, text=True, **how)
    assert (result.returncode, result.stderr) == (0, "")
    return stage.adopt(stage.directory / "pid", source)


def reload(server: Daemon, log: Path) -> str:
    """Reload, and return what the log says about it."""
    before = log.read_text()

    def news() -> str:
        return log.read_text()[len(before) :]

    server.signal(signal.SIGHUP)
    wait_until(lambda: "Reloaded: " in news() or "Reload failed: " in news(), "it has reloaded")
    return news()


def upgrade(server: Daemon, log: Path) -> str:
    before = log.read_text()

    def news() -> str:
        return log.read_text()[len(before) :]

    server.signal(signal.SIGUSR2)
    wait_until(lambda: "Reloaded: " in news() or "pgrade failed: " in news(), "it has upgraded")
    return news()


def is_served(stage: Stage, server: Daemon, key: bytes) -> bool:
    """Whoever has this key is served."""
    client = stage.spiped("-e", server.source, key=stage.write("client's key", key))
    try:
        return is_echoed(client.source)
    finally:
        client.end()


# Streams: what they gave once stays

STREAMS = {
    "dash": ("-", 'exec "$@" < "$KEY"'),
    "stdin": ("/dev/stdin", 'exec "$@" < "$KEY"'),
    "stdin, a pipe": ("/dev/stdin", 'cat "$KEY" | "$@"'),
    "fd": ("/dev/fd/7", 'exec "$@" 7< "$KEY"'),
    "fd, a pipe": ("/dev/fd/7", 'exec "$@" 7< <(cat "$KEY")'),
    "proc": ("/proc/self/fd/7", 'exec "$@" 7< "$KEY"'),
    "thread": ("/proc/thread-self/fd/7", 'exec "$@" 7< "$KEY"'),
    "a crooked way": ("/dev/../dev/./fd//7", 'exec "$@" 7< "$KEY"'),
    "a link": ("link", 'ln -s /dev/stdin link; exec "$@" < "$KEY"'),
    "a link to a link": (
        "link2",
        'ln -s fd/7 link; ln -s link link2; ln -s /dev/fd fd; exec "$@" 7< "$KEY"',
    ),
    "a named pipe": ("fifo", 'mkfifo fifo; cat "$KEY" > fifo & exec "$@"'),
    "a link to a named pipe": (
        "link",
        'mkfifo fifo; ln -s fifo link; cat "$KEY" > fifo & exec "$@"',
    ),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_a_key_from_a_stream_stays(stage: Stage, log: Path, kind: str) -> None:
    path, script = STREAMS[kind]
    server = start(stage, path, script)
    assert "Reloaded: " in reload(server, log)
    assert "failed" not in upgrade(server, log)
    assert "Reloaded: " in reload(server, log)
    assert is_served(stage, server, OLD)


def test_a_key_from_a_process_substitution_stays(stage: Stage, log: Path) -> None:
    source = stage.address()
    command = [ours("spiped"), *words(stage, source, "KEYPATH")]
    line = shlex.join(command).replace("KEYPATH", '<(cat "$KEY")')
    stage.env["KEY"] = stage.write("source of the key", OLD)
    stage.run("/bin/bash", "-c", line, check=True)
    server = stage.adopt(stage.directory / "pid", source)
    assert "Reloaded: " in reload(server, log)
    assert "failed" not in upgrade(server, log)
    assert is_served(stage, server, OLD)


# Files: what is there counts


def by_name(path: Path, key: bytes) -> None:
    new = path.with_name("new")
    new.write_bytes(key)
    new.rename(path)


def by_content(path: Path, key: bytes) -> None:
    path.write_bytes(key)


@pytest.mark.parametrize("change", [by_name, by_content])
def test_a_new_file_and_new_content_are_a_new_key(
    stage: Stage, log: Path, change: Callable[[Path, bytes], None]
) -> None:
    key = Path(stage.write("key", OLD))
    server = start(stage, str(key))
    change(key, NEW)
    assert "Reloaded: " in reload(server, log)
    assert is_served(stage, server, NEW)
    assert not is_served(stage, server, OLD)


def test_links_are_followed_anew_at_each_reload(stage: Stage, log: Path) -> None:
    """As a secret that Kubernetes has mounted changes: a directory's link is replaced."""
    mount = stage.directory / "mount"
    for name, key in (("..1", OLD), ("..2", NEW)):
        (mount / name).mkdir(parents=True)
        (mount / name / "key").write_bytes(key)
    (mount / "..data").symlink_to("..1")
    (mount / "key").symlink_to("..data/key")
    server = start_with_public_key(stage, str(mount / "key"))
    (mount / "..data_tmp").symlink_to("..2")
    (mount / "..data_tmp").rename(mount / "..data")
    assert "Reloaded: " in reload(server, log)
    assert is_served(stage, server, NEW)


def start_with_public_key(stage: Stage, key: str) -> Daemon:
    source = stage.address()
    result = stage.run(ours("spiped"), *words(stage, source, key), text=True)
    assert result.returncode == 0
    assert result.stderr == (
        f"spiped: Warning: everybody on this machine may read the key file (chmod o-r): {key}\n"
    )
    return stage.adopt(stage.directory / "pid", source)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def socket_file(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def huge(path: Path) -> None:
    os.truncate(path, (64 << 20) + 1)


MISTAKES = {
    Path.unlink: "Cannot open file: {key}: No such file or directory",
    empty: "Error reading file: {key}: the file is empty",
    directory: "Error reading file: {key}: no longer a regular file",
    socket_file: "Cannot open file: {key}: No such device or address",
    fifo: "Error reading file: {key}: no longer a regular file",
    device: "Error reading file: {key}: no longer a regular file",
    loop: "Cannot open file: {key}: Too many levels of symbolic links",
    huge: "Error reading file: {key}: larger than 64 MiB",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda function: function.__name__)
def test_a_mistake_leaves_the_old_key_in_force_until_it_is_mended(
    stage: Stage, log: Path, mistake: Callable[[Path], None]
) -> None:
    key = Path(stage.write("key", OLD))
    server = start(stage, str(key))
    mistake(key)
    said = reload(server, log)
    reason = f"Error reading shared secret: {MISTAKES[mistake].format(key=key)}"
    assert said.endswith(f"spiped: Reload failed: the old key stays in force ({reason})\n")
    assert "Upgrade failed: nothing has changed" in upgrade(server, log)
    assert is_served(stage, server, OLD)
    if key.is_dir():
        key.rmdir()
    key.unlink(missing_ok=True)
    key.write_bytes(NEW)
    key.chmod(0o600)
    assert "Reloaded: " in reload(server, log)
    assert is_served(stage, server, NEW)


def test_a_key_may_be_as_large_as_64_mib(stage: Stage, log: Path) -> None:
    key = Path(stage.write("key", b"k"))
    os.truncate(key, 64 << 20)
    server = start(stage, str(key))
    assert "Reloaded: " in reload(server, log)


@pytest.mark.parametrize(
    ("content", "mode", "warning"),
    [
        (b"", 0o600, "Warning: the key file is empty: {key}"),
        (
            b"k" * 31,
            0o600,
            "Warning: the key file has only 31 bytes; 32 random bytes are needed: {key}",
        ),
        (OLD, 0o604, "Warning: everybody on this machine may read the key file (chmod o-r): {key}"),
        (OLD, 0o640, ""),
    ],
    ids=["empty", "short", "public", "good"],
)
@pytest.mark.parametrize("program", ["spiped", "spipe"])
def test_a_key_that_is_no_good_one_is_said_at_the_start(
    stage: Stage, program: str, content: bytes, mode: int, warning: str
) -> None:
    key = Path(stage.write("key", content))
    key.chmod(mode)
    more = ["-d", "-s", "[127.0.0.1:1"] if program == "spiped" else []
    result = stage.run(ours(program), *more, "-t", "[127.0.0.1]:1", "-k", str(key), text=True)
    said = [line for line in result.stderr.splitlines() if "Warning: " in line]
    assert said == ([f"{program}: {warning.format(key=key)}"] if warning else [])


def test_what_becomes_worse_is_said_at_the_reload(stage: Stage, log: Path) -> None:
    key = Path(stage.write("key", OLD))
    server = start(stage, str(key))
    key.write_bytes(b"short")
    key.chmod(0o644)
    said = reload(server, log)
    assert f"Warning: the key file has only 5 bytes; 32 random bytes are needed: {key}\n" in said
    assert f"Warning: everybody on this machine may read the key file (chmod o-r): {key}\n" in said
    assert is_served(stage, server, b"short")
