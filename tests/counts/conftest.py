"""The programs that play the scenes are compiled once."""

from __future__ import annotations

import sys

import pytest

from tests.counts.counting import Programs, build
from tests.helpers import lack


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    if sys.platform != "linux":
        lack("only Linux has the data plane in C")
    return build(tmp_path_factory.mktemp("scenes"))
