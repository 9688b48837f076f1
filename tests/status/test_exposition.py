"""The metrics in both formats, as others read them: Prometheus's own parsers and its promtool."""

from __future__ import annotations

import json
import math
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from spiped.observe.families import COUNTER, GAUGE, HISTOGRAM, INFO, Family, Sample, problems
from spiped.status.exposition import OPENMETRICS, TEXT, choose, render
from tests.daemons import free_port, needs, wait_until
from tests.status.rig import Status, ask, serving

ASKED = "Accept: application/openmetrics-text; version=1.0.0"

# What Prometheus sends: 2.42, as Debian 12 has it, and 3
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)

FAMILIES = [
    Family("t_build", INFO, "Version.", samples=(Sample((("version", '1 "a"\\\n'),)),)),
    Family("t_open", GAUGE, 'A \\ and a "quote".', samples=(Sample((), 2.5),)),
    Family(
        "t_sent_bytes",
        COUNTER,
        "Bytes.",
        "bytes",
        (
            Sample((("a", "1"), ("b", "x")), 2**63 - 1, created=1.5),
            Sample((("a", "2"), ("b", "")), 0, created=1.5),
        ),
    ),
    Family(
        "t_time_seconds",
        HISTOGRAM,
        "Times.",
        "seconds",
        (Sample((("a", "1"),), 7, ((0.001, 1), (1.0, 4), (math.inf, 7)), 12.25, 1.5),),
    ),
    Family("t_nothing", COUNTER, "There are no samples."),
]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.3", TEXT),
        ('Application/OpenMetrics-Text; Version="1.0.0", */*;q=0.1', OPENMETRICS),
        ("application/openmetrics-text;q=lots", TEXT),
        (",;=,;;q=", TEXT),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
    ],
)
def test_openmetrics_is_for_those_who_ask_for_it(accept: str, chosen: str) -> None:
    assert choose(accept) == chosen


def test_both_formats_say_what_was_measured() -> None:
    assert problems(FAMILIES) == []
    text = list(parse_text(render(FAMILIES, TEXT).decode()))
    openmetrics = list(parse_openmetrics(render(FAMILIES, OPENMETRICS).decode()))

    def numbers(families: list[object]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples  # type: ignore[attr-defined]
            if not sample.name.endswith("_created")
        }

    found = numbers(text)
    assert found == numbers(openmetrics)
    assert found["t_sent_bytes_total", frozenset({("a", "1"), ("b", "x")})] == 2**63 - 1
    assert found["t_build_info", frozenset({("version", '1 "a"\\\n')})] == 1
    assert found["t_time_seconds_bucket", frozenset({("a", "1"), ("le", "+Inf")})] == 7
    assert found["t_time_seconds_sum", frozenset({("a", "1")})] == 12.25
    assert [f.unit for f in openmetrics if f.name == "t_sent_bytes"] == ["bytes"]


def test_what_the_server_sends_can_be_parsed(status: Status) -> None:
    text = ask(status.tcp, "/metrics")
    openmetrics = ask(status.tcp, "/metrics", ASKED)
    assert text.headers["Content-Type"] == TEXT
    assert openmetrics.headers["Content-Type"] == OPENMETRICS
    assert openmetrics.text.endswith("\n# EOF\n")
    older = {family.name for family in parse_text(text.text)}
    newer = {family.name for family in parse_openmetrics(openmetrics.text)}
    assert newer
    # an info is a gauge to the older format, which has the suffix in its name
    assert {name.removesuffix("_info") for name in older} == newer


def test_metrics_and_status_agree() -> None:
    with serving(f"[127.0.0.1]:{free_port()}", still=True) as status:
        (pipe,) = json.loads(ask(status.tcp, "/status").text)["pipes"]
        found = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in parse_text(ask(status.tcp, "/metrics").text)
            for sample in family.samples
        }
    numbers = pipe["connections"]
    assert found["spiped_connections_active", "decrypt", "mail"] == numbers["active"] == 240
    assert found["spiped_connections_accepted_total", "decrypt", "mail"] == numbers["accepted"]
    for cause, count in numbers["ended"].items():
        labels = sorted(["decrypt", "mail", cause])
        assert found[("spiped_connections_closed_total", *labels)] == count
    assert found["spiped_bytes_total", "decrypt", "mail", "plain", "rx"] == pipe["bytes"]["sealed"]


@pytest.mark.acceptance
@pytest.mark.parametrize("hostile", [False, True], ids=["plain names", "hostile names"])
def test_promtool_finds_nothing_wrong(hostile: bool) -> None:
    promtool = needs("promtool")
    with serving(f"[127.0.0.1]:{free_port()}", **({"hostile": True} if hostile else {})) as status:
        text = ask(status.tcp, "/metrics").body
    check = [promtool, "check", "metrics"]
    result = subprocess.run(check, input=text, capture_output=True, check=False)
    assert (result.stdout + result.stderr).decode() == ""
    assert result.returncode == 0


@pytest.mark.acceptance
def test_prometheus_scrapes_it(status: Status, tmp_path: Path) -> None:
    """The real one, as it is configured by default."""
    prometheus = needs("prometheus")
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "- job_name: spiped\n"
        f"  static_configs: [targets: ['127.0.0.1:{status.port}']]\n"
    )
    command = [
        *(prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)

    def result(query: str) -> Any:
        try:
            url = f"http://127.0.0.1:{port}/api/v1/query?query={query}"
            with urllib.request.urlopen(url) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:  # it has not started yet
            assert process.poll() is None, log.read_text()
            return None

    try:
        (found,) = wait_until(lambda: result("spiped_connections_active"), "there is a sample")
        assert found["metric"]["pipe"] == "mail"
        assert found["value"][1] == "240"
        assert result("up")[0]["value"][1] == "1"
        assert result("spiped_handshake_duration_seconds_count") != []
    finally:
        process.terminate()
        process.wait(30)
