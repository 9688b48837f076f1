"""A real browser without a window, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.daemons import PATIENCE, needs, wait_until

FIRST_FREE = 10  # no descriptor of ours is one of those on which the browser expects the protocol

BECOME = "import os, sys; os.dup2(%d, 3); os.dup2(%d, 4); os.execv(sys.argv[1], sys.argv[1:])"


class Page:
    """One page of a browser, and what has happened there."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.do("Page.enable")
        self.do("Runtime.enable")
        self.do("Log.enable")
        self.do("Network.enable")

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.do(method, self._session, **parameters)

    def open(self, url: str) -> None:
        self.do("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to; of a promise, what that does."""
        answer = self.do(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Wait until an expression is true; returns what it comes to."""
        return wait_until(lambda: self.value(expression), expression)

    def style(self, scheme: str) -> None:
        """Be of a reader who prefers this: light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.do("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, width: int, height: int) -> bytes:
        """The page as PNG."""
        self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        return base64.b64decode(self.do("Page.captureScreenshot")["data"])

    @property
    def requests(self) -> list[str]:
        """What the page has asked for, from its beginning."""
        sent = self._browser.events("Network.requestWillBeSent")
        return [event["request"]["url"] for event in sent]

    @property
    def complaints(self) -> list[Any]:
        """Exceptions, failed requests, and what the policy has forbidden."""
        return [
            *self._browser.events("Runtime.exceptionThrown"),
            *self._browser.events("Log.entryAdded"),
        ]


class Browser:
    """The protocol: messages that end with a NUL byte, over two pipes."""

    def __init__(self, to: int, of: int) -> None:
        self._to, self._of = to, of
        self._unread = b""
        self._asked = 0
        self._events: list[dict[str, Any]] = []

    def events(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self._events if event["method"] == method]

    def do(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Give an order; returns the answer."""
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._asked:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._unread:
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._of], [], [], left)[0], "the browser does not answer"
            piece = os.read(self._of, 1 << 20)
            assert piece, "the browser has ended"
            self._unread += piece
        text, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def page(self) -> Page:
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        attached = self.do("Target.attachToTarget", targetId=target, flatten=True)
        return Page(self, attached["sessionId"])


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with nothing of anybody's in it."""
    program = needs("chromium")
    theirs_in, to = _pipe()
    of, theirs_out = _pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", BECOME % (theirs_in, theirs_out), program),
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--no-first-run", "--hide-scrollbars", "--disable-background-networking"),
                *("--remote-debugging-pipe", f"--user-data-dir={directory}", "--lang=en"),
            ],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            driven = Browser(to, of)
            yield driven
            driven.do("Browser.close")
        finally:
            os.close(to)
            os.close(of)
            try:
                process.wait(PATIENCE)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def _pipe() -> tuple[int, int]:
    """A pipe whose descriptors have high numbers."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
