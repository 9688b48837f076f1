"""The benchmarks: a tiny run is complete and its bytes add up; no figure is ever asserted."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench.goals import GOALS, MET, judge
from bench.metrics import LOADS, goodput
from bench.programs import build, build_overload
from bench.report import markdown
from bench.results import Result, Results
from bench.stage import Broken, Client
from bench.workloads import WORKLOADS
from tests.conftest import backends
from tests.daemons import Stage, needs
from tests.helpers import ROOT

TINY = "bulk-1|duplex-8|roundtrip$|connect|mixed|start-|strangers"
PATIENCE = 120  # seconds
# per measurement; the pure back end moves little in the time that is enough for the other one
SECONDS = "0.05" if "native" in backends() else "1"

PAIR = ("ours", "debian")
ENTRANTS: dict[str, tuple[str, ...]] = {
    "strangers-garbage": PAIR,
    "strangers-silent": PAIR,
    **dict.fromkeys(("bulk-1", "duplex-8", "roundtrip", "connect", "mixed"), ("ours", "debian")),
    "connect-weak": ("ours", "debian"),
    "start-spipe": ("ours", "debian"),
    "start-daemon": ("ours", "debian"),
}
if len(os.sched_getaffinity(0)) > 1:  # the far end gets one to itself
    TINY += "|shared-core|unix-busy"
    ENTRANTS |= {"shared-core": PAIR, "unix-busy": PAIR}
if "native" in backends():
    TINY += "|kernels"
    ENTRANTS["kernels"] = ("kernels",)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a tiny run has left its report."""
    needs("cc")
    needs("spiped")
    directory = tmp_path_factory.mktemp("bench")
    words = [
        "--only",
        TINY,
        "--contenders",
        "ours,debian,kernels",
        "--rounds",
        "1",
        "--seconds",
        SECONDS,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words, "--results", str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="module")
def report(directory: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((directory / "report.json").read_text())
    return data


def test_every_contender_has_a_sample_of_every_workload(report: dict[str, Any]) -> None:
    samples = {(r["workload"], r["entrant"]): r for r in report["results"]}
    assert set(samples) == {(name, who) for name, both in ENTRANTS.items() for who in both}
    metrics = {workload.name: set(workload.metrics) for workload in WORKLOADS}
    for (name, _), result in samples.items():
        assert result["problem"] is None
        (sample,) = result["rounds"]
        assert all(sample[metric] > 0 for metric in metrics[name])
        assert result["median"] == sample


def test_what_was_sent_has_arrived(report: dict[str, Any]) -> None:
    for result in report["results"]:
        for sample in result["rounds"]:
            assert sample.get("sent") == sample.get("received")
            if result["workload"] in ("bulk-1", "duplex-8", "roundtrip", "mixed"):
                assert sample["sent"] > 0


def test_the_report_has_the_machine_the_goals_and_every_workload(
    directory: Path, report: dict[str, Any]
) -> None:
    text = (directory / "report.md").read_text()
    assert report["machine"]["processor"] in text
    assert "| ≥ 4 × debian | 5 |" in text  # noqa: RUF001
    for workload in WORKLOADS:
        title = f"## {workload.title[0].upper()}{workload.title[1:]}\n"
        assert (title in text) == (workload.name in ENTRANTS)


def test_charts_are_drawn_for_what_was_measured(directory: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("bulk", "latency", "connections", "start"):
        assert (directory / f"{name}.svg").read_text().rstrip().endswith("</svg>")
        assert (directory / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not (directory / "memory.svg").exists()


def test_the_report_can_be_made_again_from_the_json(directory: Path) -> None:
    results = Results.from_json((directory / "report.json").read_text())
    assert results.to_json() == (directory / "report.json").read_text()
    before = (directory / "report.md").read_text()
    assert markdown(results, re.findall(r"!\[.*\]\((.*)\)", before)) == before


def alter(listener: socket.socket, target: int, position: int) -> None:
    """Relay one connection, but change the byte at a position of what comes back."""
    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", target)) as server, suppress(OSError):
        passed = 0
        while data := client.recv(65536):
            server.sendall(data)
            answer = bytearray(server.recv(65536))
            if passed <= position < passed + len(answer):
                answer[position - passed] ^= 1
            passed += len(answer)
            client.sendall(answer)


@pytest.mark.parametrize("position", [1, 64, 1000])
def test_the_load_generator_notices_a_single_altered_byte(tmp_path: Path, position: int) -> None:
    needs("cc")
    load = build(tmp_path).load
    with (
        socket.create_server(("127.0.0.1", 0)) as echo,
        socket.create_server(("127.0.0.1", 0)) as between,
    ):
        target = subprocess.Popen([load, "target", str(echo.fileno())], pass_fds=[echo.fileno()])
        relay = threading.Thread(target=alter, args=(between, echo.getsockname()[1], position))
        relay.start()
        client = Client([load, "pingpong", str(between.getsockname()[1]), "1", "0.2"])
        try:
            client.wait_until_ready()
            client.go()
            with pytest.raises(Broken, match="altered"):
                client.report()
        finally:
            for process in (client.process, target):
                process.kill()
                process.wait()
            relay.join()


def test_holders_of_the_key_are_counted_when_the_target_has_answered_them(stage: Stage) -> None:
    needs("cc")
    load, overload = build(stage.directory).load, build_overload(stage.directory)
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        fd = listener.fileno()
        stage.start(load, "target", str(fd), pass_fds=[fd])
        target = f"[127.0.0.1]:{listener.getsockname()[1]}"
        server = stage.spiped("-d", target, "-n", "0")
        port = server.source.rpartition(":")[2]
        done = stage.run(overload, "closed", port, stage.key, "4", "0.5", "0", "5")
        other = stage.write("other", b"another key")
        refused = stage.run(overload, "open", port, other, "20", "0.5", "0", "5")
    right, wrong = json.loads(done.stdout), json.loads(refused.stdout)
    assert right["served"] > 0
    assert right["lost"] == right["without"] == wrong["served"] == 0
    assert wrong["lost"] > 0


def test_the_curve_of_an_overload_is_drawn(tmp_path: Path) -> None:
    charts = pytest.importorskip("bench.charts", exc_type=ImportError)
    results = Results(machine={}, versions={}, rounds=1, seconds=1.0)
    sample = {goodput(load): min(load, 0.9) for load in LOADS}
    results.results.append(Result("overload", "ours", "spiped (this)", [sample]))
    assert charts.draw_all(results, tmp_path) == ["overload.svg"]


def made_up(**medians: float) -> Results:
    """Results of one workload, "bulk-1", in which contenders reached so many MB/s."""
    results = Results(machine={}, versions={}, rounds=1, seconds=1.0)
    for entrant, value in medians.items():
        results.results.append(Result("bulk-1", entrant, entrant, [{"mb_s": value}]))
    return results


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(500, "aim reached"), (499, "reached"), (400, "reached"), (300, "missed by 25%")],
)
def test_a_goal_is_judged_by_its_quotient(ours: float, verdict: str) -> None:
    judged = {v.goal: v.verdict for v in judge(made_up(ours=ours, debian=100))}
    assert judged[GOALS[0]] == verdict
    assert set(judged.values()) == {verdict, "not measured"}


def test_the_floor_is_a_plain_relay_and_the_kernels_in_the_same_run() -> None:
    results = Results(machine={}, versions={}, rounds=1, seconds=1.0)
    for workload, entrant, value in (
        ("bulk-1", "ours", 2.1),
        ("bulk-1", "plain", 1.2),
        ("kernels", "kernels", 0.8),
    ):
        results.results.append(Result(workload, entrant, entrant, [{"cpu_s_gb": value}]))
    (floor,) = (v for v in judge(results) if v.value is not None and v.goal.plus is not None)
    assert (floor.value, floor.verdict) == (pytest.approx(1.05), MET)


def test_a_report_has_its_place_by_the_type_of_cpu_and_its_kernels() -> None:
    machine = {"processor": "AMD EPYC, cpu family 25, model 17 (aes, vaes)"}
    results = Results(machine=machine, versions={}, rounds=1, seconds=1.0)
    assert results.place == "amd-epyc-cpu-family-25-model-17"
    machine["SPIPED_KERNELS"] = "shani,aesni"
    assert results.place == "amd-epyc-cpu-family-25-model-17-shani-aesni"


def test_without_the_contender_that_it_names_a_goal_is_not_judged() -> None:
    assert {v.verdict for v in judge(made_up(ours=500))} == {"not measured"}


def test_a_busy_load_generator_is_pointed_out() -> None:
    results = made_up(ours=500, debian=100)
    results.results[0].rounds[0]["generator"] = 0.95
    text = markdown(results)
    assert "| ours | 500 (5.00) * |" in text
    assert "| debian | 100 |" in text


def test_a_contender_that_cannot_is_reported_with_its_reason() -> None:
    results = made_up(ours=500)
    results.results.append(Result("bulk-1", "ssh", "ssh -L", problem="ssh is not installed"))
    assert "- ssh -L: ssh is not installed" in markdown(results)
