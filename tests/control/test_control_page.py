"""docs/control.md, which promises names, says what there is."""

from __future__ import annotations

import re

from spiped.control import protocol, server
from spiped.options.verbs import CONDITIONS, SHOWN, VERBS
from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "control.md").read_text()


def section(begin: str, end: str) -> str:
    return PAGE.partition(begin)[2].partition(end)[0]


def test_every_reason_is_there() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|", section("| reason |", "## Verbs"), re.MULTILINE)
    reasons = {
        value for name, value in vars(protocol).items() if name.isupper() and isinstance(value, str)
    }
    assert set(rows) == reasons


def test_every_verb_is_there_with_its_words() -> None:
    requests = " ".join(re.findall(r"`([^`]+)`", section("## Verbs", "## Events")))
    for verb in VERBS:
        if verb.is_request:
            assert re.search(rf"\b{verb.name}\b", requests)
    for what in SHOWN:
        assert f"show {what}" in requests
    for what in CONDITIONS:
        assert f"wait {what}" in requests


def test_the_limits_are_those_of_the_program() -> None:
    assert f"at most {protocol.REQUEST_MAX:,} bytes" in PAGE
    assert f"there are {server.CLIENTS_MAX} clients" in PAGE
    assert f"{server.HELD_MAX >> 20} MiB of answers" in PAGE
    assert f"silent for {server.PATIENCE:g} seconds" in PAGE
    assert f"A reader has {server.EVENTS_MAX >> 10} KiB" in PAGE
