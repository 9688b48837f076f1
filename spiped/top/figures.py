"""Numbers as people read them, each in a few characters."""

from __future__ import annotations

from spiped.lean_typing import Any

UNKNOWN = "–"  # noqa: RUF001
UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
LARGE = 10_000_000  # from here on, numbers are shortened
MINUTE, HOUR, DAY = 60, 3600, 86400


def text(value: Any) -> str:
    return str(value) if value else UNKNOWN


def number(value: Any) -> str:
    """A number that is a name."""
    return UNKNOWN if value is None else f"{value:.0f}"


def limit(value: Any) -> str:
    return "none" if value == 0 else count(value)


def count(value: Any) -> str:
    if value is None:
        return UNKNOWN
    if abs(value) < LARGE:
        return f"{value:,.0f}"
    for unit in ("M", "G"):
        value /= 1000 if unit == "G" else 1_000_000
        if value < 1000:
            return f"{_three_digits(value)}{unit}"
    return f"{value:.3g}G"


def size(value: Any) -> str:
    """A number of bytes."""
    if value is None:
        return UNKNOWN
    for unit in UNITS:
        if value < 999.5 or unit == UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} B" if unit == "B" else f"{_three_digits(value)} {unit}"


def rate(value: Any) -> str:
    """Something a second that is often less than one."""
    if value is None:
        return UNKNOWN
    return count(value) if value >= 100 else f"{value:.1f}"


def share(value: Any) -> str:
    """A part of one processor."""
    return UNKNOWN if value is None else f"{100 * value:.0f}%"


def duration(value: Any) -> str:
    if value is None:
        return UNKNOWN
    seconds = max(0, int(value))
    if seconds < MINUTE:
        return f"{seconds}s"
    if seconds < HOUR:
        return f"{seconds // MINUTE}m{seconds % MINUTE:02}s"
    if seconds < DAY:
        return f"{seconds // HOUR}h{seconds % HOUR // MINUTE:02}m"
    days = seconds // DAY
    return f"{days}d{seconds % DAY // HOUR:02}h" if days < 100 else f"{days}d"


def _three_digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
