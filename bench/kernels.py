"""``python -m bench.kernels``: SHA-256, HMAC, AES-CTR and exponentiation, by every kernel and in
batches of several sizes, beside OpenSSL.

``kernels.c`` measures and says how; here it is compiled, and its figures become a table.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

SOURCE = Path(__file__).with_name("kernels.c")
NATIVE = SOURCE.parents[1] / "_native"
FLAGS = ("-std=gnu11", "-O2")

NAMES = ("sha256", "hmac", "aes-ctr", "modexp", "modexp-fixed-base")
ROUNDS = 101

# An object of kernels.c: name, kernel, batch, bytes_per_second or seconds, vs_openssl.
Figure = dict[str, Any]


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def openssl_is_missing() -> bool:
    """Would the compiler look for OpenSSL's headers in vain?"""
    include = "#include <openssl/evp.h>"
    command = [*compiler(), "-E", "-x", "c", "-"]
    run = subprocess.run(command, input=include, text=True, capture_output=True, check=False)
    return run.returncode != 0


def build(directory: Path) -> Path:
    """Compile the program together with the extension's cryptography, with the same flags."""
    program = directory / "kernels"
    names = ("secret/secret.c", "protocol/hmac_sha256.c", "protocol/packet.c")
    sources = [*(NATIVE / name for name in names), *(NATIVE / "kernels").rglob("*.c")]
    command = [*compiler(), *FLAGS, f"-I{NATIVE}", str(SOURCE), *map(str, sources), "-lcrypto"]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def measure(names: Sequence[str], rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        program = build(Path(directory))
        command = [str(program), str(rounds), *names]
        lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def shown(figure: Figure) -> str:
    """A figure as the table has it."""
    if "seconds" in figure:
        absolute = f"{figure['seconds'] * 1e6:.1f}"
    else:
        absolute = f"{figure['bytes_per_second'] / 1e6:.0f}"
    if figure["kernel"] == "openssl":
        return absolute
    return f"{absolute} [bold]{figure['vs_openssl']:.2f}x[/bold]"


def table(name: str, figures: Sequence[Figure]) -> Table:
    """A row for each kernel, a column for each size of a batch."""
    unit = "µs" if "seconds" in figures[0] else "MB/s"
    batches = sorted({figure["batch"] for figure in figures})
    rows: dict[str, dict[int, str]] = {}
    for figure in figures:
        rows.setdefault(figure["kernel"], {})[figure["batch"]] = shown(figure)
    result = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    result.add_column(f"{name}, {unit}", no_wrap=True)
    for batch in batches:
        result.add_column(str(batch), justify="right")
    for kernel, row in rows.items():
        result.add_row(kernel, *(row[batch] for batch in batches))
    return result


def main(names: Sequence[str], description: str) -> int:
    """Measure the workloads of these names, as the command line asks."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="how often everybody has their turn"
    )
    arguments = parser.parse_args()
    if openssl_is_missing():
        print(
            "The headers of OpenSSL are missing: on Debian, apt-get install libssl-dev",
            file=sys.stderr,
        )
        return 1
    figures = measure(names, arguments.rounds)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 130)
    console.print("Columns: messages in a batch. x: times as fast as OpenSSL in the same run.")
    for name in names:
        console.print(table(name, [figure for figure in figures if figure["name"] == name]))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(NAMES, "Measure every kernel beside OpenSSL."))
