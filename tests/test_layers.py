"""The arrows of DESIGN.md, "Layers": who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

import spiped

ROOT = Path(spiped.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# From the bottom to the top.  A module imports from lower layers, and from its own package.
LAYERS = [
    {"", "descriptor_names", "errors", "lean_typing"},
    {"crypto", "net", "options"},
    {"process"},
    {"observe", "proto"},
    {"control", "plane", "status"},
    {"sandbox"},
    {"service", "stdio", "top"},
    {"command"},
    {"entry"},
    {"__main__"},
]

EXTENSION = "spiped._native"
MAY_TOUCH_THE_EXTENSION = {"crypto/native.py", "plane/native.py", "sandbox/native.py"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_of(path) for path in MODULES}


def imported(path: Path, *, while_running: bool = False) -> Iterator[str]:
    """Every module that is imported anywhere in a file, in functions too.

    ``while_running``: not what only type checkers see.
    """
    tree = ast.parse(path.read_text())
    unseen: set[ast.AST] = set()
    if while_running:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                unseen.update(child for part in node.body for child in ast.walk(part))
    for node in set(ast.walk(tree)) - unseen:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in NAMES or node.module == "spiped._native" else node.module


def unit(module: str) -> str:
    """The part of spiped that a module belongs to: a package, or itself."""
    return module.removeprefix("spiped").lstrip(".").split(".")[0]


def layer(unit: str) -> int:
    return next(i for i, units in enumerate(LAYERS) if unit in units)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_imports_only_from_below(path: Path) -> None:
    own = name(path).removesuffix(".py").removesuffix("__init__").split("/")[0]
    for module in imported(path):
        if module.split(".")[0] == "spiped" and module.startswith(EXTENSION):
            continue
        if module.split(".")[0] == "spiped" and unit(module) != own:
            assert layer(unit(module)) < layer(own), module


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module_of(path): {m for m in imported(path, while_running=True) if m in NAMES}
        - {module_of(path)}
        for path in MODULES
    }
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_three_modules_touch_the_extension(path: Path) -> None:
    touches = any(module.startswith(EXTENSION) for module in imported(path))
    assert touches <= (name(path) in MAY_TOUCH_THE_EXTENSION)


STATUS_MAY_IMPORT = {"", "errors", "lean_typing", "net", "observe", "process", "status"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_status_server_is_by_itself(path: Path) -> None:
    """It has no key, and makes no connections: it knows of neither."""
    ours = {unit(module) for module in imported(path) if module.split(".")[0] == "spiped"}
    if name(path).startswith("status/"):
        assert ours <= STATUS_MAY_IMPORT
    elif not name(path).startswith("service/"):
        assert "status" not in ours


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_the_status_server_speaks_http(path: Path) -> None:
    speaks = any(module.split(".")[0] == "h11" for module in imported(path))
    assert speaks <= name(path).startswith("status/")


@pytest.mark.parametrize("path", sorted((ROOT / "proto").glob("*.py")), ids=name)
def test_the_protocol_knows_no_sockets_no_clock_and_no_randomness(path: Path) -> None:
    impure = {"os", "random", "secrets", "select", "selectors", "socket", "threading", "time"}
    impure.add("logging")
    assert not {module.split(".")[0] for module in imported(path)} & impure


SLOW = {
    "Crypto",
    "argparse",
    "asyncio",
    "contextlib",
    "ctypes",
    "dataclasses",
    "hashlib",
    "hmac",
    "inspect",
    "logging",
    "psutil",
    "subprocess",
    "tempfile",
    "threading",
    "typing",
}


def test_spipe_imports_nothing_that_is_slow() -> None:
    """Of what it needs to deliver its first byte, imports would be most."""
    extension = pytest.importorskip(EXTENSION)
    assert extension.lib
    backend = find_spec("_cffi_backend")
    assert backend is not None
    cffi = Path(str(backend.origin)).parent
    program = f"""
import os, sys
os.environ["SPIPED_BACKEND"] = "native"
sys.path[:0] = [{str(ROOT.parent)!r}, {str(cffi)!r}]
import spiped.entry, spiped.command.spipe, spiped.crypto, spiped.plane.native
assert spiped.crypto.select().backend.name == "native"
print(*sys.modules)
"""
    # -S: of site-packages, and of what it may import, nothing is here by itself
    command = [sys.executable, "-S", "-E", "-c", program]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert not SLOW & set(result.stdout.split())
