"""The command ``spiped``: its options, and what becomes of a mistake in them."""

from __future__ import annotations

import sys
from collections.abc import Callable

from spiped import options
from spiped.config import DaemonOptions, Limits, PipeOptions
from spiped.constants import DEFAULT_CONNECTIONS, DEFAULT_RESOLVE_INTERVAL, DEFAULT_TIMEOUT
from spiped.errors import OperatorError
from spiped.light import Any
from spiped.observe.log import Log, program_name

USAGE = """\
usage: spiped {-e | -d} -s <source socket> -t <target socket> -k <key file>
    [-b <bind address>] [-D] [-F] [-f | -g] [-j]
    [-n <max # connections>] [-o <connection timeout>] [-p <pidfile>]
    [-r <rtime> | -R] [--idle-timeout <seconds>]
    [--max-unauthenticated <number>] [--max-unauthenticated-per-source <number>]
    [--shutdown-timeout <seconds>]
    [--syslog | --log-file <file>] [--verbose]
    [-u {<username> | <:groupname> | <username:groupname>}]
    [--no-sandbox] [--workers {<number> | auto}]
       spiped -v
"""

Parser = Callable[[str], Any]


def _workers(argument: str) -> int | None:
    if argument == "auto":
        return None
    number = options.count("--workers")(argument)
    if not 1 <= number <= 1024:
        raise OperatorError(
            f"Error parsing argument: --workers {argument}: Numerical result out of range"
        )
    return number


PIPE_TABLE: dict[str, Parser | None] = {
    "-b": options.text,
    "-f": None,
    "-g": None,
    "-j": None,
    "-k": options.text,
    "-o": options.timeout("-o"),
    "-t": options.text,
    "-v": None,
    "--no-sandbox": None,
}

TABLE: dict[str, Parser | None] = PIPE_TABLE | {
    "-D": None,
    "-F": None,
    "-R": None,
    "-d": None,
    "-e": None,
    "-n": options.count("-n"),
    "-p": options.text,
    "-r": options.interval("-r"),
    "-s": options.text,
    "-u": options.text,
    "--idle-timeout": options.limit("--idle-timeout"),
    "--log-file": options.text,
    "--max-unauthenticated": options.count("--max-unauthenticated"),
    "--max-unauthenticated-per-source": options.count("--max-unauthenticated-per-source"),
    "--shutdown-timeout": options.limit("--shutdown-timeout"),
    "--syslog": None,
    "--verbose": None,
    "--workers": _workers,
}


def require(values: dict[str, Any], *names: str) -> None:
    """Raise Usage if an option is missing; without a reason if all are."""
    for name in names:
        if name not in values:
            raise options.Usage(*([f"Missing option: {name}"] if values else []))


def exclude(values: dict[str, Any], one: str, other: str) -> None:
    """Raise Usage if both options are given."""
    if one in values and other in values:
        raise options.Usage(f"Options exclude each other: {one} and {other}")


def pipe_options(values: dict[str, Any]) -> PipeOptions:
    """The options that `spiped` and `spipe` share.  Raises Usage."""
    require(values, "-t", "-k")
    exclude(values, "-f", "-g")
    for name in ("-t", "-b"):
        if name in values:
            options.check_address(values[name])
    return PipeOptions(
        target=values["-t"],
        key_file=values["-k"],
        bind=values.get("-b"),
        weak="-f" in values,
        require_pfs="-g" in values,
        keepalive="-j" not in values,
        timeout=values.get("-o", DEFAULT_TIMEOUT),
        sandbox="--no-sandbox" not in values,
    )


def daemon_options(words: list[str]) -> DaemonOptions:
    """Parse `spiped`'s command line.  Raises Usage, Version or OperatorError."""
    values = options.parse(words, TABLE)
    exclude(values, "-e", "-d")
    if not values:
        raise options.Usage
    if "-e" not in values and "-d" not in values:
        raise options.Usage("One of -e and -d is needed")
    require(values, "-s", "-t", "-k")
    exclude(values, "--syslog", "--log-file")
    for name in ("--max-unauthenticated", "--max-unauthenticated-per-source"):
        exclude(values, name, "-e")  # whoever connects there needs no key
    interval = values.get("-r", DEFAULT_RESOLVE_INTERVAL)
    if "-R" in values:
        if interval != DEFAULT_RESOLVE_INTERVAL:
            exclude(values, "-r", "-R")
        interval = float("inf")
    source = options.check_address(values["-s"])
    return DaemonOptions(
        pipe=pipe_options(values),
        decrypt="-d" in values,
        source=source,
        wait_for_dns="-D" in values,
        foreground="-F" in values,
        limits=Limits(
            connections=values.get("-n", DEFAULT_CONNECTIONS),
            strangers=values.get("--max-unauthenticated", 0),
            strangers_per_source=values.get("--max-unauthenticated-per-source", 0),
        ),
        idle_timeout=values.get("--idle-timeout", 0) or float("inf"),
        pid_file=values.get("-p", source + ".pid"),
        resolve_interval=interval,
        syslog="--syslog" in values,
        log_file=values.get("--log-file"),
        user=values.get("-u"),
        verbose="--verbose" in values,
        shutdown_timeout=values.get("--shutdown-timeout", float("inf")),
        workers=values.get("--workers"),
    )


def run_command(name: str, usage: str, command: Callable[[], int]) -> int:
    """Run a command and turn the operator's mistakes into messages; returns the exit status."""
    log = Log(name)
    try:
        return command()
    except options.Version as version:
        sys.stderr.write(f"{name} {version}\n")
        return 0
    except OperatorError as error:
        for line in error.lines:
            log.warn(line)
        if isinstance(error, options.Usage):
            sys.stderr.write(usage)
        return 1


def main() -> int:
    name = program_name(sys.argv[0], "spiped")

    def command() -> int:
        wanted = daemon_options(sys.argv[1:])
        from spiped.launch import launch  # only now: a usage error needs none of it

        return launch(name, wanted)

    return run_command(name, USAGE, command)


if __name__ == "__main__":
    sys.exit(main())
