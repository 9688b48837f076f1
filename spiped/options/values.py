"""What the argument of an option may be: parsers from text to a value.

Each takes the option's name, as the operator wrote it, and the text.  They raise OperatorError with
one line that names both.  Numbers are read as C's ``strtoumax`` and ``strtod`` read them, because
the C program does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from spiped.errors import OperatorError
from spiped.lean_typing import NoReturn

UINT64_MAX = 2**64 - 1
WORKERS_MAX = 1024
DESCRIPTOR_MAX = 2**31 - 1
PACE_MIN, PACE_MAX = 0.1, 86400.0  # seconds
BLANKS = " \t\n\v\f\r"

# What a source begins with that is a socket which somebody else has opened for us
BY_NAME, BY_NUMBER = "systemd:", "fd:"


class Usage(OperatorError):
    """The usage text is to be printed, behind the lines of the error if there are any."""

    hint = ""  # a line for the end of all that


def unknown_option(word: str, name: str, known: Iterable[str]) -> Usage:
    """No program has this option; ``word``: as it is to be called, ``name``: without argument."""
    from difflib import get_close_matches  # only now: hardly anybody asks

    error = Usage(f"illegal option -- {word}")
    near = get_close_matches(name, [each for each in known if len(each) > 2], 1)
    nearest = f"; the nearest is {near[0]}" if near else ""
    error.hint = f"There is no option {name}{nearest}; --help lists all"
    return error


def _refuse(name: str, text: str, reason: str) -> NoReturn:
    raise OperatorError(f"Error parsing argument: {name} {text}: {reason}")


def _invalid(name: str, text: str) -> NoReturn:
    _refuse(name, text, "Invalid argument")


def _out_of_range(name: str, text: str) -> NoReturn:
    _refuse(name, text, "Numerical result out of range")


def any_text(name: str, text: str) -> str:
    """Anything."""
    return text


def label(name: str, text: str) -> str:
    """A name that fits into a log line and a file name: printable, without blanks or slashes."""
    if not text or not text.isprintable() or any(c in " /" for c in text) or len(text) > 64:
        _invalid(name, text)
    return text


def address(name: str, text: str) -> str:
    """Refuse what cannot be an address at all; what it stands for is looked up later."""
    if not text:
        raise Usage("Empty socket address")
    if text.startswith(":"):
        raise Usage(f'No host in "{text}"')
    return text


def path_of_socket(name: str, text: str) -> str:
    """A path at which there can be a UNIX socket."""
    if not text or "\0" in text:
        _invalid(name, text)
    return text


def source(name: str, text: str) -> str:
    """An address, or a socket that is inherited: ``systemd:NAME``, ``fd:N``."""
    if text == BY_NAME:
        _refuse(name, text, "the name of a socket is missing")
    if text.startswith(BY_NUMBER):
        _descriptor(name, text, text.removeprefix(BY_NUMBER))
    return address(name, text)


def status(name: str, text: str) -> str:
    """An address; a path may have ``unix:`` in front of it, and then it need not be absolute."""
    path = text.removeprefix("unix:")
    if path and path != text:
        return os.path.abspath(path)
    if "/" in path and not path.startswith("/"):
        _refuse(name, text, f"a UNIX socket needs an absolute path, or unix:{path}")
    return address(name, path)


def is_inherited(source: str) -> bool:
    """A source is a socket that somebody else has opened."""
    return source.startswith((BY_NAME, BY_NUMBER))


def descriptor(name: str, text: str) -> int:
    """The number of a file descriptor."""
    return _descriptor(name, text, text)


def _descriptor(name: str, text: str, digits: str) -> int:
    if not (digits.isascii() and digits.isdigit()):
        _refuse(name, text, "not the number of a file descriptor")
    number = int(digits[:20])  # Python refuses thousands of digits
    if number > DESCRIPTOR_MAX:
        _out_of_range(name, text)
    return number


def one_of(*choices: str) -> Callable[[str, str], str]:
    """A parser of one of these words."""

    def choose(name: str, text: str) -> str:
        if text not in choices:
            _refuse(name, text, f"it is one of {', '.join(choices)}")
        return text

    return choose


def count(name: str, text: str) -> int:
    """A non-negative integer: 10, 0x10, 010."""
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


def workers(name: str, text: str) -> int | None:
    """A number of processes; None for ``auto``."""
    if text == "auto":
        return None
    number = count(name, text)
    if not 1 <= number <= WORKERS_MAX:
        _out_of_range(name, text)
    return number


def _real(name: str, text: str) -> float:
    """A non-negative real number: 0.5, 1e3, 0x10, inf, nan."""
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


def seconds(name: str, text: str) -> float:
    """A time limit; inf means none."""
    value = _real(name, text)
    if value != value:
        raise Usage(f"Not a number of seconds: {name} {text}")
    return value


def idle_seconds(name: str, text: str) -> float:
    """A time limit; 0 and inf mean none."""
    return seconds(name, text) or float("inf")


def interval(name: str, text: str) -> float:
    """The time from one look-up to the next; inf and nan mean never."""
    value = _real(name, text)
    return float("inf") if value != value else value


def pace(name: str, text: str) -> float:
    """The time from one look at a daemon to the next, which is to cost it nothing to speak of."""
    value = _real(name, text)
    if not PACE_MIN <= value <= PACE_MAX:
        _out_of_range(name, text)
    return value
