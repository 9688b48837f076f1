"""From a command line to settings: which options are needed, and which exclude each other."""

from __future__ import annotations

from collections.abc import Sequence

from spiped.errors import OperatorError
from spiped.lean_typing import Any
from spiped.options.grammar import parse
from spiped.options.settings import CtlOptions, DaemonOptions, PipeOptions, TopOptions
from spiped.options.table import Option, options_of
from spiped.options.values import Usage, is_inherited


def read_spiped(words: Sequence[str]) -> DaemonOptions:
    """Raises Usage, OperatorError, Version or Help."""
    table = options_of("spiped")
    given = parse(words, table)
    if not given:
        raise Usage
    _check(given, table)
    if "encrypt" not in given and "decrypt" not in given:
        raise Usage("One of -e and -d is needed")
    if "no_resolve" in given:
        given["resolve_interval"] = float("inf")
    if "verbose" in given:
        given["log_level"] = "info"
    source = given["source"]
    pid_file = None if is_inherited(source) else f"{source}.pid"
    same = {name: given[name] for name in DaemonOptions._fields if name in given}
    return DaemonOptions(
        **{"name": source, "pid_file": pid_file, "decrypt": False} | same | {"pipe": _pipe(given)}
    )


def read_spipe(words: Sequence[str]) -> PipeOptions:
    """Raises Usage, OperatorError, Version or Help."""
    table = options_of("spipe")
    given = parse(words, table)
    if not given:
        raise Usage
    _check(given, table)
    return _pipe(given)


def read_ctl(words: Sequence[str]) -> CtlOptions:
    """Raises Usage, OperatorError, Version or Help."""
    from spiped.options.verbs import BY_NAME, SHOWN  # which no other program needs

    table = options_of("spipedctl")
    operands: list[str] = []
    given = parse(words, table, operands)
    if not operands:
        raise Usage
    _check(given, table)
    verb, *rest = operands
    if verb not in BY_NAME:
        raise Usage(f"No such verb: {verb}")
    if len(rest) > BY_NAME[verb].most:
        raise Usage(f"Unexpected argument: {rest[BY_NAME[verb].most]}")
    if verb == "dump" and rest[:1] not in ([what] for what in SHOWN):
        raise Usage(f"dump: it is one of {', '.join(SHOWN)}")
    for word in operands:  # a request is a line of words
        if not word.isprintable() or " " in word or not word:
            raise OperatorError(f"{verb}: an argument is empty, or has blanks: {word!r}")
    return CtlOptions(tuple(operands), **given)


def read_top(words: Sequence[str]) -> TopOptions:
    """Raises Usage, OperatorError, Version or Help."""
    return TopOptions(**parse(words, options_of("spiped-top")))


def _pipe(given: dict[str, Any]) -> PipeOptions:
    same = {name: given[name] for name in PipeOptions._fields if name in given}
    return PipeOptions(
        **same, keepalive="no_keepalive" not in given, sandbox="no_sandbox" not in given
    )


def _check(given: dict[str, Any], table: Sequence[Option]) -> None:
    by_word = {option.word: option for option in table}
    for option in table:
        if option.required and option.field not in given:
            raise Usage(f"Missing option: {option.name}")
        if given.get(option.field, option.default) == option.default:
            continue
        for other in (by_word[word] for word in option.excludes if word in by_word):
            if other.field in given:
                raise Usage(f"Options exclude each other: {option.name} and {other.name}")
