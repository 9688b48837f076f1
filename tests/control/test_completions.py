"""The completions of shells: they have all options, and shells understand them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spiped.options.completions import PLACES, PROGRAMS, completions
from spiped.options.table import options_of
from spiped.options.verbs import VERBS
from tests.daemons import Stage, needs
from tests.helpers import ROOT

each = pytest.mark.parametrize("program", PROGRAMS)


@each
@pytest.mark.parametrize("shell", PLACES)
def test_every_option_and_every_verb_is_there(shell: str, program: str) -> None:
    text = completions(shell, program)
    for option in options_of(program):
        word = f"-l {option.word[2:]} " if shell == "fish" else option.word
        assert word in text
        assert all(choice in text for choice in option.words)
    if program == "spipedctl":
        assert all(word in text for verb in VERBS for word in (verb.name, *verb.words))


def test_all_are_written_where_shells_look(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spiped.options.completions", f"directory={tmp_path}"]
    subprocess.run(command, check=True, cwd=ROOT)
    files = {str(p.relative_to(tmp_path)): p for p in tmp_path.rglob("*") if p.is_file()}
    assert set(files) == {
        place.format(program) for place in PLACES.values() for program in PROGRAMS
    }
    for shell, place in PLACES.items():
        for program in PROGRAMS:
            assert files[place.format(program)].read_text() == completions(shell, program)


def test_a_shell_that_is_none_is_answered_with_the_usage() -> None:
    command = [sys.executable, "-m", "spiped.options.completions", "csh", "spiped"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 1
    assert "bash|zsh|fish PROGRAM" in result.stderr


# bash


COMPLETE = """
source {file}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
compopt() {{ :; }}
_{program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(stage: Stage, words: str) -> list[str]:
    """What bash proposes for the last word."""
    program = words.split()[0]
    file = stage.write("completion", completions("bash", program).encode())
    script = COMPLETE.format(file=file, words=words, program=program)
    result = stage.run(needs("bash"), "-c", script, text=True)
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        ("spiped --log-le", ["--log-level"]),
        ("spiped --log-level in", ["info"]),
        ("spiped -s ''", []),
        ("spiped -k comp", ["completion"]),
        ("spipe --no-s", ["--no-sandbox"]),
        ("spipedctl ''", [verb.name for verb in VERBS]),
        ("spipedctl -s x sh", ["show"]),
        ("spipedctl -s comp", ["completion"]),
        ("spipedctl --json show wo", ["workers"]),
        ("spipedctl wait r", ["ready", "reloaded"]),
        ("spipedctl wait ready ''", []),
        ("spipedctl log d", ["debug", "default"]),
        ("spipedctl kill ''", []),
    ],
)
def test_bash_proposes(stage: Stage, words: str, proposed: list[str]) -> None:
    assert completed(stage, words) == proposed


# The others


@each
def test_zsh_understands_it(stage: Stage, program: str) -> None:
    file = stage.write(f"_{program}", completions("zsh", program).encode())
    assert stage.run(needs("zsh"), "-n", file).stderr == b""
    script = (
        f"fpath=({stage.directory} $fpath); autoload -Uz compinit && compinit -u -D"
        f" && autoload +X _{program} && (( $+functions[_{program}] && $+_comps[{program}] ))"
    )
    result = stage.run(needs("zsh"), "-f", "-c", script, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        ("spiped --log-level in", {"info"}),
        ("spipedctl sh", {"show"}),
        ("spipedctl wait r", {"ready", "reloaded"}),
    ],
)
def test_fish_proposes(stage: Stage, words: str, proposed: set[str]) -> None:
    program = words.split()[0]
    file = stage.write("completion", completions("fish", program).encode())
    script = f"source {file}; complete -C '{words}'"
    result = stage.run(needs("fish"), "--no-config", "-c", script, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert {line.split("\t")[0] for line in result.stdout.splitlines()} == proposed
