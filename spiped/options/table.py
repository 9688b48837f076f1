"""The options of all programs: each is declared here, once.

Parsing, usage text, ``--help``, the synopsis and the option list of the manual pages, and the
defaults in `settings` follow from this table, or a test proves that they agree with it.
"""

from __future__ import annotations

from collections.abc import Callable

from spiped.lean_typing import Any, NamedTuple
from spiped.options import values
from spiped.options.settings import (
    DEFAULT_CONNECTIONS,
    DEFAULT_FORMAT,
    DEFAULT_LIMIT,
    DEFAULT_PACE,
    DEFAULT_RESOLVE_INTERVAL,
    DEFAULT_SORT,
    DEFAULT_TIMEOUT,
    FORMATS,
    LEVELS,
    UNLIMITED,
)

# Whom an option is for
SPIPED, SPIPE, BOTH = ("spiped",), ("spipe",), ("spiped", "spipe")
CTL, TOP = ("spipedctl",), ("spiped-top",)
ALL = (*BOTH, *CTL, *TOP)

# What it is a property of: of the processes, or of the pipe that they serve
PROCESS, PIPE = "process", "pipe"

# What makes a change of its value take effect.  A reload reads the key file and looks the target
# up; an upgrade executes the command again and keeps the sockets; the rest needs a restart.
RELOAD, UPGRADE, RESTART = "reload", "upgrade", "restart"


class Option(NamedTuple):
    """One option.  Most are refused when they are given twice, as the C program does."""

    letter: str  # "-k", or "" if it has none
    word: str  # "--key"
    help: str
    argument: str = ""  # what it takes, for people; "": nothing
    parse: Callable[[str, str], Any] = values.any_text
    default: Any = None
    unit: str = ""  # of the default, for people
    programs: tuple[str, ...] = SPIPED
    scope: str = PIPE
    effect: str = RESTART
    required: bool = False
    # Words of options that it cannot stand beside, unless its value is the default
    excludes: tuple[str, ...] = ()
    zero_is_default: bool = False  # an argument of 0 means the default
    repeats: bool = False  # it may be given several times; the value has all arguments
    words: tuple[str, ...] = ()  # of the argument that are to be written as they stand

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.letter or self.word

    @property
    def field(self) -> str:
        """What parsed values and settings call it."""
        return self.word[2:].replace("-", "_")


OPTIONS = (
    Option(
        "-e",
        "--encrypt",
        "encrypt connections to the source, and connect to a target that decrypts",
        excludes=("--decrypt",),
    ),
    Option(
        "-d",
        "--decrypt",
        "decrypt connections to the source, and connect to a target in plain text",
    ),
    Option(
        "-s",
        "--source",
        "listen at this address, or on a socket that is inherited: systemd:NAME, fd:N",
        "source socket",
        values.source,
        required=True,
    ),
    Option(
        "-t",
        "--target",
        "connect to this address",
        "target socket",
        values.address,
        programs=BOTH,
        effect=RELOAD,
        required=True,
    ),
    Option(
        "-k",
        "--key",
        "read the key from this file; - is the standard input",
        "key file",
        programs=BOTH,
        effect=RELOAD,
        required=True,
    ),
    Option(
        "-b",
        "--bind",
        "connect to the target from this address",
        "bind address",
        values.address,
        programs=BOTH,
    ),
    Option(
        "-D",
        "--wait-for-dns",
        "wait until host names can be looked up; go to the background first",
        scope=PROCESS,
    ),
    Option(
        "-F",
        "--foreground",
        "stay in the foreground, and write no pid file",
        scope=PROCESS,
    ),
    Option(
        "-f",
        "--no-pfs",
        "do not provide perfect forward secrecy, which saves CPU time",
        programs=BOTH,
        excludes=("--require-pfs",),
    ),
    Option(
        "-g",
        "--require-pfs",
        "reject peers that do not provide perfect forward secrecy",
        programs=BOTH,
    ),
    Option(
        "-j",
        "--no-keepalive",
        "do not send TCP keep-alive packets",
        programs=BOTH,
    ),
    Option(
        "-n",
        "--connections",
        "carry at most this many connections at once; 0 means no limit",
        "max # connections",
        values.count,
        DEFAULT_CONNECTIONS,
    ),
    Option(
        "-o",
        "--timeout",
        "give up if connecting, or a handshake, takes longer",
        "connection timeout",
        values.seconds,
        DEFAULT_TIMEOUT,
        unit="seconds",
        programs=BOTH,
        zero_is_default=True,
    ),
    Option(
        "-p",
        "--pid-file",
        "write the process id to this file (default: the source socket and .pid)",
        "pidfile",
        scope=PROCESS,
    ),
    Option(
        "-r",
        "--resolve-interval",
        "look the target's host name up again after this time",
        "rtime",
        values.interval,
        DEFAULT_RESOLVE_INTERVAL,
        unit="seconds",
        excludes=("--no-resolve",),
        zero_is_default=True,
    ),
    Option(
        "-R",
        "--no-resolve",
        "look the target's host name up only at the start and at a reload",
    ),
    Option(
        "",
        "--control",
        "take requests of spipedctl at this UNIX socket",
        "path",
        values.path_of_socket,
        scope=PROCESS,
    ),
    Option(
        "",
        "--drain-timeout",
        "reset connections this long after a reload or an upgrade has replaced their worker",
        "seconds",
        values.seconds,
        UNLIMITED,
        scope=PROCESS,
        effect=UPGRADE,
    ),
    Option(
        "",
        "--idle-timeout",
        "end connections that carry nothing for longer; 0 means never",
        "seconds",
        values.idle_seconds,
        UNLIMITED,
    ),
    Option(
        "",
        "--max-unauthenticated",
        "carry at most this many connections whose peer has not proved that it holds the key; 0:"
        " any number (default: three quarters of -n)",
        "number",
        values.count,
        excludes=("--encrypt",),
    ),
    Option(
        "",
        "--max-unauthenticated-per-source",
        "of these, carry at most this many from one address",
        "number",
        values.count,
        0,
        excludes=("--encrypt",),
    ),
    Option(
        "",
        "--name",
        "call the pipe this in messages and in the status (default: the source socket)",
        "name",
        values.label,
    ),
    Option(
        "",
        "--ready-fd",
        "write a newline to this file descriptor when ready, and close it",
        "number",
        values.descriptor,
        scope=PROCESS,
    ),
    Option(
        "",
        "--shutdown-delay",
        "after SIGTERM, go on accepting connections for this time",
        "seconds",
        values.seconds,
        0.0,
        unit="seconds",
        scope=PROCESS,
        effect=UPGRADE,
    ),
    Option(
        "",
        "--shutdown-timeout",
        "after SIGTERM, reset connections that are still open after this time",
        "seconds",
        values.seconds,
        UNLIMITED,
        scope=PROCESS,
        effect=UPGRADE,
    ),
    Option(
        "",
        "--status",
        "serve the status of the daemon over HTTP at this address; may be given several times",
        "socket",
        values.status,
        (),
        scope=PROCESS,
        repeats=True,
    ),
    Option(
        "",
        "--syslog",
        "send messages to the system log, once in the background",
        scope=PROCESS,
        excludes=("--log-file",),
    ),
    Option(
        "",
        "--log-file",
        "append messages to this file",
        "file",
        scope=PROCESS,
    ),
    Option(
        "",
        "--log-format",
        "write messages in this format",
        " | ".join(FORMATS),
        values.one_of(*FORMATS),
        DEFAULT_FORMAT,
        scope=PROCESS,
        effect=UPGRADE,
        words=FORMATS,
    ),
    Option(
        "",
        "--log-level",
        "write messages of this level and above"
        " (default: notice to a file, the system log or the journal, else warning)",
        " | ".join(LEVELS),
        values.one_of(*LEVELS),
        scope=PROCESS,
        effect=UPGRADE,
        excludes=("--verbose",),
        words=LEVELS,
    ),
    Option(
        "",
        "--verbose",
        "also tell of connections that end in order: --log-level info",
        scope=PROCESS,
        effect=UPGRADE,
    ),
    Option(
        "-u",
        "--user",
        "run as this user, this group, or both",
        "username | :groupname | username:groupname",
        scope=PROCESS,
    ),
    Option(
        "",
        "--no-sandbox",
        "do not sandbox the processes that carry connections",
        programs=BOTH,
        scope=PROCESS,
        effect=UPGRADE,
    ),
    Option(
        "",
        "--workers",
        "run this many worker processes (default: auto, one for each CPU)",
        "number | auto",
        values.workers,
        scope=PROCESS,
        effect=UPGRADE,
        words=("auto",),
    ),
    Option(
        "-s",
        "--socket",
        "ask the daemon whose control socket this is (default: what SPIPED_CONTROL says)",
        "path",
        programs=CTL,
        scope=PROCESS,
        excludes=("--name",),
    ),
    Option(
        "",
        "--name",
        "ask the daemon whose control socket is /run/spiped/NAME.control",
        "name",
        values.label,
        programs=CTL,
        scope=PROCESS,
    ),
    Option("", "--json", "print answers as JSON", programs=CTL, scope=PROCESS),
    Option(
        "",
        "--status",
        "ask the status server at this address: unix:PATH, HOST:PORT, http://HOST:PORT"
        " (default: what SPIPED_STATUS says)",
        "address",
        programs=TOP,
        scope=PROCESS,
    ),
    Option(
        "",
        "--once",
        "print what there is, and exit",
        programs=TOP,
        scope=PROCESS,
    ),
    Option(
        "",
        "--plain",
        "print lines of columns with tabs between them, for scripts",
        programs=TOP,
        scope=PROCESS,
    ),
    Option(
        "",
        "--interval",
        "look again after this time",
        "seconds",
        values.pace,
        DEFAULT_PACE,
        unit="seconds",
        programs=TOP,
        scope=PROCESS,
    ),
    Option(
        "",
        "--sort",
        "sort the connections by this field",
        "field",
        default=DEFAULT_SORT,
        programs=TOP,
        scope=PROCESS,
    ),
    Option(
        "",
        "--limit",
        "ask for at most this many connections, the first ones of that order; 0: for all",
        "number",
        values.count,
        DEFAULT_LIMIT,
        programs=TOP,
        scope=PROCESS,
    ),
    Option("", "--help", "print this text", programs=ALL, scope=PROCESS),
    Option("-v", "--version", "print the version", programs=ALL, scope=PROCESS),
)


def options_of(program: str) -> tuple[Option, ...]:
    """The options of a program."""
    return tuple(option for option in OPTIONS if program in option.programs)
