"""Build the scenes and play them: under callgrind, under strace, and told of accesses to memory.

What is counted depends on the compiler, the C library and the architecture, and on nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.daemons import needs
from tests.helpers import NATIVE

HERE = Path(__file__).resolve().parent
TABLE = HERE / "table.json"
PATIENCE = 120  # seconds that a scene may take

# As the extension is compiled, but with the lines that callgrind names
FLAGS = ("-std=gnu11", "-O2", "-fvisibility=hidden", "-UNDEBUG", "-gdwarf-4")
WARNINGS = ("-Wall", "-Wextra", "-Wmissing-prototypes", "-Werror")
WRAPPED = "-Wl,--wrap=clock_gettime,--wrap=getentropy"
# so that the compiler tells of every access; its own library, which would be told, is left out
TELL = ("-fsanitize=thread",)

OTHER_ROOMS = ("kernels", "protocol", "secret")  # that the plane needs
COUNTED_ROOMS = ("plane", "protocol", "secret")  # whose instructions count
BEGIN, END = "getuid", "getgid"  # what a turn is between, in scenes.c


class Scene(NamedTuple):
    """What is played: the plane's role and transport, and what is done."""

    act: str
    role: str  # e or d
    transport: str = "tcp"

    @property
    def name(self) -> str:
        return f"{self.act} -{self.role} {self.transport}"


# What is done in an act, of which the table shows how much one costs
UNITS = {
    "bulk": "packet",
    "round-trip": "round trip",
    "connection": "connection",
    "connection-weak": "connection",
    "stranger": "failing connection",
    "probe": "failing connection",
}

SCENES = (
    *(Scene("bulk", role) for role in "ed"),
    Scene("bulk", "d", "unix"),
    *(Scene("round-trip", role, transport) for transport in ("tcp", "unix") for role in "ed"),
    *(Scene("connection", role) for role in "ed"),
    *(Scene("connection-weak", role) for role in "ed"),
    Scene("connection", "d", "unix"),
    Scene("stranger", "d"),
    Scene("probe", "d"),
)


@dataclass
class Counts:
    """What the plane has spent in a scene."""

    times: int  # units that it has done
    instructions: int  # in user space, of what is ours, kernels left out
    calls: dict[str, int]  # of the system, by name
    clock: int  # readings, which are no calls of the system


@dataclass
class Table:
    """The counts of all scenes, and what they depend on."""

    compiler: str
    machine: str
    scenes: dict[str, Counts]

    def to_json(self) -> str:
        data = {
            "comment": f"Made by `make counts-update`, with {self.compiler} on {self.machine}.",
            "compiler": self.compiler,
            "machine": self.machine,
            "scenes": {name: vars(counts) for name, counts in self.scenes.items()},
        }
        return json.dumps(data, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Table:
        data = json.loads(text)
        scenes = {name: Counts(**counts) for name, counts in data["scenes"].items()}
        return cls(data["compiler"], data["machine"], scenes)


class Programs(NamedTuple):
    counted: Path
    touched: Path  # which is told of accesses to memory


def compiler_command() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def compiler_version() -> str:
    """What the compiler says that it is, without where it has been packaged."""
    done = subprocess.run(
        [*compiler_command(), "--version"], capture_output=True, text=True, check=True
    )
    first = done.stdout.splitlines()[0]
    name = "clang" if "clang" in first else "gcc"
    version = re.search(r"\d+\.\d+\.\d+", first.rpartition(")")[2] or first)
    return f"{name} {version.group()}" if version else first


def build(directory: Path) -> Programs:
    """Compile the scenes together with the extension, once for each way to count."""
    needs(compiler_command()[0])
    plane = list((NATIVE / "plane").glob("*.c"))
    others = [path for room in OTHER_ROOMS for path in (NATIVE / room).rglob("*.c")]
    others += [HERE / "loopback.c", HERE / "scenes.c"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        make = partial(_compile, directory)
        of_others = pool.map(make, others)
        counted = pool.map(make, [*plane, HERE / "touched_none.c"])
        touched = pool.map(partial(make, options=TELL), plane)
        common = list(of_others)
    teller = make(HERE / "touched.c")
    return Programs(
        _link(directory / "counted", [*common, *counted]),
        _link(directory / "touched", [*common, *touched, teller]),
    )


def _compile(directory: Path, source: Path, options: Sequence[str] = ()) -> str:
    name = "-".join((*source.parts[-3:], *options)).replace("=", "-")
    out = str(directory / f"{name}.o")
    words = [*FLAGS, *WARNINGS, f"-I{NATIVE}", f"-I{HERE}", *options]
    subprocess.run([*compiler_command(), *words, "-c", str(source), "-o", out], check=True)
    return out


def _link(program: Path, objects: Iterable[str]) -> Path:
    subprocess.run([*compiler_command(), *objects, WRAPPED, "-o", str(program)], check=True)
    return program


def _play(command: list[str | Path], scene: Scene, workers: int | None = None) -> dict[str, Any]:
    words = [scene.role, scene.transport, scene.act]
    words += [] if workers is None else [str(workers)]
    done = subprocess.run(
        [*map(str, command), *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{scene.name}: {done.stdout}{done.stderr}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def count(programs: Programs, directory: Path, scene: Scene) -> Counts:
    """Everything that one scene costs."""
    answer, calls = count_calls(programs, directory, scene)
    instructions = count_instructions(programs, directory, scene)
    return Counts(answer["times"], instructions, dict(sorted(calls.items())), answer["clock"])


def count_instructions(programs: Programs, directory: Path, scene: Scene) -> int:
    """The instructions of our own files in a scene, kernels and the C library left out."""
    out = directory / f"{scene.name}.callgrind"
    options = ["--tool=callgrind", "--quiet", "--toggle-collect=counted", "--compress-strings=no"]
    command = [needs("valgrind"), *options, f"--callgrind-out-file={out}", programs.counted]
    _play([str(word) for word in command], scene)
    by_file = instructions_by_file(out.read_text())
    return sum(
        cost
        for name, cost in by_file.items()
        if any(name.startswith(f"{NATIVE / room}/") for room in COUNTED_ROOMS)
    )


def instructions_by_file(text: str) -> Counter[str]:
    """What each source file has cost by itself, from what callgrind writes."""
    costs: Counter[str] = Counter()
    file, is_of_a_call = "", False
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            if key in ("fl", "fi", "fe"):
                file = value
            is_of_a_call = key == "calls"  # the next line is what the function cost that was called
        elif line and line[0] in "+-*0123456789":
            if not is_of_a_call:
                costs[file] += int(line.split()[1])
            is_of_a_call = False
    return costs


def count_calls(
    programs: Programs, directory: Path, scene: Scene, workers: int | None = None
) -> tuple[dict[str, Any], Counter[str]]:
    """What a scene tells, and the calls of the system that the plane has made in it."""
    out = directory / f"{scene.name}.strace"
    answer = _play([needs("strace"), "-o", str(out), programs.counted], scene, workers)
    return answer, calls_between_marks(out.read_text())


def calls_between_marks(text: str) -> Counter[str]:
    """The calls between each two marks, by name, from what strace writes."""
    calls: Counter[str] = Counter()
    is_counting = False
    for line in text.splitlines():
        name, bracket, _ = line.partition("(")
        if not bracket:
            continue
        if name == BEGIN:
            is_counting = True
        elif name == END:
            is_counting = False
        elif is_counting:
            calls[name] += 1
    return calls


def count_lines(programs: Programs, scene: Scene, workers: int) -> dict[str, float]:
    """How many cache lines of the shared counters are touched in a scene, per unit."""
    answer = _play([programs.touched], scene, workers)
    return {name: lines / answer["acts"] for name, lines in answer["touched"].items()}


def count_all(programs: Programs, directory: Path) -> Table:
    """Count everything anew."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = pool.map(partial(count, programs, directory), SCENES)
        scenes = {scene.name: found for scene, found in zip(SCENES, counts, strict=True)}
    return Table(compiler_version(), platform.machine(), scenes)
