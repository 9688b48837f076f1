"""The results of a run: plain data, as JSON and back."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.metrics import GENERATOR, SATURATED


@dataclass
class Result:
    """One contender in one workload: a sample per round, or what kept it from that."""

    workload: str
    entrant: str
    title: str  # of the contender
    rounds: list[dict[str, float]] = field(default_factory=list)
    problem: str | None = None

    def median(self, metric: str) -> float | None:
        values = [sample[metric] for sample in self.rounds if metric in sample]
        return statistics.median(values) if values else None

    @property
    def saturated(self) -> bool:
        """The load generator may be what was measured."""
        share = self.median(GENERATOR)
        return share is not None and share >= SATURATED


@dataclass
class Results:
    """A whole run."""

    machine: dict[str, str]
    versions: dict[str, str]
    rounds: int
    seconds: float
    results: list[Result] = field(default_factory=list)

    def find(self, workload: str, entrant: str) -> Result | None:
        for result in self.results:
            if (result.workload, result.entrant) == (workload, entrant):
                return result
        return None

    def median(self, workload: str, entrant: str, metric: str) -> float | None:
        result = self.find(workload, entrant)
        return None if result is None else result.median(metric)

    def of(self, workload: str) -> list[Result]:
        return [result for result in self.results if result.workload == workload]

    @property
    def place(self) -> str:
        """A name for a directory: the type of CPU, and the kernels that it was restricted to."""
        words = self.machine.get("processor", "").partition(" (")[0]
        words += f" {self.machine.get('SPIPED_KERNELS', '')}"
        return "-".join(re.findall("[a-z0-9]+", words.lower()))

    def to_json(self) -> str:
        data = asdict(self)
        for result, plain in zip(self.results, data["results"], strict=True):
            names = sorted({name for sample in result.rounds for name in sample})
            plain["median"] = {name: result.median(name) for name in names}
        return json.dumps(data, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        data: dict[str, Any] = json.loads(text)
        results = []
        for plain in data.pop("results"):
            del plain["median"]
            results.append(Result(**plain))
        return cls(**data, results=results)


def describe_machine(workers: int | None, load: str) -> dict[str, str]:
    """What the figures depend on.

    ``workers``: per end of ours, if that was chosen; ``load``: the load generator.
    """
    restriction = os.environ.get("SPIPED_KERNELS")
    kernels = subprocess.run(
        [sys.executable, "-m", "spiped.crypto"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    chosen = [line.split()[1] for line in kernels if line.endswith("selected")]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "clock": _clock(load),
        "CPUs": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        "workers of ours": "one per CPU" if workers is None else str(workers),
        **({"SPIPED_KERNELS": restriction} if restriction else {}),
        "kernels of ours": ", ".join(chosen) or "none (pure back end)",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _clock(load: str) -> str:
    done = subprocess.run([load, "clock"], capture_output=True, text=True, check=True)
    clock = json.loads(done.stdout)
    tsc = f", TSC {clock['tsc_ghz']:.2f} GHz" if clock["tsc_ghz"] else ""
    return f"core {clock['core_ghz']:.2f} GHz{tsc}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = _value(lines, "model name") or platform.machine()
    flags = (_value(lines, "flags") or "").split()
    wanted = ("aes", "vaes", "sha_ni", "avx512f", "avx512ifma")
    extensions = ", ".join(flag for flag in wanted if flag in flags) or "no extensions"
    numbers = {key: _value(lines, key) for key in ("cpu family", "model")}
    words = [name, *(f"{key} {number}" for key, number in numbers.items() if number)]
    return f"{', '.join(words)} ({extensions})"


def _value(lines: Iterable[str], name: str) -> str | None:
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
