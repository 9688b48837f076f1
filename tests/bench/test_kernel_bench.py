"""The benchmarks of the kernels: a tiny run is complete; no figure is ever asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bench import kernels, packets
from tests.daemons import needs
from tests.helpers import ROOT, lack


@pytest.mark.parametrize("module", [kernels, packets], ids=["kernels", "packets"])
def test_every_workload_is_measured_beside_openssl(module: ModuleType, tmp_path: Path) -> None:
    needs("cc")
    if kernels.openssl_is_missing():
        lack("the headers of OpenSSL are not installed")
    names, name = module.NAMES, module.__name__
    path = tmp_path / "figures.json"
    command = [sys.executable, "-m", name, "--rounds", "1", "--json", str(path)]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    figures = json.loads(path.read_text())
    assert {figure["name"] for figure in figures} == set(names)
    for figure in figures:
        assert isinstance(figure["batch"], int)
        speed = figure.get("bytes_per_second", figure.get("seconds"))
        assert speed > 0
        assert figure["vs_openssl"] > 0
        assert set(figure) - {"bytes_per_second", "seconds"} == {
            *("name", "kernel", "batch", "vs_openssl")
        }
        assert figure["kernel"] in shown
    for workload in names:
        found = [figure["kernel"] for figure in figures if figure["name"] == workload]
        assert {"openssl"} < set(found)
        assert any("portable" in kernel for kernel in found)
        batches = {figure["batch"] for figure in figures if figure["name"] == workload}
        assert len(found) == len(set(found)) * len(batches)
        assert batches == ({1} if "modexp" in workload else {1, 2, 3, 4, 8, 16, 48, 128})
