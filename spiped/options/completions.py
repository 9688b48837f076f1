"""What shells need to complete the words of a command line, made from the table of options.

python -m spiped.options.completions bash|zsh|fish PROGRAM     prints a file
python -m spiped.options.completions directory=DIRECTORY       writes all, where shells look
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from spiped.options.table import Option, options_of
from spiped.options.verbs import VERBS

PROGRAMS = ("spiped", "spipe", "spipedctl", "spiped-top")

# Where a shell looks, below a prefix's share
PLACES = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}

# Arguments that are the names of files
FILES = ("key file", "pidfile", "file", "path")

HAS_VERBS = "spipedctl"


def completions(shell: str, program: str) -> str:
    """The file of a shell for a program."""
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return "\n".join(write(program, options_of(program))) + "\n"


def _names(option: Option) -> list[str]:
    return [name for name in (option.letter, option.word) if name]


def _quoted(text: str) -> str:
    """One word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


# bash


def _bash(program: str, options: Sequence[Option]) -> Iterator[str]:
    yield f"# bash completion for {program}"
    yield ""
    yield f"_{program}() {{"
    yield '    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=""'
    yield "    COMPREPLY=()"
    yield "    case $prev in"
    for option in options:
        if option.argument:
            yield f"        {' | '.join(_names(option))}) {_bash_argument(option)} ;;"
    yield "    esac"
    if program == HAS_VERBS:
        yield from _bash_verbs(options)
    words = [name for option in options for name in _names(option)]
    yield f'    [[ $cur == -* ]] && words="$words {" ".join(words)}"'
    yield '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")'
    yield "}"
    yield ""
    yield f"complete -F _{program} {program}"


def _bash_argument(option: Option) -> str:
    """What is done about the argument of an option."""
    if option.argument in FILES:
        return 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return'
    if option.words:
        words = _quoted(" ".join(option.words))
        return f'mapfile -t COMPREPLY < <(compgen -W {words} -- "$cur"); return'
    return "return"


def _bash_verbs(options: Sequence[Option]) -> Iterator[str]:
    takes = [name for option in options if option.argument for name in _names(option)]
    yield '    local verb="" at'
    yield "    for ((at = 1; at < COMP_CWORD; at++)); do"
    yield "        case ${COMP_WORDS[at]} in"
    yield f"            {' | '.join(takes)}) ((at++)) ;;"
    yield "            -*) ;;"
    yield "            *) verb=${COMP_WORDS[at]}; break ;;"
    yield "        esac"
    yield "    done"
    yield "    if [[ -z $verb ]]; then"
    yield f'        words="{" ".join(verb.name for verb in VERBS)}"'
    yield "    elif ((at + 1 == COMP_CWORD)); then"
    yield "        case $verb in"
    for verb in VERBS:
        if verb.words:
            yield f'            {verb.name}) words="{" ".join(verb.words)}" ;;'
    yield "        esac"
    yield "    fi"


# zsh


def _zsh(program: str, options: Sequence[Option]) -> Iterator[str]:
    yield f"#compdef {program}"
    yield ""
    yield "local context state state_descr line"
    yield "typeset -A opt_args"
    yield ""
    yield "_arguments -s \\"
    specs = [_zsh_option(option, name) for option in options for name in _names(option)]
    if program == HAS_VERBS:
        verbs = " ".join(f"{verb.name}\\:{_zsh_escaped(verb.help, ' ')}" for verb in VERBS)
        specs += [_quoted(f"1:verb:(({verbs}))"), "'2:argument:->argument'", "'*: :'"]
    yield from (f"    {spec} \\" for spec in specs)
    yield "    && return"
    if program == HAS_VERBS:
        yield ""
        yield "case $line[1] in"
        for verb in VERBS:
            if verb.words:
                yield f"    {verb.name}) compadd -- {' '.join(verb.words)} ;;"
        yield "esac"


def _zsh_option(option: Option, name: str) -> str:
    others = [] if option.repeats else _names(option)
    excluded = f"({' '.join([*others, *option.excludes])})" if others or option.excludes else "*"
    attached = "=" if name.startswith("--") and option.argument else ""
    spec = f"{excluded}{name}{attached}[{_zsh_escaped(option.help)}]"
    if option.argument:
        what = "_files" if option.argument in FILES else f"({' '.join(option.words)})"
        spec += f":{_zsh_escaped(option.argument)}:{what if what != '()' else ' '}"
    return _quoted(spec)


def _zsh_escaped(text: str, more: str = "") -> str:
    return "".join(f"\\{c}" if c in "[]:\\()" + more else c for c in text)


# fish


def _fish(program: str, options: Sequence[Option]) -> Iterator[str]:
    yield f"# fish completion for {program}"
    yield ""
    yield f"complete -c {program} -f"
    for option in options:
        words = [f"complete -c {program}"]
        if option.letter:
            words.append(f"-s {option.letter[1:]}")
        words.append(f"-l {option.word[2:]}")
        if option.argument in FILES:
            words.append("-r -F")
        elif option.argument:
            words.append(f"-x -a {_fish_quoted(' '.join(option.words))}")
        yield " ".join([*words, f"-d {_fish_quoted(option.help)}"])
    if program == HAS_VERBS:
        names = " ".join(verb.name for verb in VERBS)
        first = f"not __fish_seen_subcommand_from {names}"
        for verb in VERBS:
            begin = f"complete -c {program} -n"
            yield f"{begin} '{first}' -a {verb.name} -d {_fish_quoted(verb.help)}"
            if verb.words:
                seen = f"'__fish_seen_subcommand_from {verb.name}'"
                yield f"{begin} {seen} -a {_fish_quoted(' '.join(verb.words))}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main(words: Sequence[str]) -> None:
    match list(words):
        case [shell, program] if shell in PLACES and program in PROGRAMS:
            sys.stdout.write(completions(shell, program))
        case [word] if word.startswith("directory="):
            directory = word.removeprefix("directory=")
            for shell, place in PLACES.items():
                for program in PROGRAMS:
                    path = os.path.join(directory, place.format(program))
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "w") as file:
                        file.write(completions(shell, program))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
