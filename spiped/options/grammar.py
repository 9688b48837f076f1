"""The grammar of a command line, in which scripts have been written for years.

Single letters bundle (``-dF``); the argument of one is the rest of its word, or the next word,
whatever that looks like.  Words match exactly; their argument stands behind ``=`` or is the next
word.  The first failure, or a request for the version or for help, ends the parsing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spiped import __version__
from spiped.lean_typing import Any
from spiped.options.table import Option
from spiped.options.values import Usage, unknown_option


class Version(Exception):
    """``-v``: the version is to be printed."""

    def __str__(self) -> str:
        return __version__


class Help(Exception):
    """``--help``: what each option means is to be printed."""


def parse(
    words: Sequence[str], options: Sequence[Option], operands: list[str] | None = None
) -> dict[str, Any]:
    """The values of the options on a command line, by field; those without an argument are True.

    Words behind the options are added to ``operands``, and a mistake if that is None.
    Raises Usage or OperatorError for a mistake, Version, or Help.
    """
    given: dict[str, Any] = {}
    rest = list(words)
    for name, option, argument in _split(rest, options):
        if option.field == "version":
            raise Version
        if option.field == "help":
            raise Help
        if option.field in given and not option.repeats:
            raise Usage(f"Option given more than once: {name}")
        value: Any = True
        if option.argument:
            value = option.parse(name, argument)
            if value == 0 and option.zero_is_default:
                value = option.default
        given[option.field] = (*given.get(option.field, ()), value) if option.repeats else value
    if rest and operands is None:
        raise Usage(f"Unexpected argument: {rest[0]}")
    if operands is not None:
        operands += rest
    return given


def _split(rest: list[str], options: Sequence[Option]) -> Iterator[tuple[str, Option, str]]:
    """Each option: as it was written, its declaration, and its argument ("" if it takes none).

    Takes all of that out of ``rest``.
    """
    known = {name: option for option in options for name in (option.letter, option.word) if name}
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            rest.insert(0, word)
            break
        if word.startswith("--"):
            yield _long(word, rest, known)
        else:
            yield from _letters(word[1:], rest, known)


def _long(word: str, rest: list[str], known: dict[str, Option]) -> tuple[str, Option, str]:
    name, equals, attached = word.partition("=")
    option = known.get(name)
    if option is None:
        raise unknown_option(word, name, known)
    if equals and not option.argument:
        raise Usage(f"illegal option -- {name}")
    if not option.argument:
        return name, option, ""
    return name, option, attached if equals else _next(name, rest)


def _letters(
    letters: str, rest: list[str], known: dict[str, Option]
) -> Iterator[tuple[str, Option, str]]:
    while letters:
        name, letters = f"-{letters[0]}", letters[1:]
        option = known.get(name)
        if option is None:
            raise unknown_option(name, name, known)
        if not option.argument:
            yield name, option, ""
            continue
        yield name, option, letters or _next(name, rest)
        return


def _next(name: str, rest: list[str]) -> str:
    if not rest:
        raise Usage(f"Missing argument to {name}")
    return rest.pop(0)
