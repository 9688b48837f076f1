"""Names that come to mean something, or something else, while the program runs.

The tests decide what a name means: the program has a private view of the file system, in which
/etc/hosts is theirs, and nothing else is asked.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.daemons import (
    Daemon,
    Echo,
    Listener,
    Peer,
    Stage,
    echoes,
    free_port,
    is_echoed,
    is_listening,
    needs,
    ours,
    wait_until,
)

REPLACE_FILES = """
    mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/nsswitch.conf && shift 2 && exec "$@"
"""


class Names:
    """What names mean to programs that begin with ``beginning``."""

    def __init__(self, stage: Stage) -> None:
        self._hosts = Path(stage.write("hosts", b""))
        switch = stage.write("nsswitch.conf", b"hosts: files\nservices: files\n")
        unshare = [needs("unshare"), "--mount", "--propagation", "private"]
        self.beginning = [*unshare, "sh", "-c", REPLACE_FILES, "sh", str(self._hosts), switch]
        if stage.run(*self.beginning, "true").returncode != 0:
            pytest.skip("a private view of the file system is not allowed here")

    def define(self, name: str, *addresses: str) -> None:
        self._hosts.write_text("".join(f"{address} {name}\n" for address in addresses))


@pytest.fixture
def names(stage: Stage) -> Names:
    return Names(stage)


class Named(Echo):
    """An echo that first says at which address it listens."""

    def converse(self, peer: Peer) -> None:
        peer.send(self.address.encode() + b"\n")
        super().converse(peer)


class Pair:
    """Two targets with the same port at different addresses."""

    def __init__(self, stage: Stage) -> None:
        self.port = free_port()
        self.first, self.second = (
            stage.on_stage(Named(f"[127.0.0.{number}]:{self.port}")) for number in (2, 3)
        )


def who_answers(source: str) -> str:
    """The address of the target to which a connection comes there."""
    with Peer.connect(source) as peer:
        return peer.finish().read_to_end().decode().strip()


@pytest.fixture
def pair(stage: Stage) -> Pair:
    return Pair(stage)


def test_a_name_that_means_nothing_is_refused(stage: Stage, names: Names) -> None:
    words = ("-d", "-s", stage.address(), "-t", "later.example:80", "-k", stage.key, "-F")
    result = stage.run(*names.beginning, ours("spiped"), *words, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        "spiped: Error looking up later.example: Name or service not known\n"
        "spiped: Error resolving socket address: later.example:80\n"
    )


@pytest.mark.parametrize("option", ["-s", "-t", "-b"])
def test_it_waits_until_a_name_means_something_if_asked_to(
    stage: Stage, names: Names, option: str
) -> None:
    echo = stage.echo()
    source = stage.address()
    values = {"-s": source, "-t": echo.address, "-b": "[127.0.0.1]"}
    values[option] = "later.example:" + (
        "0" if option == "-b" else values[option].rpartition(":")[2]
    )
    words = [word for pair in values.items() for word in pair]
    server = stage.start(
        *names.beginning, ours("spiped"), "-d", *words, "-k", stage.key, "-F", "-D"
    )
    line = f"spiped: Error resolving socket address: {values[option]}: "
    server.wait_to_say(line)
    assert not is_listening(source)
    names.define("later.example", "127.0.0.1")
    wait_until(lambda: is_listening(source), "it listens")
    client = stage.spiped("-e", source)
    assert is_echoed(client.source)


def start_in_background(stage: Stage, names: Names, *words: str) -> Daemon:
    """A daemon that may be waiting for a name."""
    pid_file = stage.directory / "pid"
    words = (*words, "-k", stage.key, "-p", str(pid_file), "-D")
    command = stage.start(*names.beginning, ours("spiped"), "-d", *words)
    assert command.wait() == 0
    return stage.adopt(pid_file)


def test_a_daemon_waits_for_a_name_in_the_background(stage: Stage, names: Names) -> None:
    echo = stage.echo()
    source = stage.address()
    target = "later.example:" + echo.address.rpartition(":")[2]
    server = start_in_background(stage, names, "-s", source, "-t", target)
    assert not is_listening(source)
    names.define("later.example", "127.0.0.1")
    wait_until(lambda: is_listening(source), "it listens")
    client = stage.spiped("-e", source)
    assert is_echoed(client.source)
    assert not server.is_gone


def test_a_mistake_that_shows_only_in_the_background_ends_the_daemon(
    stage: Stage, names: Names
) -> None:
    log = stage.directory / "log"
    source = "later.example:" + stage.echo().address.rpartition(":")[2]
    words = ("-s", source, "-t", "[127.0.0.1]:80", "--log-file", str(log))
    server = start_in_background(stage, names, *words)
    names.define("later.example", "127.0.0.1")
    server.wait_until_gone()
    assert "Error binding socket: Address already in use" in log.read_text()
    assert server.pid_file is not None
    assert not server.pid_file.exists()


def test_a_mistake_that_needs_no_name_shows_at_once(stage: Stage, names: Names) -> None:
    echo = stage.echo()
    words = ("-s", echo.address, "-t", "later.example:80", "-k", stage.key, "-D")
    result = stage.run(*names.beginning, ours("spiped"), "-d", *words, text=True)
    assert result.returncode == 1
    assert "Error binding socket: Address already in use" in result.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, -signal.SIGINT)]
)
def test_a_signal_ends_the_waiting(stage: Stage, names: Names, number: int, status: int) -> None:
    words = ("-d", "-s", stage.address(), "-t", "later.example:80", "-k", stage.key, "-F", "-D")
    server = stage.start(*names.beginning, ours("spiped"), *words)
    server.wait_to_say("Error resolving socket address")
    server.signal(number)
    assert server.wait() == status
    assert "Traceback" not in server.said


def test_a_daemon_that_ends_while_it_waits_takes_its_pid_file_along(
    stage: Stage, names: Names
) -> None:
    log = stage.directory / "log"
    words = ("-s", stage.address(), "-t", "later.example:80", "--log-file", str(log))
    server = start_in_background(stage, names, *words)
    wait_until(lambda: "later.example" in log.read_text(), "it waits")
    server.signal(signal.SIGTERM)
    server.wait_until_gone()
    assert server.pid_file is not None
    assert not server.pid_file.exists()


def test_a_target_is_looked_up_again_from_time_to_time(
    stage: Stage, names: Names, pair: Pair
) -> None:
    names.define("moving.example", "127.0.0.2")
    target = f"moving.example:{pair.port}"
    server = stage.spiped("-d", target, "-r", "0.1", beginning=names.beginning)
    client = stage.spiped("-e", server.source)
    assert who_answers(client.source) == pair.first.address
    with client.connect() as old:
        assert echoes_after_greeting(old)
        names.define("moving.example", "127.0.0.3")
        wait_until(lambda: who_answers(client.source) == pair.second.address, "it has moved")
        assert echoes(old)


def echoes_after_greeting(peer: Peer) -> bool:
    while peer.receive(1) != b"\n":
        pass
    return echoes(peer)


def test_a_lookup_that_fails_leaves_the_old_addresses(
    stage: Stage, names: Names, pair: Pair
) -> None:
    names.define("moving.example", "127.0.0.2")
    target = f"moving.example:{pair.port}"
    server = stage.spiped("-d", target, "-r", "0.1", beginning=names.beginning)
    client = stage.spiped("-e", server.source)
    names.define("other.example", "127.0.0.3")
    server.wait_to_say("Error looking up moving.example")
    assert who_answers(client.source) == pair.first.address


def test_what_becomes_of_the_targets_name_is_told_when_it_changes(
    stage: Stage, names: Names, pair: Pair
) -> None:
    """And not at every look-up."""
    names.define("moving.example", "127.0.0.2")
    target = f"moving.example:{pair.port}"
    options = ("-r", "0.1", "--log-level", "notice")
    server = stage.spiped("-d", target, *options, beginning=names.beginning)
    for number in (1, 2):
        names.define("other.example", "127.0.0.3")
        found = f"The target's name can be looked up again: {target}\n"
        wait_until(
            lambda n=number: server.said.count("Error looking up moving.example") == n,
            "it is not found",
        )
        names.define("moving.example", "127.0.0.2")
        wait_until(lambda n=number, f=found: server.said.count(f) == n, "it is found again")
    names.define("moving.example", "127.0.0.3", "127.0.0.2")
    addresses = f"{pair.second.address}, {pair.first.address}"
    server.wait_to_say(f"The target {target} stands for other addresses now: {addresses}\n")
    names.define("moving.example", "127.0.0.2", "127.0.0.3")  # another order is nothing to tell
    client = stage.spiped("-e", server.source)
    wait_until(lambda: who_answers(client.source) == pair.first.address, "it is in use")
    assert server.said.count("stands for other addresses") == 1
    assert server.said.count("Error looking up moving.example") == 2


def test_a_reload_looks_the_target_up_even_if_nothing_else_does(
    stage: Stage, names: Names, pair: Pair
) -> None:
    names.define("moving.example", "127.0.0.2")
    target = f"moving.example:{pair.port}"
    server = stage.spiped("-d", target, "-R", beginning=names.beginning)
    client = stage.spiped("-e", server.source)
    assert who_answers(client.source) == pair.first.address
    names.define("moving.example", "127.0.0.3")
    assert who_answers(client.source) == pair.first.address
    server.signal(signal.SIGHUP)
    wait_until(lambda: who_answers(client.source) == pair.second.address, "it has moved")


def test_the_next_address_is_tried_when_one_refuses(stage: Stage, names: Names, pair: Pair) -> None:
    names.define("two.example", "127.0.0.2", "127.0.0.3")
    server = stage.spiped("-d", f"two.example:{pair.port}", beginning=names.beginning)
    client = stage.spiped("-e", server.source)
    assert who_answers(client.source) == pair.first.address
    pair.first.close()
    assert who_answers(client.source) == pair.second.address


def test_a_dead_address_does_not_take_the_next_ones_time(stage: Stage, names: Names) -> None:
    names.define("two.example", "127.0.0.2", "127.0.0.3")
    port = free_port()
    dead = stage.on_stage(Listener(f"[127.0.0.2]:{port}"))
    dead.sock.listen(0)  # one may wait, and nobody else gets any answer
    alive = stage.on_stage(Named(f"[127.0.0.3]:{port}"))
    server = stage.spiped("-d", f"two.example:{port}", "-o", "1", beginning=names.beginning)
    client = stage.spiped("-e", server.source)
    with Peer.connect(dead.address):
        assert who_answers(client.source) == alive.address


def test_of_several_addresses_to_listen_on_the_first_is_used(stage: Stage, names: Names) -> None:
    names.define("two.example", "127.0.0.2", "127.0.0.3")
    source = f"two.example:{free_port()}"
    server = stage.spiped("-d", "[127.0.0.1]:1", source=source, beginning=names.beginning)
    chosen = f"[127.0.0.2]:{source.rpartition(':')[2]}"
    line = f"spiped: Using the first of multiple addresses found for {source}: {chosen}\n"
    assert server.said == line
    Peer.connect(source.replace("two.example", "[127.0.0.2]")).close()
    with pytest.raises(ConnectionRefusedError):
        Peer.connect(source.replace("two.example", "[127.0.0.3]"))


def test_connections_come_from_the_address_asked_for(stage: Stage) -> None:
    listener = stage.listener()
    for bind in ("[127.0.0.5]", "127.0.0.5", "[127.0.0.5]:0"):
        daemon = stage.spiped("-e", listener.address, "-b", bind)
        with daemon.connect(), listener.accept() as target:
            assert target.sock.getpeername()[0] == "127.0.0.5"
