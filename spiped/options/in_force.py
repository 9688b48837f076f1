"""The options that a daemon runs with, for whoever asks it."""

from __future__ import annotations

from spiped.lean_typing import Any
from spiped.options.settings import DaemonOptions
from spiped.options.table import Option, options_of

MODES = ("encrypt", "decrypt")  # which settings have as one field

# Whose settings say the contrary
NEGATED = {"no_keepalive": "keepalive", "no_sandbox": "sandbox"}

# What other options of the same meaning have taken the place of
FOLDED = {"no_resolve", "verbose", "version", "help"}


def in_force(options: DaemonOptions) -> list[dict[str, Any]]:
    """Each option with its value, as JSON has it, and what makes a change of it take effect."""
    return [
        {"option": option.word, "value": _value(option, options), "effect": option.effect}
        for option in options_of("spiped")
        if option.field not in FOLDED
    ]


def _value(option: Option, options: DaemonOptions) -> Any:
    if option.field in MODES:
        return options.decrypt == (option.field == "decrypt")
    name = NEGATED.get(option.field, option.field)
    value = getattr(options, name) if hasattr(options, name) else getattr(options.pipe, name)
    if option.field in NEGATED:
        return not value
    if isinstance(value, float) and value == float("inf"):
        return "inf"
    return list(value) if isinstance(value, tuple) else value
