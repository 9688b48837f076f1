"""Writes docs/log.md from the declarations of events.

python -m tests.observe.log_page > docs/log.md
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

from spiped.observe.log import common, events  # noqa: F401  # they declare kinds
from spiped.observe.log.kinds import KINDS, Kind, level_of, name_of
from spiped.observe.log.records import NAMES
from spiped.plane.ending import Reason

INTRODUCTION = """\
# The log: events and their fields

`spiped --log-format json` writes each event as one JSON object in one line, `--log-format logfmt`
as one line of `name=value`. The text that people get is the field `message`. What stands here is a
promise: a name of an event or of a field is neither changed nor given another meaning without a new
major version, and CHANGELOG.md says so. Events and fields may be added at any time: programs should
pass over those that they do not know. The words of `message`, `detail` and `reason` are for people,
and may change.

## Every line

| field | |
|---|---|
| `time` | RFC 3339, UTC, with milliseconds |
| `level` | `debug`, `info`, `notice`, `warning`, `error`: `--log-level` shows those from one on |
| `event` | the name of the event |
| `pid` | the process id of the supervisor, which an upgrade keeps |
| *fields* | those of the event |
| `message` | the same for people, in one line |

A line has at most 3,900 bytes; values that are too long for that lose their middle. Characters that
would act on a terminal or end a line are written as escapes (`\\x1b`, `\\u202e`), and bytes that
are no UTF-8 as `\\xff`. No line has a secret or anything that a connection carries.

## The end of a connection

Every connection that is told of ends with one line, `connection_ended`: at `info` if it ended in
order, at `warning` if it failed, and at `debug` if the client left without a byte, as a probe does.
Failures that come too fast are counted and not told one by one: `more_failed` says how many, by
cause. `cause` is one of:

| cause | |
|---|---|
"""

EVENTS = """
## Events

| event | level | what it means | fields |
|---|---|---|---|
"""

FIELD_TABLE = """
## Fields

| field | |
|---|---|
"""

CAUSES = {
    Reason.CLEAN: "both directions came to their end (`info`)",
    Reason.ABORTED: "reset, because the daemon stops (`info`)",
    Reason.LEFT: "the client left without a byte, or before it was served (`debug`)",
    Reason.UNREACHED: "no connection to the target could be made",
    Reason.UNANSWERED: "the target did not answer in time (`-o`)",
    Reason.NO_KEY: "the peer does not hold the key",
    Reason.SAME_ROLE: "the peer plays the same part as we do, or sends back what it is sent",
    Reason.OUT_OF_RANGE: "the peer's Diffie-Hellman value is none",
    Reason.NO_PFS: "the peer refuses forward secrecy (`-f`), which `-g` requires",
    Reason.CLOSED: "the peer closed the connection during the handshake: a FIN",
    Reason.LOST: "the peer was lost during the handshake: a reset, most of the time",
    Reason.TOO_SLOW: "the handshake took longer than it may (`-o`)",
    Reason.SHED: "unauthenticated, and the oldest of too many (`--max-unauthenticated`)",
    Reason.TOO_MANY: "unauthenticated, and one too many from its address",
    Reason.BAD_TAG: "a packet is not authentic",
    Reason.BAD_LENGTH: "a packet says that it has an impossible length",
    Reason.TRUNCATED: "the stream ended inside a packet",
    Reason.PLAIN_LOST: "the plain side was lost before anything was carried",
    Reason.SOCKET_ERROR: "one side was lost while connected: a reset, most of the time",
    Reason.IDLE: "nothing was carried for longer than `--idle-timeout`",
    Reason.SHORTAGE: "here were no descriptors, or no memory, to connect with",
    Reason.KILLED: "reset, because the operator wants it (`spipedctl kill`)",
}

FIELDS = {
    "active": "connections now",
    "accepted": "connections since the start",
    "address": "as it was written",
    "addresses": "with commas between",
    "by_pid": "the process id of whoever has asked for it",
    "by_uid": "the user id of whoever has asked for it",
    "cause": "why it ended, as above",
    "causes": "how many for each cause: `wrong_key=12 lost=3`, the most frequent first",
    "chosen": "the address that is used",
    "connections": "how many",
    "descriptor": "the number of a file descriptor",
    "detail": "the cause, or causes, in words",
    "draining": "workers that accept nobody any more",
    "established": "connections since the start that have got as far as carrying data",
    "generation": "the number of the set of workers that serves",
    "how": "how a process ended, or why it could not start",
    "id": "what the daemon calls a connection: the worker's number, and its number there",
    "key": "the name of the key (its file, without `.key`): with `-e` ours,"
    " with `-d` the one that the peer has proved to hold, empty if none",
    "length": "bytes",
    "line": "what it says",
    "limit": "how many there may be (of memory, KiB)",
    "missing": "what is lacking, with reasons",
    "names": "with commas between",
    "needed": "how many are needed (of memory, KiB)",
    "number": "how many",
    "opened_bytes": "payload that was decrypted",
    "parts": "with commas between",
    "path": "of a file",
    "peer": "who connected: `[address]:port`, or `a local client`; empty if that does not matter",
    "pipe": "the name of the pipe (`--name`; else the source)",
    "process": "a process id",
    "result": "`done`, `begun`, or why not",
    "reason": "why, for people",
    "refused": "connections, since it was last said",
    "remark": "for people",
    "sealed_bytes": "payload that was encrypted",
    "seconds": "how long",
    "side": "who failed: `client` is whoever connected to us, `target` whom we connect to;"
    " or `nobody`",
    "source": "as it was written (`-s`)",
    "target": "as it was written (`-t`)",
    "traceback": "where in the program",
    "user": "as it was written (`-u`)",
    "version": "of the program",
    "what": "the request, as it was made",
    "who": "which process",
    "worker": "the process id of a worker",
    "workers": "how many worker processes",
}


def page() -> str:
    """The page as it should be."""
    parts = [INTRODUCTION, *_rows({reason.word: text for reason, text in CAUSES.items()})]
    kinds = sorted(KINDS.values(), key=lambda kind: str(kind.make.__module__))  # `common` first
    parts += [EVENTS, *map(_event, kinds)]
    return "".join([*parts, FIELD_TABLE, *_rows(FIELDS)])


def _rows(table: Mapping[str, str]) -> Iterator[str]:
    for name, text in table.items():
        yield f"| `{name}` | {text} |\n"


def _event(kind: Kind) -> str:
    event = kind.make(**dict.fromkeys(kind.fields, ""))
    about = " ".join((inspect.getdoc(kind.make) or "").split())
    fields = " ".join(f"`{name}`" for name in kind.fields)
    return f"| `{name_of(event)}` | {NAMES[level_of(event)]} | {about} | {fields} |\n"


if __name__ == "__main__":
    print(page(), end="")
