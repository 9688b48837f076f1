"""The workloads: what is sent through each pair, and what that yields."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from bench.contenders import CONTENDERS, Contender, Ports, Setting, free_port
from bench.measure import pss_bytes
from bench.metrics import GENERATOR, LOADS, goodput
from bench.programs import build_overload
from bench.stage import PATIENCE, Broken, Run, Stage

# What one run of a workload yields: metrics, and beside them the bytes that were counted and how
# busy the load generator was.
Sample = dict[str, float]

IDLE_CONNECTIONS = 1000  # over which the memory of one is averaged
SETTLED = 16  # connections that are there before, so that nothing is counted that comes only once
PARALLEL_OPENINGS = 16
STARTS = 10  # at most, in one run
TIMES = 8  # alone and beside a busy process, in turns, of which the medians count
AT_A_TIME = 128  # holders of the key who find out how many can be served
TIMEOUT = 2.0  # -o: seconds after which they have come in vain, and leave
CALM = 0.5  # seconds for a daemon to forget the last crowd
STRANGERS = 16  # at a time
LEAD = 0.3  # seconds in which bulk gets going before small messages join it

# Bytes of what is no handshake, and answered by the end
GARBAGE = 320

FIVE = ("ours", "debian", "stunnel", "ssh", "plain")
HELLO = b"measureE" + bytes(4)  # what load.c calls a hello: an echo is wanted


class Entrant(NamedTuple):
    """A contender in a workload."""

    name: str
    contender: Contender
    setting: Setting

    def with_workers(self, workers: int | None) -> Entrant:
        """The same with so many workers, unless their number is what it is about."""
        wanted = self.setting.workers or workers
        return self._replace(setting=self.setting._replace(workers=wanted))


class Workload(NamedTuple):
    name: str
    title: str
    metrics: tuple[str, ...]
    measure: Callable[[Stage, float], Sample]  # for about so many seconds
    entrants: list[Entrant]
    prepare: Callable[[Stage], object] | None = None  # once, before all rounds
    rounds: int | None = None  # at most
    fresh: bool = False  # every round gets a pair that has done nothing yet
    slow: bool = False  # not in a quick run
    note: str = ""  # what to bear in mind when reading the figures


def _sample(run: Run, **metrics: float) -> Sample:
    counted = {name: run.report[name] for name in ("sent", "received")}
    return {**metrics, **counted, GENERATOR: run.generator}


def _bulk(command: str, connections: int) -> Callable[[Stage, float], Sample]:
    """Bytes on several connections, one way ("bulk") or there and back ("echo")."""
    ways = {"bulk": 1, "echo": 2}[command]

    def measure(stage: Stage, seconds: float) -> Sample:
        run = stage.measure(command, connections, seconds)
        carried = ways * run.report["received"]
        return _sample(
            run,
            mb_s=carried / run.report["seconds"] / 1e6,
            cpu_s_gb=run.pair_cpu / (carried / 1e9),
        )

    return measure


def _pingpong(connections: int) -> Callable[[Stage, float], Sample]:
    """Small round trips, one at a time on every connection."""

    def measure(stage: Stage, seconds: float) -> Sample:
        run = stage.measure("pingpong", connections, seconds)
        return _sample(
            run,
            p50_us=run.report["p50_us"],
            p99_us=run.report["p99_us"],
            msg_s=run.report["in_time"] / seconds,
            cpu_us_msg=1e6 * run.pair_cpu / run.report["count"],
        )

    return measure


def _connect(stage: Stage, seconds: float) -> Sample:
    """New connections: each carries one byte there and back before it ends."""
    run = stage.measure("connect", PARALLEL_OPENINGS, seconds)
    return _sample(
        run,
        conn_s=run.report["in_time"] / seconds,
        cpu_ms_conn=1e3 * run.pair_cpu / run.report["count"],
        p50_us=run.report["p50_us"],
        p99_us=run.report["p99_us"],
    )


def _mixed(stage: Stage, seconds: float) -> Sample:
    """Small round trips on one connection, while bulk flows go there and back beside it."""
    bulk = stage.client("echo", 8, seconds + 2 * LEAD)
    bulk.go(seconds + 2 * LEAD)
    time.sleep(LEAD)
    small = stage.measure("pingpong", 1, seconds)
    report = bulk.report()
    sample = _sample(
        small,
        p50_us=small.report["p50_us"],
        p99_us=small.report["p99_us"],
        mb_s=report["received"] / report["seconds"] / 1e6,
    )
    for name in ("sent", "received"):
        sample[name] += report[name]
    sample[GENERATOR] = max(small.generator, report["cpu"] / report["seconds"])
    return sample


def _beside(
    stage: Stage, command: str, seconds: float, figure: Callable[[Run], float]
) -> tuple[float, float, Sample]:
    """A figure of one connection, alone and beside a busy process on the CPU of the far end."""
    alone: list[float] = []
    beside: list[float] = []
    runs: list[Run] = []
    with stage.apart() as cpu:
        for _ in range(TIMES):
            runs.append(stage.measure(command, 1, seconds))
            alone.append(figure(runs[-1]))
            with stage.busy(cpu):
                runs.append(stage.measure(command, 1, seconds))
            beside.append(figure(runs[-1]))
    counted = {name: sum(run.report[name] for run in runs) for name in ("sent", "received")}
    generator = max(run.generator for run in runs)
    sample = {**counted, GENERATOR: generator}
    return statistics.median(alone), statistics.median(beside), sample


def _shared_core(stage: Stage, seconds: float) -> Sample:
    """Bulk through a far end that shares its CPU with a busy process, and that does not."""
    alone, beside, sample = _beside(
        stage, "bulk", seconds / 3, lambda run: run.report["received"] / run.report["seconds"] / 1e6
    )
    return {**sample, "mb_s": alone, "mb_s_beside": beside, "share": beside / alone}


def _unix_busy(stage: Stage, seconds: float) -> Sample:
    """Round trips over UNIX sockets through a far end that shares its CPU, and that does not."""
    alone, beside, sample = _beside(
        stage, "pingpong", seconds / 3, lambda run: run.report["p90_us"]
    )
    return {**sample, "p90_us": alone, "p90_beside_us": beside, "times_quiet": beside / alone}


def _overload(stage: Stage, seconds: float) -> Sample:
    """How many new connections can be served, and how many are when more come.

    Each load lasts for six times `seconds`, of which the last half counts.
    """
    program = build_overload(stage.place.directory)
    port, key = str(stage.pair.ports.middle), str(stage.place.key)

    def come(how: str, amount: float, lasting: float, skip: float) -> dict[str, float]:
        numbers = (amount, lasting, skip, TIMEOUT)
        words = [program, how, port, key, *(f"{number:g}" for number in numbers)]
        report = stage.run(*words, patience=lasting + PATIENCE)
        time.sleep(CALM)
        busiest.append(report["cpu"] / report["seconds"])
        return report

    def capacity() -> float:
        report = come("closed", AT_A_TIME, 4 * seconds, seconds)
        if not report["served"]:
            raise Broken("nobody is served")
        return report["served"] / report["seconds"]

    busiest: list[float] = []
    with stage.apart():
        before = capacity()
        sample = {}
        for load in LOADS:
            report = come("open", load * before, 6 * seconds, 3 * seconds)
            if not report["without"]:  # else there were too few descriptors for all who come
                sample[goodput(load)] = report["served"] / report["seconds"] / before
        sample["conn_s"] = statistics.mean((before, capacity()))
    return {**sample, GENERATOR: max(busiest)}


def _strangers(garbage: int) -> Callable[[Stage, float], Sample]:
    """Connections to the far end of those who do not hold the key, and say so many bytes."""

    def measure(stage: Stage, seconds: float) -> Sample:
        run = stage.measure("strangers", garbage, STRANGERS, seconds, far=True)
        return {
            "fail_s": run.report["in_time"] / seconds,
            "cpu_us_fail": 1e6 * run.pair_cpu / run.report["count"],
            GENERATOR: run.generator,
        }

    return measure


def _kernels(stage: Stage, seconds: float) -> Sample:
    """What the cryptography of both ends costs by itself."""
    return stage.run(sys.executable, "-m", "bench.packet_cost", str(seconds))


def _silent(connections: int) -> Callable[[Stage], object]:
    return lambda stage: stage.client("hold", connections)


def _memory(stage: Stage, seconds: float) -> Sample:
    """What a silent connection costs in both ends together."""
    stage.client("hold", SETTLED)
    before = pss_bytes(stage.pair.processes)
    stage.client("hold", IDLE_CONNECTIONS)
    growth = pss_bytes(stage.pair.processes) - before
    return {"kib_conn": growth / 1024 / IDLE_CONNECTIONS}


def _starts(start: Callable[[], dict[str, float]], seconds: float) -> list[dict[str, float]]:
    """Start something again and again."""
    deadline = time.monotonic() + seconds
    reports = [start()]
    while time.monotonic() < deadline and len(reports) < STARTS:
        reports.append(start())
    return reports


def _medians(reports: list[dict[str, float]], names: dict[str, str]) -> Sample:
    return {
        metric: statistics.median(report[name] for report in reports)
        for metric, name in names.items()
    }


def _start_client(stage: Stage, seconds: float) -> Sample:
    """From the start of a client for one connection to the first byte that comes back."""
    if stage.contender.spipe is None:
        return _start_python(stage, seconds)
    hello = stage.place.directory / "hello"
    hello.write_bytes(HELLO)
    address = f"[127.0.0.1]:{stage.pair.ports.middle}"
    words = [stage.contender.spipe, "-t", address, "-k", str(stage.place.key)]
    reports = _starts(lambda: stage.tool("first-byte", str(hello), *words), seconds)
    return _medians(reports, {"start_ms": "first_byte_ms", "start_cpu_ms": "cpu_ms"})


def _start_python(stage: Stage, seconds: float) -> Sample:
    """From the start of an interpreter that has nothing to do to its end."""
    words = ["first-byte", os.devnull, sys.executable, "-c", "pass"]
    reports = _starts(lambda: stage.tool(*words), seconds)
    return _medians(reports, {"start_ms": "exit_ms", "start_cpu_ms": "cpu_ms"})


def _start_daemon(stage: Stage, seconds: float) -> Sample:
    """From the start of a daemon to its first word to a client."""

    def start() -> dict[str, float]:
        ports = Ports(free_port(), free_port(), stage.pair.ports.target)
        far = stage.contender.ends(stage.place, ports, stage.setting)[0]
        return stage.tool("accept", far.name, *far.command)

    return _medians(_starts(start, seconds), {"start_ms": "accept_ms"})


def _entrants(names: tuple[str, ...], setting: Setting = Setting()) -> list[Entrant]:  # noqa: B008
    return [Entrant(name, CONTENDERS[name], setting) for name in names]


def _worker_counts() -> list[Entrant]:
    """Ours with 1, 2, 4, ... workers, and one for every CPU."""
    cpus = len(os.sched_getaffinity(0))
    counts = sorted({1, 2, cpus} | {2**n for n in range(2, 11) if 2**n < cpus})
    return [
        Entrant(f"ours/{count}", CONTENDERS["ours"], Setting(workers=count)) for count in counts
    ]


ONE_WORKER = Setting(workers=1)
BULK = ("mb_s", "cpu_s_gb")
SMALL = ("p50_us", "p99_us", "msg_s", "cpu_us_msg")
OPENING = ("conn_s", "cpu_ms_conn", "p50_us", "p99_us")

WORKLOADS = [
    Workload(
        "kernels",
        "the kernels alone: sealing and opening",
        ("cpu_s_gb",),
        _kernels,
        _entrants(("kernels",)),
        note="In batches of 128 packets, on memory that stays in the cache: together with the plain"
        " relay, the floor of bulk.",
    ),
    Workload("bulk-1", "bulk, 1 connection", BULK, _bulk("bulk", 1), _entrants(FIVE)),
    Workload("bulk-8", "bulk, 8 connections", BULK, _bulk("bulk", 8), _entrants(FIVE)),
    Workload(
        "bulk-64", "bulk, 64 connections", BULK, _bulk("bulk", 64), _entrants(FIVE), slow=True
    ),
    Workload(
        "duplex-8",
        "both directions at once, 8 connections",
        BULK,
        _bulk("echo", 8),
        _entrants(FIVE),
    ),
    Workload("roundtrip", "64-byte round trip, alone", SMALL, _pingpong(1), _entrants(FIVE)),
    Workload(
        "roundtrip-1000",
        "64-byte round trip beside 1,000 silent connections",
        SMALL,
        _pingpong(1),
        _entrants(FIVE),
        prepare=_silent(1000),
    ),
    Workload(
        "roundtrip-4000",
        "64-byte round trip beside 4,000 silent connections",
        SMALL,
        _pingpong(1),
        _entrants(FIVE),
        prepare=_silent(4000),
        slow=True,
    ),
    Workload(
        "pingpong-64", "64-byte ping-pong, 64 connections", SMALL, _pingpong(64), _entrants(FIVE)
    ),
    Workload(
        "pingpong-256", "64-byte ping-pong, 256 connections", SMALL, _pingpong(256), _entrants(FIVE)
    ),
    Workload(
        "connect",
        "new connections, 16 at a time",
        OPENING,
        _connect,
        _entrants(FIVE),
        note="`ssh -L` opens channels in one session, and the plain relay makes no keys:"
        " neither does a handshake here.",
    ),
    Workload(
        "connect-weak",
        "new connections without forward secrecy (-f)",
        OPENING,
        _connect,
        _entrants(("ours", "debian"), Setting(weak=True)),
    ),
    Workload(
        "mixed",
        "64-byte round trip beside 8 echoing bulk flows",
        ("p50_us", "p99_us", "mb_s"),
        _mixed,
        _entrants(FIVE),
        note="MB/s: of the bulk flows, counted one way.",
    ),
    Workload(
        "shared-core",
        "bulk, 1 connection, beside a busy process on the CPU of the far end",
        ("mb_s", "mb_s_beside", "share"),
        _shared_core,
        _entrants(("ours", "debian", "plain"), ONE_WORKER),
        note=f"Medians of {TIMES} in each round, with one worker.  A fair half would be 0.5, or"
        " more where the far end is not what limits the quiet rate.",
    ),
    Workload(
        "unix-busy",
        "64-byte round trip over UNIX sockets, beside a busy process on the CPU of the far end",
        ("p90_us", "p90_beside_us", "times_quiet"),
        _unix_busy,
        _entrants(("ours", "debian"), ONE_WORKER._replace(unix=True)),
        note=f"Medians of {TIMES} in each round, with one worker.  One of the two goals is enough.",
    ),
    Workload(
        "overload",
        "more new connections (-f) than can be served, `-n 0 -o 2`",
        ("conn_s", *map(goodput, LOADS)),
        _overload,
        _entrants(("ours", "debian"), ONE_WORKER._replace(timeout=TIMEOUT, portable=True)),
        rounds=1,
        slow=True,
        note=f"Capacity: {AT_A_TIME} at a time.  Then so many times the capacity come, whether they"
        " are served or not, and the share of the capacity that is served is shown.  One worker, on"
        " a CPU of its own; ours with the portable kernels, so that the generator can be faster.",
    ),
    Workload(
        "strangers-garbage",
        f"strangers who say {GARBAGE} bytes of garbage, {STRANGERS} at a time",
        ("fail_s", "cpu_us_fail"),
        _strangers(GARBAGE),
        _entrants(("ours", "debian")),
    ),
    Workload(
        "strangers-silent",
        f"strangers who wait for a word and leave, {STRANGERS} at a time",
        ("fail_s", "cpu_us_fail"),
        _strangers(0),
        _entrants(("ours", "debian")),
    ),
    Workload(
        "memory",
        "memory per idle connection, both ends",
        ("kib_conn",),
        _memory,
        _entrants(FIVE),
        fresh=True,
        note="Of the processes (PSS), without the system's own buffers.",
    ),
    Workload(
        "start-spipe",
        "start of spipe, to the first byte that comes back",
        ("start_ms", "start_cpu_ms"),
        _start_client,
        _entrants(("ours", "debian", "python")),
    ),
    Workload(
        "start-daemon",
        "start of spiped -d, to its first word to a client",
        ("start_ms",),
        _start_daemon,
        _entrants(("ours", "debian")),
    ),
    Workload(
        "workers-bulk-1", "workers: bulk, 1 connection", BULK, _bulk("bulk", 1), _worker_counts()
    ),
    Workload(
        "workers-bulk-8", "workers: bulk, 8 connections", BULK, _bulk("bulk", 8), _worker_counts()
    ),
    Workload(
        "workers-connect",
        "workers: new connections, 16 at a time",
        OPENING,
        _connect,
        _worker_counts(),
    ),
]
