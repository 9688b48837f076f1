"""Mistakes of the operator: each ends the program with status 1 and a message, and leaves nothing
behind: no process, no listening socket, no file.
"""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.daemons import Stage, is_listening, needs, ours, wait_until, without

in_either_way = pytest.mark.parametrize("way", [["-F"], []], ids=["foreground", "background"])


WITHOUT_OVERRIDES = ("dac_override", "dac_read_search")


def processes_of(stage: Stage) -> set[int]:
    """All processes that have something of the stage's directory in their command lines."""
    return {
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(stage.directory) in word for word in process.info["cmdline"] or ())
    }


def refusal(
    stage: Stage, *words: str, beginning: tuple[str, ...] | list[str] = (), **options: str
) -> list[str]:
    """What `spiped` says when it refuses these words; options replace those of a good command."""
    pid_file = str(stage.directory / "pid")
    good = {"s": stage.address(), "t": "[127.0.0.1]:1", "k": stage.key, "p": pid_file}
    named = [word for name, value in (good | options).items() for word in (f"-{name}", value)]
    files, processes = set(stage.directory.iterdir()), processes_of(stage)
    result = stage.run(*beginning, ours("spiped"), "-e", *named, *words, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    wait_until(lambda: processes_of(stage) <= processes, "no process is left")
    assert "s" in options or not is_listening(good["s"])
    assert set(stage.directory.iterdir()) == files
    lines = result.stderr.splitlines()
    assert all(line.startswith("spiped: ") for line in lines)
    return [line.removeprefix("spiped: ") for line in lines]


# The key

BAD_KEYS = {
    "absent": "Cannot open file: absent: No such file or directory",
    "/": "Error reading file: /: Is a directory",
    "": "Cannot open file: : No such file or directory",
    "/dev/zero": "Error reading file: /dev/zero: larger than 64 MiB",
}


@in_either_way
@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_file_that_cannot_be_read(stage: Stage, key: str, way: list[str]) -> None:
    assert refusal(stage, *way, k=key) == [BAD_KEYS[key], "Error reading shared secret"]


def test_a_key_file_of_somebody_else(stage: Stage) -> None:
    Path(stage.key).chmod(0)
    assert refusal(stage, "-F", beginning=without(*WITHOUT_OVERRIDES)) == [
        f"Cannot open file: {stage.key}: Permission denied",
        "Error reading shared secret",
    ]


def test_a_key_from_a_closed_standard_input(stage: Stage) -> None:
    said = refusal(stage, "-F", beginning=["/bin/sh", "-c", 'exec "$0" "$@" <&-'], k="-")
    assert said[-1] == "Error reading shared secret"


# Addresses that cannot be

TOO_LONG = "/" + 107 * "x"

BAD_ADDRESSES = {
    TOO_LONG: f"socket path too long: {TOO_LONG}",
    "[127.0.0.1:80": "Invalid [IP address]: [127.0.0.1:80",
    "[127.0.0.1]80": "Address must contain port number: [127.0.0.1]80",
    "[127.1]:80": "Error parsing IP address: 127.1",
    "[]:80": "Error parsing IP address: ",
    "[localhost]:80": "Error parsing IP address: localhost",
    "[256.0.0.1]:80": "Error parsing IP address: 256.0.0.1",
    "[fe80::1%lo]:80": "Error parsing IP address: fe80::1%lo",
    "[:::1]:80": "Error parsing IP address: :::1",
    "[127.0.0.1]:": "Invalid port number: ",
    "[127.0.0.1]:65536": "Invalid port number: 65536",
    "[127.0.0.1]:-1": "Invalid port number: -1",
    "[127.0.0.1]:0x50": "Invalid port number: 0x50",
    "[127.0.0.1]:http": "Invalid port number: http",
    "[127.0.0.1]:80x": "Invalid port number: 80x",
    "127.0.0.1:65536": "Invalid port number: 65536",
    "127.0.0.1:no-service": "Error looking up 127.0.0.1: Servname not supported for ai_socktype",
    "two..dots:80": "Error looking up two..dots: Name or service not known",
}

BAD_WITHOUT_PORT = {  # but good for -b
    "[127.0.0.1]": "Address must contain port number: [127.0.0.1]",
    "[127.0.0.1]:0": "Invalid port number: 0",
    "localhost": "Address must contain port number: localhost",
    "relative/path": "Address must contain port number: relative/path",
}


def says_of(address: str) -> list[str]:
    """What is to be said about an address that cannot be."""
    reasons = BAD_ADDRESSES | BAD_WITHOUT_PORT
    return [reasons[address], f"Error resolving socket address: {address}"]


@pytest.mark.parametrize("address", BAD_ADDRESSES | BAD_WITHOUT_PORT)
def test_a_target_address_that_cannot_be(stage: Stage, address: str) -> None:
    assert refusal(stage, "-F", t=address) == says_of(address)


@in_either_way
@pytest.mark.parametrize("option", ["s", "b"])
@pytest.mark.parametrize("address", ["[127.1]:80", "[127.0.0.1]:http", TOO_LONG])
def test_another_address_that_cannot_be(
    stage: Stage, option: str, address: str, way: list[str]
) -> None:
    assert refusal(stage, *way, **{option: address}) == says_of(address)


@pytest.mark.parametrize("address", BAD_WITHOUT_PORT)
def test_an_address_to_listen_on_needs_a_port(stage: Stage, address: str) -> None:
    assert refusal(stage, "-F", s=address) == says_of(address)


@pytest.mark.parametrize("option", ["s", "t", "b"])
def test_waiting_for_names_does_not_wait_for_what_no_time_will_mend(
    stage: Stage, option: str
) -> None:
    assert refusal(stage, "-D", "-F", **{option: "[127.1]:80"})[-1] == (
        "Error resolving socket address: [127.1]:80"
    )


# Addresses that are not to be had


@in_either_way
@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_an_address_on_which_somebody_listens(stage: Stage, way: list[str], transport: str) -> None:
    listener = stage.listener(transport)
    assert refusal(stage, *way, s=listener.address) == [
        f"Error binding socket: Address already in use ({listener.address})"
    ]
    assert is_listening(listener.address)


def test_a_second_daemon_leaves_the_first_ones_files_alone(stage: Stage) -> None:
    first = stage.spiped("-e", "[127.0.0.1]:1", source=stage.address("unix"), background=True)
    assert first.pid_file is not None
    refusal(stage, s=first.source, p=str(first.pid_file))
    assert first.pid_file.read_text() == str(first.pid)
    first.connect().close()


def test_a_file_in_the_place_of_a_socket(stage: Stage) -> None:
    path = stage.write("precious", b"data")
    assert refusal(stage, "-F", s=path) == [
        f"Error binding socket: Address already in use ({path})"
    ]
    assert Path(path).read_bytes() == b"data"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("[192.0.2.1]:8001", "Cannot assign requested address"),
        ("/nowhere/to/be/found.sock", "No such file or directory"),
    ],
)
def test_an_address_that_is_not_ours(stage: Stage, source: str, reason: str) -> None:
    assert refusal(stage, "-F", s=source) == [f"Error binding socket: {reason} ({source})"]


# The identity

BAD_IDENTITIES = {
    "no-such-user": "-u: No such user: no-such-user",
    "no-such-user:root": "-u: No such user: no-such-user",
    ":no-such-group": "-u: No such group: no-such-group",
    "root:no-such-group": "-u: No such group: no-such-group",
    "root:": '-u: Empty group name: "root:"',
    ":": '-u: Empty group name: ":"',
    "": '-u: Need to specify user and/or group: ""',
    "-1": "-u: No such user: -1",
}


@in_either_way
@pytest.mark.parametrize("identity", BAD_IDENTITIES)
def test_an_identity_that_nobody_has(stage: Stage, identity: str, way: list[str]) -> None:
    assert refusal(stage, *way, u=identity) == [BAD_IDENTITIES[identity]]


@in_either_way
@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_an_identity_that_may_not_be_taken(stage: Stage, transport: str, way: list[str]) -> None:
    said = refusal(
        stage,
        *way,
        beginning=without("setuid", "setgid"),
        s=stage.address(transport),
        u="nobody",
    )
    assert said == ["-u: Operation not permitted", "Failed to drop privileges"]


# Files to be written


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/nowhere/pid", "No such file or directory"), ("/", "Is a directory")],
)
def test_a_pid_file_that_cannot_be_written(stage: Stage, path: str, reason: str) -> None:
    assert refusal(stage, p=path) == [f"fopen({path}): {reason}", "Failed to daemonize"]


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_pid_file_that_may_not_be_written(stage: Stage, transport: str) -> None:
    locked = stage.directory / "locked"
    locked.mkdir(mode=0o555)
    path = str(locked / "pid")
    said = refusal(stage, beginning=without(*WITHOUT_OVERRIDES), s=stage.address(transport), p=path)
    assert said == [f"fopen({path}): Permission denied", "Failed to daemonize"]


@in_either_way
def test_a_log_file_that_cannot_be_written(stage: Stage, way: list[str]) -> None:
    assert refusal(stage, *way, "--log-file", "/nowhere/log") == [
        "--log-file /nowhere/log: No such file or directory"
    ]


# The environment


@in_either_way
def test_fewer_descriptors_than_are_needed(stage: Stage, way: list[str]) -> None:
    beginning = [needs("prlimit"), "--nofile=12", "--"]
    assert refusal(stage, *way, "--workers", "1", beginning=beginning) == [
        "Too few file descriptors: 22 are needed, `ulimit -n` is 12"
    ]


def test_a_back_end_that_there_is_not(stage: Stage) -> None:
    stage.env["SPIPED_BACKEND"] = "quick"
    assert refusal(stage, "-F") == ["SPIPED_BACKEND: neither native nor pure: quick"]
