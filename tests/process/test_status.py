"""--status: what a running daemon tells of itself, and what becomes of that."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spiped.net.address import resolve
from tests.control.rig import ask_again
from tests.daemons import (
    Daemon,
    Peer,
    Stage,
    echoes,
    family_of,
    is_echoed,
    needs,
    nothing_comes_back,
    ours,
    wait_until,
)
from tests.process.memory import hash_of, where_is

TRANSPORTS = ["unix", "tcp"]


class Unix(http.client.HTTPConnection):
    """HTTP to a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class Answer:
    def __init__(self, address: str, path: str) -> None:
        (found,) = resolve(address)
        http_ = Unix(address) if found.is_unix else http.client.HTTPConnection(*found.sockaddr[:2])
        try:
            http_.request("GET", path)
            response = http_.getresponse()
            self.status = response.status
            self.body = response.read()
        finally:
            http_.close()


def get(address: str, path: str) -> Any:
    answer = Answer(address, path)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def pipe(address: str) -> Any:
    (only,) = get(address, "/status")["pipes"]
    return only


def named(daemon: Daemon, name: str) -> list[int]:
    """The children of a daemon that are called this."""
    children = sorted(family_of(daemon.pid) - {daemon.pid})
    found = []
    for pid in children:
        try:
            comm = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        if comm == f"spiped: {name}":
            found.append(pid)
    return found


def status_process(daemon: Daemon) -> int:
    return wait_until(lambda: named(daemon, "status"), "there is a status process")[0]


@contextmanager
def held(*peers: Peer) -> Iterator[None]:
    """Connections that stay open meanwhile."""
    try:
        yield
    finally:
        for peer in peers:
            peer.close()


def pair(stage: Stage, *options: str) -> tuple[Daemon, Daemon, str]:
    """A decrypting end that is looked at, one that encrypts to it, and where to look."""
    address = stage.address("unix")
    server = stage.spiped("-d", stage.echo().address, "--status", address, *options)
    client = stage.spiped("-e", server.source)
    return server, client, address


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_status_is_what_clients_have_done(stage: Stage, backend: str, transport: str) -> None:
    address = stage.address(transport)
    options = ("--status", address, "--name", "mail", "--workers", "2", "-n", "50")
    target = stage.echo().address
    server = stage.spiped("-d", target, *options)
    client = stage.spiped("-e", server.source)
    for _ in range(3):
        assert is_echoed(client.source, b"x" * 1000)
    wait_until(lambda: pipe(address)["connections"]["ended"]["ended"] == 3, "all have ended")
    told = get(address, "/status")
    assert (told["state"], told["ready"], told["pid"]) == ("serving", True, server.pid)
    (of_pipe,) = told["pipes"]
    assert (of_pipe["name"], of_pipe["mode"], of_pipe["source"]) == (
        "mail",
        "decrypt",
        server.source,
    )
    (of_target,) = of_pipe["targets"]
    assert (of_target["name"], of_target["addresses"]) == (target, [target])
    assert of_pipe["keys"][0]["name"] == "key"
    assert of_pipe["bytes"] == {"sealed": 3000, "opened": 3000}
    assert of_pipe["packets"] == {"sealed": 3, "opened": 3}
    connections = of_pipe["connections"]
    assert (connections["accepted"], connections["established"]) == (3, 3)
    assert (connections["limit"], connections["unauthenticated_limit"]) == (50, 38)
    workers = told["workers"]
    assert sorted(each["pid"] for each in workers) == named(server, "worker")
    assert sum(each["accepted"] for each in workers) == 3
    wait_until(
        lambda: all(each["memory_bytes"] for each in get(address, "/status")["workers"]),
        "what workers use has been sampled",
    )


def test_metrics_are_exact_and_parsed_by_others(stage: Stage, backend: str) -> None:
    server, client, address = pair(stage, "--name", "mail")
    stranger = stage.spiped("-e", server.source, key=stage.write("other", b"another"))
    for _ in range(4):
        assert is_echoed(client.source, b"x" * 1025)
    for _ in range(2):
        assert nothing_comes_back(stranger.source)

    def metrics() -> dict[str, dict[tuple[str, ...], float]]:
        text = Answer(address, "/metrics").body.decode()
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = tuple(v for k, v in sample.labels.items() if k not in ("pipe", "mode"))
                found.setdefault(sample.name, {})[labels] = sample.value
        return found

    def closed() -> dict[tuple[str, ...], float]:
        return metrics()["spiped_connections_closed_total"]

    wait_until(lambda: sum(closed().values()) == 6, "all have ended")
    assert {labels[0]: n for labels, n in closed().items() if n} == {"ended": 4, "wrong_key": 2}
    told = metrics()
    assert told["spiped_bytes_total"][("plain", "rx")] == 4 * 1025
    assert told["spiped_bytes_total"][("plain", "tx")] == 4 * 1025
    assert told["spiped_bytes_total"][("crypt", "tx")] == 4 * 2 * 1060
    assert told["spiped_padding_bytes_total"][("sealed",)] == 4 * (2 * 1024 - 1025)
    assert told["spiped_handshake_failures_total"][("auth",)] == 2
    for histogram, number in (("handshake", 4), ("target_connect", 4), ("connection", 4)):
        assert told[f"spiped_{histogram}_duration_seconds_count"][()] == number, histogram


def test_connections_are_listed_while_they_last(stage: Stage, backend: str) -> None:
    _, client, address = pair(stage)
    peers = [client.connect() for _ in range(5)]
    with held(*peers):
        for number, peer in enumerate(peers):
            assert echoes(peer, b"x" * (number + 1) * 100)
        told = get(address, "/connections?sort=opened&order=desc&limit=2")
        assert (told["total"], told["listed"], told["hidden"]) == (5, 2, 0)
        assert [each["opened"] for each in told["connections"]] == [500, 400]
        first = told["connections"][0]
        assert first["state"] == "relaying"
        assert first["key"] == "key"
        assert first["peer"].startswith("[127.0.0.1]:")
        assert first["target"] == pipe(address)["targets"][0]["name"]
        worker, _, number = first["id"].partition("-")
        assert int(worker) == first["worker"]
        assert int(number) > 0
    wait_until(lambda: get(address, "/connections")["total"] == 0, "the list is empty")


def test_connections_that_have_no_place_in_the_list_go_on_and_are_counted(stage: Stage) -> None:
    stage.env["SPIPED_BACKEND"] = "native"
    _, client, address = pair(stage, "--workers", "1", "-n", "0")
    with held(*[client.connect() for _ in range(3)]):
        wait_until(lambda: get(address, "/connections")["total"] == 3, "all are there")
        told = get(address, "/connections")
        assert (told["listed"], told["hidden"]) == (3, 0)


def test_a_reload_an_upgrade_and_deaths_leave_the_counts_true(stage: Stage, backend: str) -> None:
    server, client, address = pair(stage, "--workers", "2")
    before = client.connect()
    with held(before):
        assert echoes(before)
        assert is_echoed(client.source)

        server.signal(signal.SIGHUP)
        wait_until(lambda: get(address, "/status")["reloads"]["succeeded"] == 1, "it has reloaded")
        assert get(address, "/status")["generation"] == 2
        assert echoes(before)
        assert is_echoed(client.source)

        server.signal(signal.SIGUSR2)
        wait_until(
            lambda: (told := get(address, "/status"))["upgrades"] == 1 and told["generation"] == 3,
            "it has upgraded",
        )
        assert echoes(before)
        assert is_echoed(client.source)

        wait_until(lambda: pipe(address)["connections"]["ended"]["ended"] == 3, "three have ended")
        (listed,) = get(address, "/connections")["connections"]
        assert listed["opened"] == 3 * len(b"are you there?")
        draining = next(w for w in get(address, "/status")["workers"] if w["active"] == 1)
        assert (draining["generation"], draining["state"]) == (1, "draining")

        os.kill(draining["pid"], signal.SIGKILL)
        wait_until(lambda: get(address, "/connections")["total"] == 0, "it has left the list")
        young = get(address, "/status")["workers"][0]
        os.kill(young["pid"], signal.SIGKILL)
        wait_until(lambda: get(address, "/status")["worker_restarts"] == 1, "it is replaced")
    connections = pipe(address)["connections"]
    assert (connections["accepted"], connections["established"]) == (4, 4)
    assert pipe(address)["bytes"]["opened"] == 6 * len(b"are you there?")


def test_an_upgrade_refuses_nobody_who_asks(stage: Stage) -> None:
    server, _, address = pair(stage)
    server.signal(signal.SIGUSR2)
    while get(address, "/status")["upgrades"] == 0:  # each of these is answered
        pass
    assert len(named(server, "status")) >= 1


def test_a_status_process_that_dies_is_replaced(stage: Stage) -> None:
    server, client, address = pair(stage)
    with held(peer := client.connect()):
        assert echoes(peer)
        first = status_process(server)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: named(server, "status") not in ([], [first]), "there is another")
        assert get(address, "/status")["ready"]
        assert echoes(peer)
    assert f"The status process {first} died (signal 9); starting another" in server.said


def test_a_dead_supervisor_is_not_alive(stage: Stage) -> None:
    server, _, address = pair(stage)
    child = status_process(server)
    assert Answer(address, "/live").status == 200
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{child}").exists(), "the status process leaves")


def test_who_is_about_to_leave_is_alive_and_not_ready(stage: Stage) -> None:
    server, client, address = pair(stage, "--shutdown-delay", "60")
    assert Answer(address, "/ready").status == 200
    with held(peer := client.connect()):
        assert echoes(peer)
        server.signal(signal.SIGTERM)
        wait_until(lambda: Answer(address, "/ready").status == 503, "it is not ready")
        assert get(address, "/status")["state"] == "lame_duck"
        assert is_echoed(client.source)
        assert Answer(address, "/live").status == 200


def test_it_tells_how_it_drains(stage: Stage) -> None:
    server, client, address = pair(stage)
    with held(peer := client.connect()):
        assert echoes(peer)
        server.signal(signal.SIGTERM)
        wait_until(lambda: get(address, "/status")["state"] == "draining", "it drains")
        assert get(address, "/connections")["total"] == 1
        assert Answer(address, "/ready").status == 503
        assert get(address, "/status")["generation"] == 1
        assert pipe(address)["targets"][0]["addresses"] != []
    assert server.wait() == 0
    assert not os.path.exists(address)


def test_a_reload_that_fails_says_why(stage: Stage) -> None:
    server, _, address = pair(stage)
    os.rename(stage.key, f"{stage.key}.gone")
    server.signal(signal.SIGHUP)
    wait_until(lambda: get(address, "/status")["reloads"]["failed"] == 1, "it has failed")
    told = get(address, "/status")
    assert "No such file" in told["reloads"]["last"]["error"]
    assert told["ready"]


def test_a_target_that_is_down_does_not_matter_to_readiness(stage: Stage) -> None:
    address = stage.address("unix")
    server = stage.spiped("-d", stage.address(), "--status", address)
    client = stage.spiped("-e", server.source)
    assert pipe(address)["targets"][0]["state"] == "unknown"
    assert nothing_comes_back(client.source)
    wait_until(lambda: pipe(address)["targets"][0]["state"] == "down", "it is seen")
    assert pipe(address)["targets"][0]["failures"] == 1
    assert Answer(address, "/ready").status == 200


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount files over others")
def test_a_name_that_stands_for_nothing_any_more_is_told(stage: Stage) -> None:
    address, hosts = stage.address("unix"), Path(stage.write("hosts", b"127.0.0.1 now.example\n"))
    mount = 'mount --bind $0 /etc/hosts && exec "$@"'
    beginning = (needs("unshare"), "--mount", "--propagation", "private", "sh", "-c", mount)
    port = stage.echo().address.rpartition(":")[2]
    options = ("--status", address)
    target = f"now.example:{port}"
    server = stage.spiped("-d", target, *options, beginning=(*beginning, str(hosts)))
    assert pipe(address)["targets"][0]["error"] == ""
    hosts.write_bytes(b"")
    server.signal(signal.SIGHUP)
    wait_until(lambda: "now.example" in pipe(address)["targets"][0]["error"], "it is told")
    assert pipe(address)["targets"][0]["addresses"] == [f"[127.0.0.1]:{port}"]
    assert get(address, "/status")["reloads"]["failed"] == 0


# Who may


def test_the_socket_is_for_its_owner_and_its_group(stage: Stage) -> None:
    _, _, address = pair(stage)
    assert stat.S_IMODE(os.stat(address).st_mode) == 0o660


@pytest.mark.skipif(os.getuid() != 0, reason="nobody else can become another user")
def test_the_socket_belongs_to_the_user_that_the_daemon_becomes(stage: Stage) -> None:
    for directory in (stage.directory, *stage.directory.parents):
        if directory.owner() == "root" and str(directory) not in ("/", "/tmp"):
            directory.chmod(0o711)
    _, client, address = pair(stage, "-u", "nobody")
    found = os.stat(address)
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (65534, 0o660)
    assert is_echoed(client.source)
    assert pipe(address)["connections"]["accepted"] == 1


def test_the_status_process_has_no_key_and_can_write_to_nothing(stage: Stage) -> None:
    server, _, address = pair(stage)
    pid = status_process(server)
    get(address, "/status")
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    shared = [line for line in maps if "spiped-counters" in line or "spiped-facts" in line]
    assert len(shared) >= 2
    assert all(line.split()[1] == "r--s" for line in shared), shared
    assert not any("secret" in line for line in maps)
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status


@pytest.mark.skipif(os.getuid() != 0, reason="only root can look into the memory of a process")
def test_the_memory_of_the_status_process_has_no_key(stage: Stage) -> None:
    stage.env["SPIPED_BACKEND"] = "native"  # the pure one may leave copies behind
    key = os.urandom(32)
    stage.write("key", key)
    server, client, _ = pair(stage)
    assert is_echoed(client.source)
    assert where_is(server.pid, hash_of(key)) != []
    assert where_is(status_process(server), hash_of(key)) == []


# The operator's mistakes


def run(stage: Stage, *options: str) -> str:
    words = (
        ours("spiped"),
        "-F",
        "-d",
        "-s",
        stage.address(),
        "-t",
        "[127.0.0.1]:1",
        "-k",
        stage.key,
    )
    done = stage.run(*words, *options)
    assert done.returncode == 1
    return done.stderr.decode()


def test_a_taken_port_is_an_error_at_the_start(stage: Stage) -> None:
    taken = stage.listener().address
    assert f"--status {taken}: " in run(stage, "--status", taken)


def test_an_address_that_is_none_is_an_error_at_the_start(stage: Stage) -> None:
    assert "--status" in run(stage, "--status", "127.0.0.1")


def test_several_addresses_are_served(stage: Stage) -> None:
    first, second = stage.address("unix"), stage.address("tcp")
    server = stage.spiped("-d", "[127.0.0.1]:1", "--status", f"unix:{first}", "--status", second)
    assert get(first, "/status")["pid"] == get(second, "/status")["pid"] == server.pid


def test_a_missing_package_is_named(stage: Stage) -> None:
    code = "import sys; sys.modules['h11'] = None; from spiped.entry import spiped; spiped()"
    words = (ours("python"), "-c", code, "-F", "-d", "-s", stage.address(), "-t", "[127.0.0.1]:1")
    done = stage.run(*words, "-k", stage.key, "--status", stage.address("unix"))
    assert done.returncode == 1
    assert b"--status needs the package h11: pip install 'spiped[status]'" in done.stderr


# A worker that somebody else has taken over


def shared_memory(pid: int, name: str) -> list[str]:
    """The descriptors of a process that are open for this memory."""
    fds = Path(f"/proc/{pid}/fd").iterdir()
    return [str(fd) for fd in fds if os.readlink(fd).startswith(f"/memfd:{name}")]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may open what another process has open")
@pytest.mark.parametrize("nonsense", [b"\xff", None], ids=["ones", "random"])
def test_nonsense_in_the_counters_ends_nothing(stage: Stage, nonsense: bytes | None) -> None:
    """Workers write there; whoever reads it believes what it may, and goes on."""
    control = stage.directory / "control"
    server, client, address = pair(stage, "--control", str(control))
    worker = named(server, "worker")[0]
    with held(peer := client.connect()):
        assert echoes(peer)
        path = shared_memory(worker, "spiped-counters")[0]
        size = os.stat(path).st_size - 4096
        with open(path, "r+b", buffering=0) as memory:
            memory.seek(4096)  # behind the description of what is there
            memory.write(os.urandom(size) if nonsense is None else nonsense * size)
        for request in ("show", "show connections", "show workers"):
            assert ask_again(control, request)["ok"] is True
        assert Answer(address, "/live").status == 200
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: f"Worker {worker} died" in server.said, "it is buried")
        assert ask_again(control, "show")["ok"] is True
        assert server.pid > 0
        assert Path(f"/proc/{server.pid}").exists()


def test_a_worker_has_no_way_to_the_facts_and_to_the_log(stage: Stage) -> None:
    log = stage.directory / "log"
    server, _, _ = pair(stage, "--log-file", str(log))
    for worker in wait_until(lambda: named(server, "worker"), "there are workers"):
        assert shared_memory(worker, "spiped-facts") == []
        maps = Path(f"/proc/{worker}/maps").read_text()
        assert "spiped-facts" not in maps
        assert str(log) not in map(os.readlink, Path(f"/proc/{worker}/fd").iterdir())
