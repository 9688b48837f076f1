"""docs/status.md says which fields there are, and these are the ones that there are."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from spiped.observe.view import CONNECTION_FIELDS
from tests.helpers import ROOT
from tests.status.rig import Status, ask

TEXT = (ROOT / "docs" / "status.md").read_text()


def promised(before: str) -> set[str]:
    """The fields that the first table behind this text names."""
    table = TEXT.partition(before)[2].partition("| field | |\n|---|---|\n")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()]
    # a second column says more of fields, or has fields that belong to the first
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.fixture
def told(status: Status) -> Any:
    return json.loads(ask(status.tcp, "/status").text)


def test_of_the_daemon(told: Any) -> None:
    assert set(told) == promised("## `/status`")
    assert set(told["reloads"]) == {"succeeded", "failed", "last"}
    assert set(told["reloads"]["last"]) == {"at", "error"}


def test_of_a_pipe(told: Any) -> None:
    (pipe,) = told["pipes"]
    assert set(pipe) == promised("Of a pipe:")
    rows = [line for line in TEXT.splitlines() if line.startswith("| `connections` |")]
    for name in pipe["connections"]:
        assert f"`{name}`" in rows[0], name


def test_of_a_worker(told: Any) -> None:
    for worker in told["workers"]:
        assert set(worker) == promised("Of a worker:")


def test_of_connections(status: Status) -> None:
    content = json.loads(ask(status.tcp, "/connections").text)
    section = TEXT.partition("## `/connections`")[2]
    assert all(f"`{name}`" in section.partition("| field |")[0] for name in content)
    # rates stand beside what they are rates of
    fields = {name for name in CONNECTION_FIELDS if f"`{name}`" in section}
    assert fields == set(content["connections"][0]) == set(CONNECTION_FIELDS)
    assert promised("## `/connections`") <= fields


@pytest.mark.parametrize("path", ["/", "/status", "/connections", "/metrics", "/ready", "/live"])
def test_of_every_path(status: Status, path: str) -> None:
    assert f"| `{path}` |" in TEXT
    assert ask(status.tcp, path).status == 200
