"""What `spipedctl` can be told: each verb is declared here, once, with the words behind it.

Help, completions, and what the daemon takes follow from this table.
"""

from __future__ import annotations

from spiped.lean_typing import NamedTuple
from spiped.options.settings import LEVELS

SHOWN = ("pipes", "workers", "connections", "targets", "config", "version")
CONDITIONS = ("ready", "reloaded", "drained")
DEFAULT = "default"  # in place of a level: what suits where messages go


class Verb(NamedTuple):
    """One verb."""

    name: str
    help: str
    argument: str = ""  # what may stand behind it, for people
    words: tuple[str, ...] = ()  # of which the first word behind it is one
    most: int = 0  # words behind it
    changes: bool = False  # the daemon: an audit line says who has asked for it
    is_request: bool = True  # else it is the client's own


VERBS = (
    Verb(
        "show",
        "print how the daemon is, or a part of that",
        "[pipes | workers | connections [sort=FIELD] [order=asc | order=desc] [limit=NUMBER]"
        " [pipe=NAME] [peer=TEXT] | targets | config | version]",
        SHOWN,
        6,
    ),
    Verb("events", "print what happens, as it happens, as JSON lines", "[-w]", ("-w",), 1),
    Verb("kill", "reset a connection", "ID", most=1, changes=True),
    Verb("reload", "read the key and look the target up again", changes=True),
    Verb("reopen", "go on with the log file that has the name now", changes=True),
    Verb("upgrade", "let a new version of the program take over", changes=True),
    Verb("drain", "accept nobody any more, and end with the last connection", changes=True),
    Verb("stop", "reset all connections, and end", changes=True),
    Verb(
        "log",
        "log events of this level and above",
        " | ".join((*LEVELS, DEFAULT)),
        (*LEVELS, DEFAULT),
        1,
        changes=True,
    ),
    Verb(
        "wait",
        "wait until the daemon is ready, has reloaded, or has ended",
        "ready | reloaded | drained [SECONDS]",
        CONDITIONS,
        2,
    ),
    Verb(
        "dump",
        "print a list as a header line and rows, with tabs between the columns",
        "pipes | workers | connections | targets | config | version",
        SHOWN,
        6,
        is_request=False,
    ),
)

BY_NAME = {verb.name: verb for verb in VERBS}
