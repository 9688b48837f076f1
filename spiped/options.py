"""The command line: a grammar of its own, in which scripts have been written for years.

Single letters bundle (``-dF``); the argument of an option is the rest of its word, or the next
word, whatever that looks like; long options match exactly and take theirs as the next word.  The
first failure, or ``-v``, ends the parsing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from spiped import __version__
from spiped.constants import DEFAULT_RESOLVE_INTERVAL, DEFAULT_TIMEOUT
from spiped.errors import OperatorError
from spiped.light import Any, NoReturn

UINT64_MAX = 2**64 - 1
BLANKS = " \t\n\v\f\r"


class Usage(OperatorError):
    """The usage text is to be printed, behind the lines of the error if there are any."""


class Version(Exception):
    """``-v``: the version is to be printed."""

    def __str__(self) -> str:
        return __version__


def options(words: list[str], arguments: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    """The options on a command line, each with its argument, or "" if it takes none.

    ``arguments``: for every option, whether it takes an argument.
    """
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            words.insert(0, word)
            break
        letters = "" if word.startswith("--") else word[1:]
        names = [word] if not letters else [f"-{letter}" for letter in letters]
        for position, name in enumerate(names, start=1):
            if name not in arguments:
                raise Usage(f"illegal option -- {name}")
            if not arguments[name]:
                yield name, ""
                continue
            attached = letters[position:]
            if not attached and not words:
                raise Usage(f"Missing argument to {name}")
            yield name, attached or words.pop(0)
            break
    if words:
        raise Usage(f"Unexpected argument: {words[0]}")


def parse(words: list[str], table: Mapping[str, Callable[[str], Any] | None]) -> dict[str, Any]:
    """The value of every option given.

    ``table`` has for each option the function that parses its argument, or None if it takes none;
    those are then True.  Raises Usage also for an option that is repeated.
    """
    values: dict[str, Any] = {}
    takes_argument = {name: parser is not None for name, parser in table.items()}
    for name, argument in options(words, takes_argument):
        if name == "-v":
            raise Version
        if name in values:
            raise Usage(f"Option given more than once: {name}")
        parser = table[name]
        values[name] = True if parser is None else parser(argument)
    return values


def _refuse(name: str, text: str, reason: str) -> NoReturn:
    raise OperatorError(f"Error parsing argument: {name} {text}: {reason}")


def _invalid(name: str, text: str) -> NoReturn:
    _refuse(name, text, "Invalid argument")


def _out_of_range(name: str, text: str) -> NoReturn:
    _refuse(name, text, "Numerical result out of range")


def count(name: str) -> Callable[[str], int]:
    """A parser of non-negative integers as C's strtoumax takes them: 10, 0x10, 010."""

    def parse_count(text: str) -> int:
        digits = text.lstrip(BLANKS)
        negative = digits.startswith("-")
        digits = digits[1:] if digits[:1] in ("+", "-") else digits
        base = 10
        if digits[:2] in ("0x", "0X"):
            digits, base = digits[2:], 16
        elif digits.startswith("0"):
            base = 8
        if not (digits.isascii() and digits.isalnum()):
            _invalid(name, text)
        try:
            value = int(digits, base)
        except ValueError:
            _invalid(name, text)
        if value > UINT64_MAX or (negative and value != 0):
            _out_of_range(name, text)
        return value

    return parse_count


def seconds(name: str) -> Callable[[str], float]:
    """A parser of non-negative real numbers as C's strtod takes them: 0.5, 1e3, 0x10, inf, nan."""

    def parse_seconds(text: str) -> float:
        number = text.lstrip(BLANKS)
        if not number.isascii() or "_" in number or number != number.strip():
            _invalid(name, text)
        unsigned = number.lstrip("+-").lower()
        try:
            value = float.fromhex(number) if unsigned.startswith("0x") else float(number)
        except ValueError:
            _invalid(name, text)
        except OverflowError:
            _out_of_range(name, text)
        overflow = value in (float("inf"), float("-inf")) and not unsigned.startswith("inf")
        if overflow or value < 0:
            _out_of_range(name, text)
        return value

    return parse_seconds


def limit(name: str) -> Callable[[str], float]:
    """A parser of a time that something may take: inf means any."""

    def parse_limit(text: str) -> float:
        value = seconds(name)(text)
        if value != value:
            raise Usage(f"Not a number of seconds: {name} {text}")
        return value

    return parse_limit


def timeout(name: str) -> Callable[[str], float]:
    """A parser of ``-o``: a limit, but 0 means the default."""
    return lambda text: limit(name)(text) or DEFAULT_TIMEOUT


def interval(name: str) -> Callable[[str], float]:
    """A parser of ``-r``: 0 means the default; inf and nan mean never."""

    def parse_interval(text: str) -> float:
        value = seconds(name)(text)
        return float("inf") if value != value else value or DEFAULT_RESOLVE_INTERVAL

    return parse_interval


def text(argument: str) -> str:
    """A parser that takes anything."""
    return argument


def check_address(address: str) -> str:
    """Refuse what cannot be an address at all; what it stands for is looked up later."""
    if not address:
        raise Usage("Empty socket address")
    if address.startswith(":"):
        raise Usage(f'No host in "{address}"')
    return address
