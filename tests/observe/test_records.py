"""Events as lines, for people and for programs, whatever is in them."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiped.observe.log.common import LinesLost, Refused
from spiped.observe.log.events import (
    ConnectionBegun,
    ConnectionFailed,
    Crashed,
    LameDuck,
    Started,
    Totals,
    WorkerDied,
)
from spiped.observe.log.kinds import (
    KINDS,
    Event,
    decode,
    encode,
    level_of,
    more_of,
    name_of,
    text_of,
)
from spiped.observe.log.printable import printable
from spiped.observe.log.records import FORMATS, NAMES, as_json, as_logfmt

ROOM = 3900

# Anything that Python calls a text: control characters, other directions, lone surrogates
texts = st.text(st.characters(exclude_categories=()))

FAILED = ConnectionFailed(
    pipe="mail",
    id="3-17",
    peer="[192.0.2.1]:4242",
    key="mail",
    target="[127.0.0.1]:25",
    sealed_bytes=1,
    opened_bytes=2,
    seconds=0.25,
    cause="bad_tag",
    side="client",
    detail="bad packet: bad tag, from the client",
)


def parsed_logfmt(line: str) -> dict[str, str]:
    """As its readers split it: at blanks that are not within quotes."""
    words = re.findall(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^" ]*)(?: |$)', line)
    assert " ".join(f"{name}={word}" for name, word in words) == line
    return {name: json.loads(word) if word[:1] == '"' else word for name, word in words}


def parsed_json(line: str) -> dict[str, object]:
    fields = json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert isinstance(fields, dict)
    return fields


# Names and values


def test_a_json_line_has_what_all_have_and_the_fields_of_its_event() -> None:
    fields = parsed_json(as_json(FAILED, ROOM))
    stamp = fields.pop("time")
    assert isinstance(stamp, str)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    age = datetime.now(timezone.utc) - datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    assert abs(age) < timedelta(minutes=1)
    assert isinstance(fields.pop("pid"), int)
    assert list(fields) == ["level", "event", *FAILED._asdict(), "message"]
    assert fields == {
        "level": "warning",
        "event": "connection_ended",
        **FAILED._asdict(),
        "message": "connection from [192.0.2.1]:4242 (3-17): bad packet: bad tag, from the client",
    }


def test_a_logfmt_line_says_the_same() -> None:
    line = as_logfmt(FAILED, ROOM)
    assert " level=warning event=connection_ended " in line
    assert " seconds=0.25 cause=bad_tag side=client " in line
    assert ' detail="bad packet: bad tag, from the client" ' in line
    of_json = parsed_json(as_json(FAILED, ROOM))
    of_logfmt = parsed_logfmt(line)
    assert list(of_json) == list(of_logfmt)
    del of_json["time"]
    assert {name: of_logfmt[name] for name in of_json} == {n: str(v) for n, v in of_json.items()}


def test_what_is_asked_for_is_a_notice() -> None:
    assert parsed_json(as_json(Totals(1, 2, 3, 4, 5), ROOM))["level"] == "notice"


def test_a_time_without_end_is_json_too() -> None:
    assert parsed_json(as_json(LameDuck(math.inf), ROOM))["seconds"] == "inf"


@pytest.mark.parametrize("word", ["", " ", "a b", 'a"b', "a=b", "a\\b", "ä", "\x85", "\\"])
def test_logfmt_quotes_what_would_be_split(word: str) -> None:
    assert parsed_logfmt(as_logfmt(Refused(word), ROOM))["reason"] == printable(word)


# Whatever comes from outside


@given(texts)
def test_a_printable_text_acts_on_nothing(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert (shown == text) == text.isprintable()
    assert printable(shown) == shown


def test_bytes_that_are_no_text_are_shown_as_bytes() -> None:
    text = b"\xff\xfe".decode(errors="surrogateescape") + "\ud800\x1b\x7f\x9b\u202e\u2028\U000e0001"
    assert printable(text) == r"\xff\xfe\ud800\x1b\x7f\x9b\u202e\u2028\U000e0001"


@given(texts, texts, st.sampled_from(sorted(FORMATS)))
def test_no_value_breaks_a_line(first: str, second: str, form: str) -> None:
    event = WorkerDied(7, first + second)
    line = FORMATS[form](event, ROOM)
    assert line.isprintable()
    assert len(line.encode()) <= ROOM
    fields = {"json": parsed_json, "logfmt": parsed_logfmt}[form](line)
    assert list(fields) == ["time", "level", "event", "pid", "worker", "how", "message"]
    if len(first + second) <= 100:
        assert fields["how"] == printable(first + second)
    assert text_of(event).isprintable()


@given(st.text(min_size=2000, max_size=9000), st.sampled_from(sorted(FORMATS)))
def test_a_long_value_loses_its_middle(text: str, form: str) -> None:
    event = Crashed("worker", 1, f"begins {text} ends")
    line = FORMATS[form](event, ROOM)
    assert len(line.encode()) <= ROOM
    fields = {"json": parsed_json, "logfmt": parsed_logfmt}[form](line)
    shown = str(fields["traceback"])
    assert shown.startswith("begins")
    assert shown.endswith("ends")


def test_only_a_traceback_takes_more_than_one_line() -> None:
    for kind in KINDS.values():
        event: Event = kind.make(**dict.fromkeys(kind.fields, "one\ntwo"))
        assert "\n" not in text_of(event)
        assert more_of(event) == (["one", "two"] if "traceback" in kind.fields else [])


# From process to process


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_event_survives_the_way_to_another_process(kind: object) -> None:
    event = kind.make(**{name: f"the {name}" for name in kind.fields})  # type: ignore[attr-defined]
    sent = json.loads(json.dumps(encode(event)))
    received = decode(sent)
    assert type(received) is type(event)
    assert received._asdict() == event._asdict()


def test_a_worker_of_another_version_may_know_more_fields_or_fewer() -> None:
    sent = encode(ConnectionBegun("mail", "1-1", "[192.0.2.1]:4242"))
    del sent["fields"]["pipe"]
    sent["fields"]["added"] = "later"
    received = decode(sent)
    assert received._asdict() == {"pipe": "", "id": "1-1", "peer": "[192.0.2.1]:4242"}
    assert text_of(received) == "connection from [192.0.2.1]:4242 (1-1): begun"


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"name": "Nothing", "fields": {}},
        {"name": "WorkerDied", "fields": []},
        {"name": "WorkerDied", "fields": {"worker": {}, "how": ""}},
        {"name": "WorkerDied", "fields": {"worker": None, "how": ""}},
        {"name": ["WorkerDied"], "fields": {}},
    ],
)
def test_what_is_no_event_is_refused(sent: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no "):
        decode(sent)


# The declarations


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_declaration_is_fit_to_be_promised(kind: object) -> None:
    event = kind.make(**dict.fromkeys(kind.fields, "?"))  # type: ignore[attr-defined]
    assert re.fullmatch("[a-z][a-z0-9_]*", name_of(event))
    assert level_of(event) in NAMES
    assert not {"time", "level", "event", "pid", "message"} & set(event._asdict())
    assert all(re.fullmatch("[a-z][a-z_]*", name) for name in event._asdict())


def test_started_is_a_notice_in_plain_words() -> None:
    event = Started("1", "mail", "[192.0.2.1]:8025", "[127.0.0.1]:25", 2)
    assert NAMES[level_of(event)] == "notice"
    assert text_of(event) == "Started: version 1, 2 workers, [192.0.2.1]:8025 to [127.0.0.1]:25"


def test_one_is_one_and_what_is_not_known_is_no_mistake() -> None:
    """A worker of another version may not know how many there are."""
    for number, words in ((1, "1 line is"), (0, "0 lines are"), (12, "12 lines are")):
        assert text_of(LinesLost(number)).startswith(f"{words} missing here: ")
    assert text_of(decode({"name": "LinesLost", "fields": {}})).endswith("could not be written")
