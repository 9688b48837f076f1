"""The arrows of DESIGN.md, "Layers": who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import spiped

ROOT = Path(spiped.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# From the bottom to the top.  A module imports from lower layers, and from its own package.
LAYERS = [
    {"", "constants", "errors", "light"},
    {"config", "crypto", "observe", "options"},
    {"key", "process", "proto"},
    {"net"},
    {"daemon", "prepare", "resolver", "worker"},
    {"supervisor"},
    {"launch"},
    {"cli"},
    {"__main__", "pipe"},
]

EXTENSION = "spiped._native"
MAY_TOUCH_THE_EXTENSION = {"crypto/native.py", "net/native_plane.py"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in a file, in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            if node.module == "spiped":  # modules, but for __version__
                yield from (f"spiped.{a.name}" for a in node.names if a.name != "__version__")
            else:
                yield node.module


def unit(module: str) -> str:
    """The part of spiped that a module belongs to: a package, or itself."""
    return module.removeprefix("spiped").lstrip(".").split(".")[0]


def layer(unit: str) -> int:
    return next(i for i, units in enumerate(LAYERS) if unit in units)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_imports_only_from_below(path: Path) -> None:
    own = name(path).removesuffix(".py").removesuffix("__init__").split("/")[0]
    for module in imported(path):
        if module.split(".")[0] == "spiped" and module != EXTENSION and unit(module) != own:
            assert layer(unit(module)) < layer(own), module


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_two_modules_touch_the_extension(path: Path) -> None:
    assert (EXTENSION in imported(path)) <= (name(path) in MAY_TOUCH_THE_EXTENSION)


@pytest.mark.parametrize("path", sorted((ROOT / "proto").glob("*.py")), ids=name)
def test_the_protocol_knows_no_sockets_no_clock_and_no_randomness(path: Path) -> None:
    impure = {"os", "random", "secrets", "select", "selectors", "socket", "threading", "time"}
    assert not {module.split(".")[0] for module in imported(path)} & impure
