"""docs/metrics.md, which promises names, says what the program tells."""

from __future__ import annotations

from spiped.observe.families import problems
from spiped.observe.metrics import METRICS, PROCESS
from tests.helpers import ROOT
from tests.observe.metrics_page import example, page


def test_the_page_is_that_of_the_declarations() -> None:
    """If not: python -m tests.observe.metrics_page > docs/metrics.md"""
    assert (ROOT / "docs" / "metrics.md").read_text() == page()


def test_everything_that_is_declared_has_a_sample() -> None:
    found = example()
    assert len(found) == len(METRICS) + len(PROCESS)
    assert [family.name for family in found if not family.samples] == []


def test_names_kinds_and_numbers_are_those_of_the_formats() -> None:
    assert problems(example()) == []
