"""The manual pages: well formed, and complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spiped.options.table import RELOAD, UPGRADE, options_of
from spiped.options.usage import usage
from spiped.options.verbs import VERBS
from tests.daemons import Stage, needs
from tests.init.systems import ROOT

MAN = ROOT / "man"

PAGES = ("spiped", "spipe", "spipedctl", "spiped-top")
REPLACEMENTS = ("spiped", "spipe")  # of programs in C

SECTIONS = (
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "SIGNALS",
    "ENVIRONMENT",
    "EXIT STATUS",
    "EXAMPLES",
    "SEE ALSO",
    "SECURITY CONSIDERATIONS",
)

# What depends on the pages that this machine has
ELSEWHERE = ("referenced manual not found", "outdated mandoc.db")

# Variables of whoever carries connections
BACK_END = ("SPIPED_BACKEND", "SPIPED_KERNELS")

each_page = pytest.mark.parametrize("name", PAGES)


def section(name: str, title: str) -> str:
    """The source of a section of a page."""
    text = (MAN / f"{name}.1").read_text()
    found = re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{name}(1) has no section {title}"
    return found[1]


def described(name: str) -> dict[tuple[str, str], bool]:
    """The options that have an entry of their own, and whether they take an argument."""
    entries = re.findall(
        r"^\.It (?:Fl (\S) , )?Fl Fl (\S+)(.*)$", section(name, "OPTIONS"), re.MULTILINE
    )
    options = {(letter and f"-{letter}", f"--{word}"): bool(rest) for letter, word, rest in entries}
    assert len(options) == len(entries), "an option is described twice"
    return options


def rendered(stage: Stage, path: Path) -> str:
    """A page as plain text, without line breaks."""
    page = stage.run(needs("mandoc"), "-Tutf8", str(path)).stdout.decode()
    return " ".join(re.sub(r".\x08", "", page).split())


@each_page
def test_mandoc_has_nothing_to_say(stage: Stage, name: str) -> None:
    linted = stage.run(needs("mandoc"), "-Tlint", str(MAN / f"{name}.1"))
    lines = (linted.stdout + linted.stderr).decode().splitlines()
    assert [line for line in lines if not any(words in line for words in ELSEWHERE)] == []


@each_page
def test_a_page_has_all_sections(name: str) -> None:
    for title in (*SECTIONS, *(["DIFFERENCES"] if name in REPLACEMENTS else [])):
        assert section(name, title).strip()


@each_page
def test_the_options_are_those_of_the_program(name: str) -> None:
    declared = {(o.letter, o.word): bool(o.argument) for o in options_of(name)}
    assert described(name) == declared


@each_page
def test_the_synopsis_and_the_usage_text_name_all_options(stage: Stage, name: str) -> None:
    names = {option.name for option in options_of(name)} - {"--help"}
    page = rendered(stage, MAN / f"{name}.1")
    synopsis = page[page.index("SYNOPSIS") : page.index("DESCRIPTION")]
    option = re.compile(r"(?<![\w-])--?[A-Za-z][a-z-]*(?!\w)")
    shown = set(option.findall(synopsis))
    shown |= {f"-{letter}" for letter in re.findall(r"\| (\w)\b", synopsis)}  # -e | d
    assert names <= shown
    assert names <= set(option.findall(usage(name)))


def test_the_manual_says_when_a_change_takes_effect() -> None:
    """Whatever it does not name needs a restart."""
    text = section("spiped", "OPTIONS").partition(".Ss When a change takes effect")[2]
    by_reload, by_upgrade = text.split("read again at a reload:")[1].split("determines these")
    for effect, part in ((RELOAD, by_reload), (UPGRADE, by_upgrade)):
        line = "Fl " + part.partition("\n.Fl ")[2].partition(" .\n")[0]
        words = [word.split() for word in line.split(" , ")]
        shown = {"-" * max(1, word.count("Fl")) + word[-1] for word in words}
        assert shown == {option.name for option in options_of("spiped") if option.effect == effect}


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        *((name, variable) for name in REPLACEMENTS for variable in BACK_END),
        ("spiped-top", "SPIPED_STATUS"),
        ("spipedctl", "SPIPED_CONTROL"),
    ],
)
def test_the_environment_is_described(name: str, variable: str) -> None:
    assert f"Ev {variable}" in section(name, "ENVIRONMENT")


def test_the_signals_are_described() -> None:
    for number in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        assert f".It Dv {number}" in section("spiped", "SIGNALS")


def test_the_verbs_are_described() -> None:
    verbs = section("spipedctl", "OPTIONS").partition(".Ss Verbs")[2]
    described = set(re.findall(r"^\.It Cm (\w+)", verbs, re.MULTILINE))
    assert described == {verb.name for verb in VERBS}
    words = [word.removeprefix("-") for verb in VERBS for word in verb.words]
    assert all(re.search(rf"\b{word}\b", verbs) for word in words)
