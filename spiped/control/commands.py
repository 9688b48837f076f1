"""What can be asked for on the control socket, and what a daemon does about it."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence

from spiped.control.protocol import (
    AGAIN,
    BAD_REQUEST,
    FAILED,
    NOT_FOUND,
    TIMEOUT,
    Answer,
    Refusal,
    grant,
    refuse,
)
from spiped.lean_typing import Any, NamedTuple, Protocol
from spiped.observe.view import CONNECTION_FIELDS, View
from spiped.options.settings import LEVELS
from spiped.options.verbs import BY_NAME, CONDITIONS, DEFAULT, SHOWN, VERBS

BEGUN = "begun"  # the result of what takes its time

KILL_TIME = 3.0  # seconds that a worker has to answer

CONNECTION_ID = re.compile("([0-9]{1,9})-([0-9]{1,19})")

LIMIT = 100  # connections that are shown unless the request says otherwise

# States of a daemon that will not be ready any more
LEAVING = ("lame_duck", "draining", "stopping")


class ReloadState(NamedTuple):
    """What has become of the reload that was asked for last; an upgrade asks for one as well."""

    was_asked: bool  # there has been one
    is_under_way: bool
    failure: str  # why it has failed, if it has


class Killing(Protocol):
    """A worker has been told to reset a connection."""

    done: bool | None  # whether it had that connection; None: it has not answered yet
    on_done: Callable[[], None]  # called when it has answered


class Daemon(Protocol):
    """What a supervisor can be asked and told."""

    @property
    def state(self) -> str:
        """As in docs/status.md."""

    @property
    def is_ready(self) -> bool:
        """Clients should come here."""

    @property
    def reload_state(self) -> ReloadState: ...

    def request_reload(self) -> str:
        """Begin a reload; returns why there can be none, or ""."""

    def request_upgrade(self) -> str:
        """Begin an upgrade; returns why there can be none, or ""."""

    def reopen_log(self) -> str:
        """Go on with the log file that has the name now; returns why that is not possible."""

    def leave(self) -> None:
        """As SIGTERM does, but for the first time only."""

    def stop(self) -> None:
        """As SIGINT does."""

    @property
    def log_level(self) -> str:
        """Events of this level, and above it, are shown."""

    def set_log_level(self, name: str | None) -> None:
        """Show events of this level, and above it; None: what suits the sink."""

    def kill(self, worker: int, number: int) -> Killing | None:
        """Have a worker reset a connection; None if there is no such worker."""

    def watch_connections(self, *, watched: bool) -> None:
        """Somebody looks at all events of connections, whatever the log shows; or nobody does."""


class Later(NamedTuple):
    """An answer that is not known yet."""

    look: Callable[[], Answer | None]  # to be asked again and again
    seconds: float  # from now on, at most; infinite: any time
    late: Answer  # the answer after that
    about: str = ""  # the peer of the connection that it is about


class Stream(NamedTuple):
    """An answer that has no end: all events from now on."""


Outcome = Answer | Later | Stream


class Commands:
    """Does what requests say."""

    def __init__(self, daemon: Daemon, view: View, config: list[dict[str, Any]]) -> None:
        """``config``: the options in force, as `show config` has them."""
        self._daemon = daemon
        self._view = view
        self._config = config
        self.on_known: Callable[[], None] = lambda: None  # an answer that was `Later` is known
        self._verbs: dict[str, Callable[[list[str]], Outcome]] = {
            "show": self._show,
            "events": self._events,
            "kill": self._kill,
            "reload": self._reload,
            "reopen": self._reopen,
            "upgrade": self._upgrade,
            "drain": self._drain,
            "stop": self._stop,
            "log": self._log,
            "wait": self._wait,
        }

    def perform(self, words: Sequence[str]) -> Outcome:
        """Do what a request says.  Raises Refusal if it says nothing that we understand."""
        verb, *rest = words
        if verb not in self._verbs:
            raise Refusal(BAD_REQUEST, f"No such request: {_brief(verb)}; {_LISTED}")
        most = BY_NAME[verb].most
        if len(rest) > most:
            raise Refusal(BAD_REQUEST, f"{verb}: too much: {_brief(rest[most])}")
        return self._verbs[verb](rest)

    # What there is

    def _show(self, words: list[str]) -> Answer:
        what, *more = words or [""]
        if what == "connections":
            return grant(**self._view.connections(**_connection_list(more)))
        if more:
            raise Refusal(BAD_REQUEST, f"show {_brief(what)}: too much: {_brief(more[0])}")
        if what == "config":
            return grant(config=[self._in_force(option) for option in self._config])
        status = self._view.status()
        match what:
            case "":
                return grant(**status)
            case "pipes" | "workers":
                return grant(**{what: status[what]})
            case "targets":
                targets = [
                    {"pipe": pipe["name"], **target}
                    for pipe in status["pipes"]
                    for target in pipe["targets"] or ()
                ]
                return grant(targets=targets)
            case "version":
                python = ".".join(map(str, sys.version_info[:3]))
                return grant(version=status["version"], python=python, pid=status["pid"])
        raise Refusal(BAD_REQUEST, f"show: no such thing: {_brief(what)}; {_one_of(SHOWN)}")

    def _in_force(self, option: dict[str, Any]) -> dict[str, Any]:
        is_level = option["option"] == "--log-level"  # which `log` changes
        return {**option, "value": self._daemon.log_level} if is_level else option

    def _events(self, words: list[str]) -> Stream:
        if words not in ([], ["-w"]):
            raise Refusal(BAD_REQUEST, f"events: too much: {_brief(words[0])}")
        return Stream()

    # Changes

    def _kill(self, words: list[str]) -> Outcome:
        found = CONNECTION_ID.fullmatch(words[0]) if words else None
        if found is None:
            raise Refusal(BAD_REQUEST, "kill: the id of a connection is WORKER-NUMBER")
        missing = refuse(NOT_FOUND, f"There is no connection {found[0]}")
        worker, number = int(found[1]), int(found[2])
        peer = self._view.peer_of(worker, number)
        killing = self._daemon.kill(worker, number)
        if killing is None:
            return missing
        killing.on_done = self.on_known

        def look() -> Answer | None:
            if killing.done is None:
                return None
            return grant(killed=found[0]) if killing.done else missing

        late = refuse(FAILED, f"Worker {found[1]} does not answer")
        return Later(look, KILL_TIME, late, peer)

    def _reload(self, words: list[str]) -> Answer:
        return _begun(self._daemon.request_reload())

    def _reopen(self, words: list[str]) -> Answer:
        failure = self._daemon.reopen_log()
        return refuse(FAILED, failure) if failure else grant()

    def _upgrade(self, words: list[str]) -> Answer:
        return _begun(self._daemon.request_upgrade())

    def _drain(self, words: list[str]) -> Answer:
        self._daemon.leave()
        return grant(result=BEGUN, state=self._daemon.state)

    def _stop(self, words: list[str]) -> Answer:
        self._daemon.stop()
        return grant(result=BEGUN, state=self._daemon.state)

    def _log(self, words: list[str]) -> Answer:
        if not words or words[0] not in (*LEVELS, DEFAULT):
            raise Refusal(BAD_REQUEST, f"log: {_one_of((*LEVELS, DEFAULT))}")
        self._daemon.set_log_level(None if words[0] == DEFAULT else words[0])
        return grant(level=words[0])

    # Waiting

    def _wait(self, words: list[str]) -> Later:
        if not words or words[0] not in CONDITIONS:
            raise Refusal(BAD_REQUEST, f"wait: {_one_of(CONDITIONS)}")
        looks = {
            "ready": self._look_ready,
            "reloaded": self._look_reloaded,
            "drained": lambda: None,  # when it is, we are not any more: `Server.close` answers
        }
        seconds = _seconds(words[1]) if len(words) > 1 else math.inf
        late = refuse(TIMEOUT, f"Not {words[0]} within {seconds:g} s")
        return Later(looks[words[0]], seconds, late)

    def _look_ready(self) -> Answer | None:
        if self._daemon.is_ready:
            return grant(state=self._daemon.state)
        if self._daemon.state in LEAVING:
            return refuse(FAILED, "The daemon has been told to end")
        return None

    def _look_reloaded(self) -> Answer | None:
        state = self._daemon.reload_state
        if not state.was_asked:
            return refuse(FAILED, "No reload has been asked for")
        if state.is_under_way and self._daemon.state in LEAVING:
            return refuse(FAILED, "The daemon has been told to end")
        if state.is_under_way:
            return None
        return refuse(FAILED, state.failure) if state.failure else grant()


UPGRADED = refuse(AGAIN, "Another program takes over: ask again")


def _one_of(choices: Sequence[str]) -> str:
    return f"it is one of {', '.join(choices)}"


_LISTED = _one_of([verb.name for verb in VERBS if verb.is_request])


def _brief(word: str) -> str:
    """As much of a word as fits into a message."""
    return word if len(word) <= 40 else f"{word[:40]}..."


def _begun(failure: str) -> Answer:
    return refuse(FAILED, failure) if failure else grant(result=BEGUN)


def _seconds(text: str) -> float:
    """A time; "inf" is any.  Raises Refusal."""
    try:
        seconds = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise Refusal(BAD_REQUEST, f"wait: not a number of seconds: {_brief(text)}")
    return seconds


def _connection_list(words: list[str]) -> dict[str, Any]:
    """Which connections are to be shown, and in which order.  Raises Refusal."""
    chosen: dict[str, Any] = {"limit": LIMIT}
    for word in words:
        name, _, value = word.partition("=")
        if name == "sort" and value in CONNECTION_FIELDS:
            chosen["sort"] = value
        elif name == "sort":
            raise Refusal(
                BAD_REQUEST, f"show connections: {_brief(word)}: {_one_of(CONNECTION_FIELDS)}"
            )
        elif name == "order" and value in ("asc", "desc"):
            chosen["descending"] = value == "desc"
        elif name == "limit" and value.isascii() and value.isdigit() and len(value) < 10:
            chosen["limit"] = int(value)
        elif name in ("pipe", "peer") and value:
            chosen[name] = value
        else:
            raise Refusal(
                BAD_REQUEST,
                f"show connections: {_brief(word)}: it is sort=FIELD, order=asc, order=desc,"
                " limit=NUMBER, pipe=NAME or peer=TEXT",
            )
    return chosen
