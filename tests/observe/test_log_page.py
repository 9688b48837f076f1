"""docs/log.md, which promises names, says what the program writes."""

from __future__ import annotations

import inspect

from spiped.observe.log.kinds import KINDS
from spiped.plane.ending import Reason
from tests.helpers import ROOT
from tests.observe.log_page import CAUSES, FIELDS, page


def test_the_page_is_that_of_the_declarations() -> None:
    """If not: python -m tests.observe.log_page > docs/log.md"""
    assert (ROOT / "docs" / "log.md").read_text() == page()


def test_every_event_every_field_and_every_cause_is_explained() -> None:
    assert all(inspect.getdoc(kind.make) for kind in KINDS.values())
    assert {name for kind in KINDS.values() for name in kind.fields} == set(FIELDS)
    assert set(CAUSES) == set(Reason) - {Reason.OVERLOAD}  # which `overloaded` counts
