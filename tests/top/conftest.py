"""A status server on the stage, and what it is to say."""

from __future__ import annotations

import pytest

from tests.daemons import Stage
from tests.top.server import StatusServer, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def server(stage: Stage, world: World) -> StatusServer:
    server: StatusServer = stage.on_stage(StatusServer(stage.address(), world))
    return server
