"""What the programs print about their options: the usage text and the help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spiped.options.table import Option, options_of

WIDTH = 79
INDENT = 4
HELP_COLUMN = 8
VERB_COLUMN = 2

WITH_VERBS = "spipedctl"  # the program that has a verb behind its options


def usage(program: str) -> str:
    """The synopsis of a program, as one word of usage and the options behind it."""
    first = f"usage: {program} "
    lines = [first.rstrip()]
    for item in _items(options_of(program)):
        if len(lines[-1]) + 1 + len(item) > WIDTH:
            lines.append(INDENT * " " + item)
        else:
            lines[-1] += f" {item}"
    if program == WITH_VERBS:
        lines[-1] += " verb ..."
    return "\n".join([*lines, f"       {program} -v"]) + "\n"


def help_text(program: str) -> str:
    """The usage text, and below it every option with what it means."""
    parts = [usage(program)]
    for option in options_of(program):
        names = ", ".join(filter(None, (option.letter, option.word)))
        argument = f" <{option.argument}>" if option.argument else ""
        text = option.help
        if option.default not in (None, (), float("inf")):
            default = option.default if isinstance(option.default, str) else f"{option.default:g}"
            unit = f" {option.unit}" if option.unit else ""
            text += f" (default: {default}{unit})"
        parts.append(f"  {names}{argument}\n" + _wrap(text, HELP_COLUMN))
    if program == WITH_VERBS:
        parts.append(_verbs())
    parts.append(f"The manual page {program}(1) says more.\n")
    return "\n".join(parts)


def _verbs() -> str:
    from spiped.options.verbs import VERBS  # which no other program needs

    entries = [
        _wrap(f"{verb.name} {verb.argument}", VERB_COLUMN) + _wrap(verb.help, HELP_COLUMN)
        for verb in VERBS
    ]
    return "verbs:\n\n" + "\n".join(entries)


def _items(options: Sequence[Option]) -> Iterator[str]:
    """The items of a synopsis; options that exclude each other are one item."""
    shown: set[str] = set()
    for option in options:
        if option.word in shown or option.word in ("--help", "--version"):
            continue
        partners = [o for o in options if o.word in option.excludes and o.word not in shown]
        shown.update(o.word for o in (option, *partners))
        text = " | ".join(_with_argument(o) for o in (option, *partners))
        if option.word == "--encrypt":
            yield f"{{{text}}}"
        else:
            yield text if option.required else f"[{text}]"


def _with_argument(option: Option) -> str:
    if not option.argument:
        return option.name
    if "|" not in option.argument:
        return f"{option.name} <{option.argument}>"
    choices = [choice.strip() for choice in option.argument.split("|")]
    named = [choice if choice in option.words else f"<{choice}>" for choice in choices]
    return f"{option.name} {{{' | '.join(named)}}}"


def _wrap(text: str, column: int) -> str:
    lines = [column * " "]
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(column * " ")
        lines[-1] += word if lines[-1].isspace() else f" {word}"
    return "\n".join(lines) + "\n"
