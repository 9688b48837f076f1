"""docs/troubleshooting.md has lines that the program writes."""

from __future__ import annotations

import errno
import re
from itertools import product

from spiped.observe.log.events import LimitReached
from spiped.observe.log.kinds import text_of
from spiped.plane.diagnosis import tell
from spiped.plane.ending import Ending, Reason
from spiped.proto.terms import CRYPT, PLAIN, Heard, Role
from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("|")][2:]


def messages(role: Role) -> set[str]:
    """All that an end can say of a connection that fails."""
    errors = (0, errno.ECONNREFUSED, errno.ECONNRESET)
    sides = (None, PLAIN, CRYPT)
    return {
        tell(Ending(reason, role, error, side, heard, target="ADDRESS"))
        for reason, error, side, heard in product(Reason, errors, sides, Heard)
    } | {text_of(LimitReached("", "N"))}  # type: ignore[arg-type]


def test_each_end_says_what_the_page_says() -> None:
    assert all(len(row) == 4 for row in ROWS)
    for column, role in ((0, Role.C), (1, Role.S)):
        cells = [found[1] for row in ROWS if (found := re.fullmatch("`(.*)`", row[column]))]
        assert len(cells) >= 6
        assert set(cells) <= messages(role)
