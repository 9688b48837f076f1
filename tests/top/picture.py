"""Make the picture of `spiped-top` that README shows, from what the program puts on a screen.

    python -m tests.top.picture [FILE]

The program is the real one, in a pseudo-terminal; the daemon that it looks at is played, so that
the picture looks the same whoever makes it.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.daemons import Stage
from tests.top.seat import Seat
from tests.top.server import Json, StatusServer, World, connection, moving

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "spiped-top.svg"
COLUMNS, LINES = 118, 38
LOOKS = 70  # that fill the charts
LISTED = 27


class Busy(World):
    """Connections of all kinds, most of which carry something now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = time.time()
        self.status = self._status
        self._moving = moving(self.begin)

    def _status(self) -> Json:
        status = self._moving()
        for pipe, active in zip(status["pipes"], (2 * LISTED // 3, LISTED // 3), strict=True):
            pipe["connections"]["active"] = active
        for worker, active in zip(status["workers"], (LISTED // 2, -(-LISTED // 2)), strict=True):
            worker["active"] = active
        return status

    def listing(self, query: str) -> Json:
        t = time.time() - self.begin
        self.connections = [_connection(number, t) for number in range(1, LISTED + 1)]
        return super().listing(query)


def _connection(number: int, t: float) -> Json:
    swing = max(0.0, math.sin(t * (0.3 + number / 20) + number))
    rate = int(40e6 / number**1.7 * (0.4 + swing)) if number % 5 else 0
    serves_mail = number % 3 > 0
    return connection(
        37 * number,
        pipe="mail" if serves_mail else "ssh",
        peer=f"[192.0.2.{7 * number % 250}]:{40000 + 977 * number % 20000}",
        target="[127.0.0.1]:25" if serves_mail else "[127.0.0.1]:22",
        age=int(t) + 61 * number * number,
        idle=0 if rate else 4 * number,
        sealed=rate * 90 + number * 100_000,
        opened=rate * 31 + number * 7_000,
        sealed_rate=rate,
        opened_rate=rate // 3,
    )


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with tempfile.TemporaryDirectory() as directory, Stage(Path(directory)) as stage:
        world = Busy()
        server = stage.on_stage(StatusServer(stage.address(), world))
        words = ("--status", server.option, "--interval", "0.2")
        seat = Seat(stage, *words, columns=COLUMNS, lines=LINES)
        while len(world.asked) < 2 * LOOKS:
            time.sleep(0.1)
        screen = seat.styled
        seat.press("q")
        seat.wait_for_end()
    with Path("/dev/null").open("w") as nowhere:
        console = Console(width=COLUMNS, record=True, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(screen), no_wrap=True, crop=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        svg = console.export_svg(title="spiped-top", theme=MONOKAI, unique_id="spiped-top")
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


if __name__ == "__main__":
    main()
