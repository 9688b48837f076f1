"""Fuzz the opening of packets: ``python -m tests.fuzz.run --seconds N``.

Builds ``fuzz_open.c`` with libFuzzer, AddressSanitizer and UBSan, starts from the protocol's test
vectors and from what earlier runs have found worth keeping (``corpus/``), and ends with 1 if an
input broke something; that input is then in ``findings/``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.make_seeds import write_seeds
from tests.helpers import compile_with_crypto

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
FINDINGS = HERE / "findings"

LENGTH_MAX = 4096  # of an input: three packets, or any batch
SANITIZERS = ("-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")


class Outcome(NamedTuple):
    status: int  # 0 if nothing was found
    executions: int


def fuzzer_is_missing() -> bool:
    """Is there no clang that can build fuzzers?"""
    target = "int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return n ? *p : 0; }"
    with tempfile.TemporaryDirectory() as directory:
        command = ["clang", *SANITIZERS, "-x", "c", "-", "-o", f"{directory}/program"]
        try:
            run = subprocess.run(command, input=target, text=True, capture_output=True, check=False)
        except FileNotFoundError:
            return True
    return run.returncode != 0


def build(directory: Path, *options: str) -> Path:
    program = directory / "fuzz_open"
    compile_with_crypto(["clang"], [HERE / "fuzz_open.c"], program, (*SANITIZERS, *options))
    return program


def fuzz(program: Path, seconds: int, found: Path, findings: Path) -> Outcome:
    """Run for so long, or over the seeds and the corpus alone if seconds is 0.

    Inputs that reach something new are written to ``found``, those that break something to
    ``findings``.  What the fuzzer says goes to our stderr, except that something was new.
    """
    with tempfile.TemporaryDirectory() as seeds:
        write_seeds(Path(seeds))
        command = [
            str(program),
            *("-print_final_stats=1", f"-max_len={LENGTH_MAX}", f"-artifact_prefix={findings}/"),
            "-runs=0" if seconds == 0 else f"-max_total_time={seconds}",
            *(str(found), str(CORPUS), seeds),
        ]
        executions = 0
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as run:
            assert run.stderr is not None
            for line in run.stderr:
                if not re.match(r"#\d+\s+(NEW|REDUCE)", line):
                    sys.stderr.write(line)
                if match := re.match(r"stat::number_of_executed_units:\s*(\d+)", line):
                    executions = int(match[1])
    return Outcome(run.returncode, executions)


def keep(program: Path, found: Path) -> None:
    """Make the corpus anew, of as few and short inputs as reach everything that is reached."""
    with tempfile.TemporaryDirectory() as directory:
        least = Path(directory)
        command = [str(program), "-merge=1", f"-max_len={LENGTH_MAX}", directory, str(CORPUS)]
        subprocess.run([*command, str(found)], check=True, capture_output=True)
        for path in CORPUS.iterdir():
            path.unlink()
        for path in least.iterdir():
            (CORPUS / path.name).write_bytes(path.read_bytes())


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.run", description="Fuzz the opening of packets."
    )
    parser.add_argument("--seconds", type=int, required=True, help="how long; 0: the corpus alone")
    parser.add_argument("--keep", action="store_true", help="add what is found to the corpus")
    arguments = parser.parse_args()
    if fuzzer_is_missing():
        print(
            "There is no clang with libFuzzer: on Debian, apt-get install clang libclang-rt-14-dev",
            file=sys.stderr,
        )
        return 1
    FINDINGS.mkdir(exist_ok=True)
    CORPUS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        program = build(Path(directory))
        found = Path(directory, "found")
        found.mkdir()
        outcome = fuzz(program, arguments.seconds, found, FINDINGS)
        if arguments.keep and outcome.status == 0:
            keep(program, found)
    findings = sorted(FINDINGS.iterdir())
    print(f"executions: {outcome.executions}")
    print(f"findings: {', '.join(map(str, findings)) or 'none'}")
    return 1 if outcome.status != 0 or findings else 0


if __name__ == "__main__":
    sys.exit(main())
