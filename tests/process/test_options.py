"""The command line: its grammar, its numbers, and what is said about mistakes."""

from __future__ import annotations

import math
import os
import re
import sys

import pytest

from spiped import __version__
from spiped.errors import OperatorError
from spiped.observe.log import kinds
from spiped.options.command_line import read_spiped
from spiped.options.grammar import Help, Version, parse
from spiped.options.settings import FORMATS, LEVELS, DaemonOptions, PipeOptions
from spiped.options.table import (
    OPTIONS,
    PIPE,
    PROCESS,
    RELOAD,
    RESTART,
    UPGRADE,
    Option,
    options_of,
)
from spiped.options.usage import help_text
from spiped.options.values import Usage
from tests.daemons import Stage, ours

TABLE = options_of("spiped")
NAMES = [name for option in TABLE for name in (option.letter, option.word) if name]
BY_NAME = {name: option for option in TABLE for name in (option.letter, option.word)}

# A command line that is complete, to which tests add something
COMPLETE = ["-e", "-s", "[127.0.0.1]:1", "-t", "[127.0.0.1]:2", "-k", "key"]


def parsed(*more: str) -> DaemonOptions:
    return read_spiped([*COMPLETE, *more])


def lines_of_usage(*words: str) -> tuple[str, ...]:
    """What is said before the usage text."""
    with pytest.raises(Usage) as caught:
        read_spiped(list(words))
    return caught.value.lines


# Grammar


def test_letters_bundle_and_the_last_one_takes_its_argument_from_the_next_word() -> None:
    together = read_spiped(["-dFjs", "/source", "-t", "/target", "-k", "key"])
    assert together.decrypt
    assert together.foreground
    assert not together.pipe.keepalive
    assert together.source == "/source"


def test_an_argument_may_be_attached() -> None:
    attached = read_spiped(["-e", "-s/source", "-t/target", "-Fkkey", "-n5"])
    assert attached.pipe.key == "key"
    assert attached.pipe.target == "/target"
    assert attached.foreground
    assert attached.connections == 5


@pytest.mark.parametrize("word", ["-f", "--", "-", "--syslog", "-v", ""])
def test_an_argument_is_the_next_word_whatever_it_looks_like(word: str) -> None:
    found = read_spiped(["-e", "-s", "/source", "-k", word, "-t", "/target"])
    assert found.pipe.key == word
    assert not found.pipe.no_pfs
    assert not found.syslog


def test_short_options_know_no_equals_sign() -> None:
    assert read_spiped(["-e", "-s/s", "-t/t", "-k=key"]).pipe.key == "=key"
    with pytest.raises(OperatorError, match="-n =5"):
        parsed("-n=5")


def test_two_dashes_end_the_options_and_nothing_may_follow() -> None:
    assert parsed("--") == parsed()
    for rest in (["--", "-F"], ["--", "more"], ["more"], ["-"], ["more", "-F"], [""]):
        unexpected = rest[1] if rest[0] == "--" else rest[0]
        assert lines_of_usage(*COMPLETE, *rest) == (f"Unexpected argument: {unexpected}",)


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("-x", "-x"),
        ("-Fx", "-x"),
        ("-é", "-é"),
        ("--foo=bar", "--foo=bar"),
        ("--sys", "--sys"),
        ("--syslog=x", "--syslog"),
        ("--syslogs=x", "--syslogs=x"),
        ("--syslogs", "--syslogs"),
        ("--work=2", "--work=2"),
        ("-h", "-h"),
        ("---", "---"),
    ],
)
def test_an_unknown_option_is_named(word: str, named: str) -> None:
    assert lines_of_usage(*COMPLETE, word) == (f"illegal option -- {named}",)


@pytest.mark.parametrize("name", [name for name in NAMES if BY_NAME[name].argument])
def test_a_missing_argument_is_named(name: str) -> None:
    assert lines_of_usage(name) == (f"Missing argument to {name}",)


ONCE = [
    name
    for name in NAMES
    if BY_NAME[name].field not in ("version", "help") and not BY_NAME[name].repeats
]


@pytest.mark.parametrize("name", ONCE)
def test_no_option_may_be_repeated_unless_it_says_so(name: str) -> None:
    argument = [next(iter(BY_NAME[name].words), "1")] if BY_NAME[name].argument else []
    with pytest.raises(Usage) as caught:
        parse([name, *argument, name, *argument], TABLE)
    assert caught.value.lines == (f"Option given more than once: {name}",)


def test_an_option_that_may_be_repeated_has_all_arguments() -> None:
    assert parsed("--status", "/a", "--status", "unix:/b").status == ("/a", "/b")


def test_parsing_stops_at_the_first_failure() -> None:
    assert lines_of_usage("-x", "-y") == ("illegal option -- -x",)
    assert lines_of_usage("-F", "-F", "-x") == ("Option given more than once: -F",)
    with pytest.raises(OperatorError, match="-n abc"):
        read_spiped(["-n", "abc", "-x", "-o", "abc"])
    with pytest.raises(Version):
        read_spiped(["-v", "-x"])


@pytest.mark.parametrize("words", [["-v"], ["-ev"], ["-vx"], ["-e", "-v", "-k"], [*COMPLETE, "-v"]])
def test_version_wins_wherever_it_stands(words: list[str]) -> None:
    with pytest.raises(Version):
        read_spiped(words)


def test_an_option_before_the_version_must_be_right() -> None:
    assert lines_of_usage("-xv") == ("illegal option -- -x",)


def test_words_take_an_argument_behind_an_equals_sign_or_as_the_next_word() -> None:
    assert parsed("--workers=3") == parsed("--workers", "3")
    assert parsed("--log-file=a=b").log_file == "a=b"
    assert parsed("--log-file=").log_file == ""
    assert lines_of_usage(*COMPLETE, "--workers") == ("Missing argument to --workers",)


@pytest.mark.parametrize("option", TABLE, ids=lambda option: option.word)
def test_a_letter_and_its_word_mean_the_same(option: Option) -> None:
    if not option.letter or option.field == "version":
        return
    argument = ["1"] if option.argument else []
    assert parse([option.letter, *argument], TABLE) == parse([option.word, *argument], TABLE)


def test_a_repeated_option_is_named_as_it_was_written_the_second_time() -> None:
    assert lines_of_usage("-F", "--foreground") == ("Option given more than once: --foreground",)


@pytest.mark.parametrize("words", [["--help"], ["-F", "--help", "-x"], [*COMPLETE, "--help"]])
def test_help_wins_wherever_it_stands(words: list[str]) -> None:
    with pytest.raises(Help):
        read_spiped(words)


# The table


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.word)
def test_a_declaration_is_complete(option: Option) -> None:
    assert re.fullmatch("|-[A-Za-z]", option.letter)
    assert re.fullmatch("--[a-z]+(-[a-z]+)*", option.word)
    assert option.help
    assert not option.help.endswith(".")
    assert option.scope in (PROCESS, PIPE)
    assert option.effect in (RELOAD, UPGRADE, RESTART)
    assert all(word in BY_NAME for word in option.excludes)


def test_settings_have_the_fields_and_the_defaults_of_the_table() -> None:
    """Some are called after what the absence of an option means, or are of another option's."""
    opposite = {"no_keepalive": "keepalive", "no_sandbox": "sandbox"}
    elsewhere = {"encrypt", "no_resolve", "verbose", "help", "version"}
    fields = {**PipeOptions._field_defaults, **DaemonOptions._field_defaults}
    names = {*PipeOptions._fields, *DaemonOptions._fields} - {"pipe"}
    by_field = {opposite.get(o.field, o.field): o for o in TABLE if o.field not in elsewhere}
    assert names == set(by_field)
    for field, option in by_field.items():
        if field in fields and fields[field] not in (True, False, ""):
            assert fields[field] == option.default, field


@pytest.mark.parametrize("program", ["spiped", "spipe", "spipedctl", "spiped-top"])
def test_the_help_tells_of_every_option(stage: Stage, program: str) -> None:
    result = stage.run(ours(program), "--help", text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == help_text(program)
    for option in options_of(program):
        assert option.word in result.stdout
        assert option.letter in result.stdout
    assert all(len(line) < 80 for line in result.stdout.splitlines())


# Defaults and conflicts


def test_the_defaults() -> None:
    found = parsed()
    assert not found.decrypt
    assert found.connections == 100
    assert found.max_unauthenticated is None
    assert found.max_unauthenticated_per_source == 0
    assert found.name == "[127.0.0.1]:1"
    assert found.pid_file == "[127.0.0.1]:1.pid"
    assert found.resolve_interval == 60
    assert found.workers is None
    assert found.pipe.timeout == 5
    assert found.pipe.keepalive
    assert found.pipe.bind is None
    assert found.user is None
    assert found.log_file is None
    flags = found.pipe.no_pfs, found.pipe.require_pfs, found.wait_for_dns, found.foreground
    assert not any([*flags, found.syslog])
    assert found.log_level is None
    assert found.log_format == "text"
    assert found.ready_fd is None
    assert (found.shutdown_delay, found.shutdown_timeout) == (0, math.inf)


def test_the_pid_file_can_be_chosen() -> None:
    assert parsed("-p", "/run/x.pid").pid_file == "/run/x.pid"


def with_source(source: str, *more: str) -> DaemonOptions:
    words = [*COMPLETE, *more]
    words[words.index("-s") + 1] = source
    return read_spiped(words)


@pytest.mark.parametrize("source", ["systemd:mail", "fd:3"])
def test_an_inherited_socket_has_no_pid_file_unless_one_is_named(source: str) -> None:
    assert with_source(source).pid_file is None
    assert with_source(source, "-p", "/run/x.pid").pid_file == "/run/x.pid"
    assert with_source(source).name == source


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("systemd:", "the name of a socket is missing"),
        ("fd:", "not the number of a file descriptor"),
        ("fd:x", "not the number of a file descriptor"),
        ("fd:-1", "not the number of a file descriptor"),
        ("fd:٣", "not the number of a file descriptor"),
        ("fd:2147483648", "Numerical result out of range"),
        ("fd:" + 5000 * "9", "Numerical result out of range"),
    ],
)
def test_what_can_be_no_inherited_socket_is_refused(source: str, reason: str) -> None:
    with pytest.raises(OperatorError) as caught:
        with_source(source)
    assert caught.value.lines == (f"Error parsing argument: -s {source}: {reason}",)


@pytest.mark.parametrize("address", ["fd.:3", "systemd.:25", "[127.0.0.1]:3", "/fd:3"])
def test_a_host_may_have_the_name_of_an_inherited_socket_with_a_dot(address: str) -> None:
    assert with_source(address).pid_file == f"{address}.pid"


def test_only_a_source_can_be_inherited() -> None:
    assert read_spiped(["-e", "-s", "/s", "-t", "fd:x", "-k", "key"]).pipe.target == "fd:x"


def test_verbose_is_a_level() -> None:
    assert parsed("--verbose").log_level == "info"
    for level in LEVELS:
        assert parsed("--log-level", level).log_level == level


@pytest.mark.parametrize("name", ["--log-level", "--log-format"])
@pytest.mark.parametrize("word", ["", "none", "INFO", "json "])
def test_a_word_that_is_no_choice_is_refused_with_those_that_are(name: str, word: str) -> None:
    choices = {"--log-level": LEVELS, "--log-format": FORMATS}[name]
    with pytest.raises(OperatorError) as caught:
        parsed(name, word)
    reason = f"it is one of {', '.join(choices)}"
    assert caught.value.lines == (f"Error parsing argument: {name} {word}: {reason}",)


def test_the_levels_are_those_of_the_log() -> None:
    assert tuple(kinds.LEVELS) == LEVELS


@pytest.mark.parametrize("missing", ["-e", "-s", "-t", "-k"])
def test_what_is_required_must_be_there(missing: str) -> None:
    at = COMPLETE.index(missing)
    rest = COMPLETE[:at] + COMPLETE[at + (1 if missing == "-e" else 2) :]
    reason = "One of -e and -d is needed" if missing == "-e" else f"Missing option: {missing}"
    assert lines_of_usage(*rest) == (reason,)


@pytest.mark.parametrize(
    ("words", "pair"),
    [
        ("-d", "-e and -d"),
        ("-f -g", "-f and -g"),
        ("-gf", "-f and -g"),
        ("-R -r 30", "-r and -R"),
        ("-r 61 -R", "-r and -R"),
        ("-R -r nan", "-r and -R"),
        ("--syslog --log-file log", "--syslog and --log-file"),
        ("--verbose --log-level info", "--log-level and --verbose"),
        ("--max-unauthenticated 9", "--max-unauthenticated and -e"),
        ("--max-unauthenticated-per-source 9", "--max-unauthenticated-per-source and -e"),
    ],
)
def test_what_contradicts_itself_is_refused(words: str, pair: str) -> None:
    assert lines_of_usage(*COMPLETE, *words.split()) == (f"Options exclude each other: {pair}",)


def test_a_timeout_must_be_a_number() -> None:
    for name in ("-o", "--shutdown-delay", "--shutdown-timeout", "--idle-timeout"):
        assert lines_of_usage(*COMPLETE, name, "nan") == (f"Not a number of seconds: {name} nan",)


@pytest.mark.parametrize("interval", ["60", "0", "0x3c", "6e1"])
def test_the_default_interval_does_not_contradict_never(interval: str) -> None:
    assert parsed("-R", "-r", interval).resolve_interval == math.inf


@pytest.mark.parametrize("name", ["-s", "-t", "-b"])
@pytest.mark.parametrize(
    ("address", "line"),
    [("", "Empty socket address"), (":22", 'No host in ":22"'), ("::1:80", 'No host in "::1:80"')],
)
def test_what_cannot_be_an_address_is_refused_with_the_usage(
    name: str, address: str, line: str
) -> None:
    words = [*COMPLETE, "-b", "[127.0.0.1]:0"]
    words[words.index(name) + 1] = address
    assert lines_of_usage(*words) == (line,)


def test_the_number_of_workers() -> None:
    assert parsed("--workers", "3").workers == 3
    assert parsed("--workers", "auto").workers is None
    for wrong in ("0", "-1", "1025", "two", ""):
        with pytest.raises(OperatorError, match="Error parsing argument: --workers"):
            parsed("--workers", wrong)


# Numbers

INTEGERS = {
    "0": 0,
    "5": 5,
    " \t5": 5,
    "+5": 5,
    "-0": 0,
    "0x10": 16,
    "0XfF": 255,
    "010": 8,
    "18446744073709551615": 2**64 - 1,
}

SECONDS = {
    "0.5": 0.5,
    ".5": 0.5,
    "5.": 5.0,
    "1e3": 1000.0,
    "1E-1": 0.1,
    "0x10": 16.0,
    "0x1p-1": 0.5,
    " 7": 7.0,
    "+7": 7.0,
    "inf": math.inf,
    "Infinity": math.inf,
}

IN_SECONDS = ("-o", "-r", "--shutdown-delay", "--shutdown-timeout", "--idle-timeout")

INVALID_INTEGERS = ["", " ", "abc", "5x", "5 ", "5.5", "08", "0x", "0xg", "1e3", "+-5", "1_0", "٣"]
INTEGERS_OUT_OF_RANGE = ["18446744073709551616", "99999999999999999999999", "-1", "-5", "-0x10"]
INVALID_SECONDS = ["", " ", "abc", "5s", "5 ", "1e", "1_0", "0x", "--5", "5,5", "٣"]
SECONDS_OUT_OF_RANGE = ["-1", "-0.5", "-inf", "1e999", "0x1p5000", "-1e999"]


@pytest.mark.parametrize("text", INTEGERS)
def test_integers_are_read_as_c_reads_them(text: str) -> None:
    assert parsed("-n", text).connections == INTEGERS[text]


@pytest.mark.parametrize("text", SECONDS)
def test_seconds_are_read_as_c_reads_them(text: str) -> None:
    assert parsed("-o", text).pipe.timeout == SECONDS[text]
    assert parsed("-r", text).resolve_interval == SECONDS[text]
    assert parsed("--shutdown-timeout", text).shutdown_timeout == SECONDS[text]


@pytest.mark.parametrize(
    ("name", "text"),
    [("-n", text) for text in INVALID_INTEGERS]
    + [(name, text) for name in IN_SECONDS for text in INVALID_SECONDS],
)
def test_what_is_no_number_is_called_invalid(name: str, text: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parsed(name, text)
    assert not isinstance(caught.value, Usage)
    assert caught.value.lines == (f"Error parsing argument: {name} {text}: Invalid argument",)


@pytest.mark.parametrize(
    ("name", "text"),
    [("-n", text) for text in INTEGERS_OUT_OF_RANGE]
    + [(name, text) for name in IN_SECONDS for text in SECONDS_OUT_OF_RANGE],
)
def test_what_is_too_large_or_negative_is_called_out_of_range(name: str, text: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parsed(name, text)
    assert caught.value.lines == (
        f"Error parsing argument: {name} {text}: Numerical result out of range",
    )


def test_zero_stands_for_the_default_and_nan_for_never() -> None:
    assert parsed("-o", "0").pipe.timeout == 5
    assert parsed("-r", "0").resolve_interval == 60
    assert parsed("-r", "nan").resolve_interval == math.inf
    assert parsed("-n", "0").connections == 0  # no limit
    assert parsed("--shutdown-timeout", "0").shutdown_timeout == 0
    assert parsed().shutdown_timeout == math.inf
    assert parsed("--idle-timeout", "0").idle_timeout == math.inf
    assert parsed("--idle-timeout", "0.5").idle_timeout == 0.5
    assert parsed().idle_timeout == math.inf


# What the processes say


@pytest.mark.parametrize("program", ["spiped", "spipe"])
def test_the_version_goes_to_stderr(stage: Stage, program: str) -> None:
    result = stage.run(ours(program), "-v")
    assert (result.returncode, result.stdout) == (0, b"")
    assert result.stderr == f"{program} {__version__}\n".encode()


@pytest.mark.parametrize("program", ["spiped", "spipe"])
def test_without_arguments_there_is_usage_that_names_every_option(
    stage: Stage, program: str
) -> None:
    result = stage.run(ours(program), text=True)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"usage: {program} ")
    assert result.stderr.splitlines()[-1].split() == [program, "-v"]
    assert "illegal option" not in result.stderr
    assert "invalid option" not in result.stderr
    shown = set(re.findall(r"(?<![\w-])-{1,2}[A-Za-z][a-z-]*", result.stderr))
    assert shown == {option.name for option in options_of(program)} - {"--help"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-x"], "spiped: illegal option -- -x"),
        (["--foo=bar"], "spiped: illegal option -- --foo=bar"),
        (["-k"], "spiped: Missing argument to -k"),
        ([*COMPLETE, "-b", ""], "spiped: Empty socket address"),
    ],
)
def test_a_mistake_is_named_before_the_usage(stage: Stage, words: list[str], line: str) -> None:
    result = stage.run(ours("spiped"), *words, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith(f"{line}\nusage: spiped ")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("-x", "There is no option -x; --help lists all"),
        ("--foo=bar", "There is no option --foo; --help lists all"),
        ("--sylog", "There is no option --sylog; the nearest is --syslog; --help lists all"),
        ("--worker=2", "There is no option --worker; the nearest is --workers; --help lists all"),
    ],
)
def test_the_last_line_says_which_option_there_is_not(stage: Stage, word: str, hint: str) -> None:
    result = stage.run(ours("spiped"), *COMPLETE, word, text=True)
    assert result.stderr.splitlines()[-1] == f"spiped: {hint}"


def test_a_path_in_front_of_which_stands_unix_may_be_relative() -> None:
    assert parsed("--status", "unix:run/x").status == (os.path.abspath("run/x"),)
    with pytest.raises(OperatorError, match="--status run/x: a UNIX socket needs an absolute path"):
        parsed("--status", "run/x")


def test_a_wrong_number_is_named_without_usage(stage: Stage) -> None:
    result = stage.run(ours("spiped"), "-n", "abc")
    assert result.returncode == 1
    assert result.stderr == b"spiped: Error parsing argument: -n abc: Invalid argument\n"


@pytest.mark.parametrize("word", ["-F", "-e", "-s", "-n", "-D", "--syslog", "--workers"])
def test_spipe_knows_only_its_own_options(stage: Stage, word: str) -> None:
    result = stage.run(ours("spipe"), word, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith(f"spipe: illegal option -- {word}\nusage: spipe ")


def test_a_program_calls_itself_what_it_was_called(stage: Stage) -> None:
    alias = stage.directory / "my-pipe"
    alias.symlink_to(ours("spiped"))
    result = stage.run(str(alias), "-x")
    assert result.stderr.startswith(b"my-pipe: illegal option")


@pytest.mark.parametrize("program", ["spiped", "spipe"])
def test_no_word_reaches_a_terminal_as_what_it_is_not(stage: Stage, program: str) -> None:
    """Bytes that are no text, escape sequences, the end of a line, another direction."""
    word = b"--\xff\x1b[31m\n\x9b\xe2\x80\xae"
    result = stage.run(ours(program), os.fsdecode(word))
    assert result.returncode == 1
    shown, rest = result.stderr.split(b"\n", 1)
    assert shown.decode() == rf"{program}: illegal option -- --\xff\x1b[31m\x0a\x9b\u202e"
    assert rest.startswith(b"usage: ")


def test_no_program_name_reaches_a_terminal_as_what_it_is_not(stage: Stage) -> None:
    alias = stage.directory / "\x1b[31m"
    alias.symlink_to(ours("spiped"))
    for word in ("-x", "-v"):
        assert stage.run(str(alias), word).stderr.startswith(rb"\x1b[31m")


def test_it_runs_as_a_python_module(stage: Stage) -> None:
    result = stage.run(sys.executable, "-m", "spiped", "-v")
    assert (result.returncode, result.stderr) == (0, f"spiped {__version__}\n".encode())
