"""Many short requests: a redis-server, asked by redis-benchmark through a pair of daemons."""

from __future__ import annotations

import csv

import pytest

from tests.daemons import Stage, is_listening, needs, ours, theirs, wait_until

pytestmark = pytest.mark.usefixtures("backend")

# Who encrypts, who decrypts, and how many connections at once: the C program lets no more than 10
# wait to be accepted, and what comes on top of that waits a second until it is tried again.
PAIRS = {
    "ours to ours": (ours, ours, 20),
    "ours to theirs": (ours, theirs, 10),
    "theirs to ours": (theirs, ours, 10),
}


@pytest.fixture
def redis(stage: Stage) -> str:
    """A redis-server of our own; its address."""
    address = stage.address("unix")
    options = {"--port": "0", "--unixsocket": address, "--save": "", "--appendonly": "no"}
    words = [word for option in options.items() for word in option]
    stage.start(needs("redis-server"), *words)
    wait_until(lambda: is_listening(address), "redis listens")
    return address


@pytest.mark.parametrize("pair", PAIRS)
def test_redis_benchmark_gets_all_its_answers(stage: Stage, redis: str, pair: str) -> None:
    encrypting, decrypting, clients = PAIRS[pair]
    server = stage.spiped("-d", redis, program=decrypting("spiped"), source=stage.address())
    client = stage.spiped("-e", server.source, program=encrypting("spiped"))
    there = ("-h", "127.0.0.1", "-p", client.source.rpartition(":")[2])
    for pipelined in ("1", "16"):
        size = ("-n", "2000", "-c", str(clients), "-P", pipelined, "-t", "set,get,lrange_100")
        result = stage.run(needs("redis-benchmark"), *there, *size, "--csv", text=True)
        assert (result.returncode, result.stderr) == (0, "")
        rates = {row[0]: float(row[1]) for row in csv.reader(result.stdout.splitlines()[1:])}
        assert {"SET", "GET", "LRANGE_100 (first 100 elements)"} <= rates.keys()
        assert all(rate > 0 for rate in rates.values())
    answer = stage.run(needs("redis-cli"), *there, "llen", "mylist")
    assert answer.stdout == b"4000\n"  # what its LRANGE test has pushed, twice
