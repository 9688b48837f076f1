"""The command ``spipedctl``: asks a running daemon, and tells it what to do."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time

from spiped.command.program import leave, program_name, run_program
from spiped.control import display
from spiped.control.client import (
    RETRY,
    Connection,
    Ended,
    NoDaemon,
    TooLate,
    ask,
)
from spiped.control.protocol import AGAIN, TIMEOUT, Answer
from spiped.errors import OperatorError
from spiped.lean_typing import NoReturn
from spiped.observe.log.log import Log
from spiped.options.command_line import read_ctl
from spiped.options.settings import CtlOptions
from spiped.options.values import Usage
from spiped.options.verbs import BY_NAME
from spiped.process.signals import is_ignored, unblock_signals
from spiped.process.streams import keep_streams_open

DIRECTORY = "/run/spiped"  # where control sockets are, by name

# Exit statuses
DONE, REFUSED, LATE = 0, 1, 2

GRACE = 5.0  # seconds that an answer may take beyond the time that it is to wait


def _run(log: Log, options: CtlOptions) -> int:
    keep_streams_open()
    if not is_ignored(signal.SIGINT):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    unblock_signals()
    path = _path(options)
    verb = options.words[0]
    try:
        if verb == "events":
            return _follow(path, options)
        if verb == "wait":
            return _wait(log, path, options)
        return _ask(log, path, options)
    except TooLate as error:
        log.refusal(error)
        return LATE
    except BrokenPipeError:  # whoever reads what we print has enough
        sys.stdout = None
        return REFUSED


def control_path(name: str) -> str:
    """Where ``--name`` expects a control socket."""
    return f"{DIRECTORY}/{name}.control"


def _path(options: CtlOptions) -> str:
    """The control socket.  What the command line says goes before what the environment does."""
    if options.socket is not None:
        return options.socket
    if options.name is not None:
        return control_path(options.name)
    path = os.environ.get("SPIPED_CONTROL")
    if not path:
        raise Usage("Which daemon is it? Use -s, --name, or SPIPED_CONTROL")
    return path


def _ask(log: Log, path: str, options: CtlOptions) -> int:
    request = list(options.words)
    is_dump = request[0] == "dump"
    if is_dump:
        request[0] = "show"
        if request[1] == "connections" and not any(w.startswith("limit=") for w in request):
            request.append("limit=0")
    try:
        answer = ask(path, request)
    except Ended:
        if BY_NAME[request[0]].changes:  # it has perhaps been done
            raise
        answer = ask(path, request)  # an upgrade was in between
    if is_dump and answer.get("ok"):
        _print(display.dump(request[1], answer))
        return DONE
    return _show(log, path, request, answer, options)


def _show(log: Log, path: str, request: list[str], answer: Answer, options: CtlOptions) -> int:
    """Print an answer; returns the exit status."""
    if options.json:
        _print(json.dumps(answer) + "\n")
    elif answer.get("ok"):
        _print(display.pretty(request, answer))
    if answer.get("ok"):
        return DONE
    if not options.json:
        log.refusal(OperatorError(f"{path}: {answer.get('error')}"))
    return LATE if answer.get("reason") == TIMEOUT else REFUSED


def _wait(log: Log, path: str, options: CtlOptions) -> int:
    """Wait, also for a daemon that starts, and across an upgrade."""
    what = options.words[1] if len(options.words) > 1 else ""
    left = _seconds(options.words[2]) if len(options.words) > 2 else math.inf
    is_limited = left < math.inf
    deadline = time.monotonic() + left
    while True:
        left = max(0.0, deadline - time.monotonic())
        request = ["wait", *([what] if what else []), *([f"{left:.3f}"] if is_limited else [])]
        try:
            answer = ask(path, request, left + GRACE)
        except NoDaemon as error:
            if what == "drained":  # it has ended: that is what was waited for
                log.refusal(OperatorError(f"{error.line}: taken for drained"))
                return DONE
            if what != "ready" or not is_limited:
                raise
            if left == 0:
                raise TooLate(error.line) from error
        except Ended:
            if what == "drained":
                return DONE
        else:
            if answer.get("reason") != AGAIN:
                return _show(log, path, request, answer, options)
        time.sleep(RETRY)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise OperatorError(f"wait: not a number of seconds: {text}")
    return seconds


def _follow(path: str, options: CtlOptions) -> int:
    """Print events until the daemon ends; an upgrade is no end."""
    while True:
        connection = Connection(path)
        connection.send(list(options.words))
        answer = _print_events(connection, options)
        connection.close()
        if answer is None:
            return DONE
        if answer.get("reason") != AGAIN:
            raise OperatorError(f"{path}: {answer.get('error')}")


def _print_events(connection: Connection, options: CtlOptions) -> Answer | None:
    """Print events; returns what is none, or None when the daemon has ended in order."""
    answer = connection.receive()
    if not answer.get("ok"):
        return answer
    last = ""
    while True:
        try:
            answer = connection.receive(math.inf)
        except Ended:
            if last == "stopped":
                return None
            raise
        if "event" not in answer:
            return answer
        last = answer["event"]
        _print(json.dumps(answer) + "\n" if options.json else display.event(answer))


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> NoReturn:
    name = program_name("spipedctl")
    leave(run_program("spipedctl", name, lambda log: _run(log, read_ctl(sys.argv[1:]))))
