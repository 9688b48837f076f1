"""The arrows of DESIGN.md, "Layers", in C: which file of `_native/` may include which.

A source file and the header of its name are one unit, and the header declares what the source file
defines and nothing else, so that to include is to call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers import NATIVE

FILES = sorted([*NATIVE.rglob("*.c"), *NATIVE.rglob("*.h")])
SOURCES = [path for path in FILES if path.suffix == ".c"]
HEADERS = [path for path in FILES if path.suffix == ".h"]

# From the bottom to the top: units, or folders of them.  A unit includes lower layers, and from its
# own folder if that is what stands here; never another one of its layer.
LAYERS = [
    {"bytes", "sandbox", "secret"},
    {"kernels/cpu", "kernels/kernel"},
    {"kernels/aes256ctr", "kernels/modexp", "kernels/sha256"},
    {"kernels/registry"},
    {"protocol"},
    {"plane/address", "plane/clock", "plane/counters", "plane/entry", "plane/list", "plane/timers"},
    {"plane/ending", "plane/pipe"},
    {"plane/endpoint", "plane/failure", "plane/service", "plane/wanted"},
    {"plane/connect", "plane/flow", "plane/negotiate"},  # the steps do not know each other
    {"plane/relay", "plane/state"},
    {"plane/connection"},
    {"plane/computing", "plane/listening", "plane/opening", "plane/report"},
    {"plane/admission", "plane/lifecycle"},
    {"plane/accept"},
    {"plane/turn"},
    {"plane/plane"},
    {"plane/absent"},
]

BOUNDARY = "plane/plane.h"  # all that others may include of the data plane
SITTING = 300  # lines that can be read in one
TABLES = {"kernels/modexp/modexp_tables.c"}

# The entries of a primitive's table, each of which its own source file defines.
KERNEL_LISTS = {
    "kernels/aes256ctr/aes256ctr_kernel.h",
    "kernels/modexp/modexp_kernel.h",
    "kernels/sha256/sha256_kernel.h",
}


def name(path: Path) -> str:
    return path.relative_to(NATIVE).as_posix()


def unit(path: Path) -> str:
    return name(path.with_suffix(""))


@cache
def code(path: Path) -> str:
    """A file without its comments, and without its preprocessor's lines but those that include."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    return re.sub(r"^#(?!include)(?:.*\\\n)*.*$", "", text, flags=re.MULTILINE)


def included(path: Path) -> Iterator[Path]:
    """The files of ours that a file includes, as the compiler finds them."""
    for written in re.findall(r'^#include "(.*)"', code(path), re.MULTILINE):
        beside = path.parent / written
        yield beside if beside.exists() else NATIVE / written


def place(path: Path) -> tuple[int, str]:
    """The layer of a file, and what stands there for it."""
    for i, layer in enumerate(LAYERS):
        for entry in layer:
            if unit(path) == entry or unit(path).startswith(f"{entry}/"):
                return i, entry
    raise AssertionError(f"{name(path)} has no layer")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_includes_only_from_below(path: Path) -> None:
    layer, entry = place(path)
    for other in included(path):
        assert place(other)[1] == entry or place(other)[0] < layer, name(other)


def test_nothing_is_included_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for path in FILES:
        arrows.setdefault(unit(path), set()).update(
            unit(other) for other in included(path) if unit(other) != unit(path)
        )
    assert list(TopologicalSorter(arrows).static_order())  # else CycleError names the circle


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_of_other_folders_are_included_by_their_path(path: Path) -> None:
    for written, other in zip(
        re.findall(r'^#include "(.*)"', code(path), re.MULTILINE), included(path), strict=True
    ):
        assert written == (other.name if other.parent == path.parent else name(other))


def test_of_the_data_plane_the_extension_includes_the_boundary_alone() -> None:
    description = (NATIVE / "build_ffi.py").read_text()
    assert re.findall(r'"(plane/.*)"', description) == [BOUNDARY]


def test_opening_and_the_lifecycle_alone_move_and_end_connections() -> None:
    for function in ("connection_move", "connection_end"):
        callers = {unit(path) for path in FILES if f"{function}(plane, " in code(path)}
        assert callers <= {"plane/connection", "plane/opening", "plane/lifecycle"}


def declared(header: Path) -> set[str]:
    """The functions and objects that a header declares for others to define."""
    functions = re.findall(
        r"^(?!static|typedef)\w[\w \t*]*?(\w+)\([^;{]*\);", code(header), re.MULTILINE
    )
    objects = re.findall(r"^extern [^;]*?(\w+)(?:\[[^\]]*\])*;", code(header), re.MULTILINE)
    return {*functions, *objects}


def defined(source: Path) -> set[str]:
    """The functions and objects that a source file defines for others to use."""
    found = re.findall(
        r"^((?:\w[\w \t*()]*)?)\n(\w+)\([^;{]*\)\n\{|^(const [^;=]*?)(\w+)(?:\[[^\]]*\])* =|"
        r"^(_Alignas[^;=]*?)(\w+)(?:\[[^\]]*\])* =",
        code(source),
        re.MULTILINE,
    )
    pairs = [(a, b) for match in found for a, b in zip(match[::2], match[1::2], strict=True) if b]
    internal = {
        "static",
        *re.findall(r"^#define (\w+) .*\bstatic\b", source.read_text(), re.MULTILINE),
    }
    return {b for a, b in pairs if not internal & set(a.split())}


@pytest.mark.parametrize("header", HEADERS, ids=name)
def test_a_header_declares_what_its_source_file_defines(header: Path) -> None:
    source = header.with_suffix(".c")
    if name(header) in KERNEL_LISTS:
        of_the_folder = set().union(*map(defined, header.parent.glob("*.c")))
        assert declared(header) <= of_the_folder
    else:
        assert declared(header) == (defined(source) if source.exists() else set())


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_a_source_file_defines_what_its_header_declares(source: Path) -> None:
    header = source.with_suffix(".h")
    if header.exists():
        assert next(included(source)) == header
    elif unit(source) != "plane/absent":  # it stands in for the others
        lists = [path for path in source.parent.glob("*.h") if name(path) in KERNEL_LISTS]
        assert defined(source) <= set().union(*map(declared, lists))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_says_what_it_is_and_is_read_in_one_sitting(path: Path) -> None:
    text = re.sub(r"^#ifndef \w+\n#define \w+\n\n", "", path.read_text())
    assert text.startswith("/*")
    assert name(path) in TABLES or text.count("\n") <= SITTING
