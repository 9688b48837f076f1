"""Fuzz what takes bytes from peers: ``python -m tests.fuzz.run --seconds N [target ...]``.

Two targets: ``open`` opens packets with every kernel, ``connection`` runs the whole data plane on a
simulated system.  Each is built with libFuzzer, AddressSanitizer and UBSan, starts from its seeds
and from what earlier runs have found worth keeping (``corpus-*/``), and runs on all CPUs.  The exit
status is 1 if an input broke something; that input is then in ``findings/``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import seeds_connection, seeds_open
from tests.helpers import NATIVE, compile_with_crypto

HERE = Path(__file__).resolve().parent
FINDINGS = HERE / "findings"

SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FUZZER = (*SANITIZERS, "-fsanitize=fuzzer")


class Target(NamedTuple):
    name: str
    compile: Callable[..., None]  # a program, and options of the compiler
    seeds: Callable[[], Iterator[tuple[str, bytes]]]
    length_max: int  # of an input

    @property
    def corpus(self) -> Path:
        return HERE / f"corpus-{self.name}"


class Outcome(NamedTuple):
    status: int  # 0 if nothing was found
    executions: int


def compile_open(program: Path, *options: str) -> None:
    compile_with_crypto(["clang"], [HERE / "fuzz_open.c"], program, (*FUZZER, *options))


def compile_connection(program: Path, *options: str) -> None:
    """Only the data plane is explored; how the cryptography does its sums is for ``open``."""
    flags = ("clang", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}")
    simulated = ("-include", str(HERE / "simulated.h"))
    directories = ("aes256ctr", "cpu", "sha256")
    kernels = NATIVE / "kernels"
    crypto = [path for name in directories for path in sorted((kernels / name).glob("*.c"))]
    crypto += [NATIVE / "protocol" / name for name in ("hmac_sha256.c", "packet.c")]
    world = [HERE / name for name in ("fuzz_connection.c", "simulated.c")]
    plane = [*sorted((NATIVE / "plane").glob("*.c")), NATIVE / "protocol" / "handshake.c"]
    plane.append(NATIVE / "secret" / "secret.c")
    wraps = [f"-Wl,--wrap=connect_{name}" for name in ("begin", "step", "time_out")]
    wraps.append("-Wl,--wrap=opening_compute")
    with tempfile.TemporaryDirectory() as objects:
        for sources in (["-fno-sanitize=undefined", *crypto], [*simulated, *world]):
            command = [*flags, *SANITIZERS, "-c", *map(str, sources)]
            subprocess.run(command, cwd=objects, check=True)
        files = [*plane, *Path(objects).glob("*.o")]
        # what is compared gives no hint: our mutator makes acts, not bytes
        quick = (*FUZZER, "-fno-sanitize-coverage=trace-cmp")
        sources = [*simulated, *map(str, files)]
        command = [*flags, *quick, *sources, "-o", str(program), *wraps, *options]
        subprocess.run(command, check=True)


TARGETS = {
    target.name: target
    for target in (
        Target("open", compile_open, seeds_open.seeds, 4096),  # three packets, or any batch
        Target("connection", compile_connection, seeds_connection.seeds, 512),  # 128 acts
    )
}


def fuzzer_is_missing() -> bool:
    """Is there no clang that can build fuzzers?"""
    target = "int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return n ? *p : 0; }"
    with tempfile.TemporaryDirectory() as directory:
        command = ["clang", *FUZZER, "-x", "c", "-", "-o", f"{directory}/program"]
        try:
            run = subprocess.run(command, input=target, text=True, capture_output=True, check=False)
        except FileNotFoundError:
            return True
    return run.returncode != 0


def build(target: Target, directory: Path, *options: str) -> Path:
    program = directory / f"fuzz_{target.name}"
    target.compile(program, *options)
    return program


def run(command: list[str]) -> Outcome:
    """Run one fuzzer; what it says goes to our stderr, except that something was new."""
    executions = 0
    environment = {"ASAN_OPTIONS": "quarantine_size_mb=16"} | os.environ
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
    ) as fuzzer:
        assert fuzzer.stderr is not None
        for line in fuzzer.stderr:
            if not re.match(r"#\d+\s+(NEW|REDUCE|RELOAD)", line):
                sys.stderr.write(line)
            if match := re.match(r"stat::number_of_executed_units:\s*(\d+)", line):
                executions = int(match[1])
    return Outcome(fuzzer.returncode, executions)


def fuzz(
    target: Target, program: Path, limit: str, found: Path, findings: Path, jobs: int = 1
) -> Outcome:
    """Run within a limit of libFuzzer's; ``-runs=0`` means the seeds and the corpus alone.

    Inputs that reach something new are written to ``found``, which the jobs share, those that break
    something to ``findings``.
    """
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(jobs) as pool:
        for name, data in target.seeds():
            Path(directory, name).write_bytes(data)
        target.corpus.mkdir(exist_ok=True)
        options = ("-print_final_stats=1", f"-max_len={target.length_max}", limit)
        inputs = (str(found), str(target.corpus), directory)
        command = [str(program), *options, f"-artifact_prefix={findings}/{target.name}-", *inputs]
        outcomes = list(pool.map(run, [command] * jobs))
    return Outcome(
        max(abs(outcome.status) for outcome in outcomes),
        sum(outcome.executions for outcome in outcomes),
    )


def keep(target: Target, program: Path, found: Path) -> None:
    """Make the corpus anew, of as few inputs as reach everything that is reached."""
    with tempfile.TemporaryDirectory() as directory:
        least = Path(directory)
        options = ("-set_cover_merge=1", f"-max_len={target.length_max}")
        command = [str(program), *options, directory, str(target.corpus), str(found)]
        subprocess.run(command, check=True, capture_output=True)
        for path in target.corpus.iterdir():
            path.unlink()
        for path in least.iterdir():
            (target.corpus / path.name).write_bytes(path.read_bytes())


def explore(target: Target, limit: str, jobs: int, keeping: bool) -> Outcome:
    with tempfile.TemporaryDirectory() as directory:
        program = build(target, Path(directory))
        found = Path(directory, "found")
        found.mkdir()
        outcome = fuzz(target, program, limit, found, FINDINGS, jobs)
        if keeping and outcome.status == 0:
            keep(target, program, found)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.run", description="Fuzz what takes bytes from peers."
    )
    parser.add_argument("target", nargs="*", choices=[[], *TARGETS], help="default: all")
    limits = parser.add_mutually_exclusive_group(required=True)
    limits.add_argument("--seconds", type=int, help="how long for each; 0: the corpus alone")
    limits.add_argument("--executions", type=int, help="how many of each")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="at once")
    parser.add_argument("--keep", action="store_true", help="add what is found to the corpus")
    arguments = parser.parse_args()
    if fuzzer_is_missing():
        print(
            "There is no clang with libFuzzer: on Debian, apt-get install clang libclang-rt-14-dev",
            file=sys.stderr,
        )
        return 1
    FINDINGS.mkdir(exist_ok=True)
    if arguments.executions is not None:
        limit = f"-runs={-(-arguments.executions // arguments.jobs)}"
    else:
        limit = f"-max_total_time={arguments.seconds}" if arguments.seconds else "-runs=0"
    explored = partial(explore, limit=limit, jobs=arguments.jobs, keeping=arguments.keep)
    names = arguments.target or list(TARGETS)
    outcomes = {name: explored(TARGETS[name]) for name in names}
    for name, outcome in outcomes.items():
        print(f"executions of {name}: {outcome.executions}")
    findings = sorted(FINDINGS.iterdir())
    print(f"findings: {', '.join(map(str, findings)) or 'none'}")
    return 1 if findings or any(outcome.status for outcome in outcomes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
