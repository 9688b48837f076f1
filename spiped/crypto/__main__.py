"""``python -m spiped.crypto``: the back end in use, and every kernel with its times."""

from __future__ import annotations

import sys

from spiped.crypto import select
from spiped.errors import OperatorError


def print_kernels() -> None:
    """Print a table of the kernels for each primitive."""
    from spiped.crypto.native import kernels, time_all

    time_all()
    primitive = ""
    for kernel in kernels():
        if kernel.primitive != primitive:
            primitive = kernel.primitive
            sizes = "".join(f"{size:8} " for size, _, _ in kernel.batches)
            print(f"\n{primitive:10} {'µs in batches of':14} {sizes}")
        state = "selected" if kernel.selected else kernel.state
        times = "".join(
            f"{nanoseconds / 1000:8.2f}{'*' if used else ' '}" if nanoseconds else " " * 9
            for _, nanoseconds, used in kernel.batches
        )
        print(f"{kernel.primitive:10} {kernel.name:14}   {times} {state}")
    print("\n* in use")
    print("A time is of a sample of work, and comparable within a column only.  For modexp that is")
    print("four squarings and a multiplication: an exponentiation takes over 60 times as long.")


def main() -> int:
    try:
        backend, warnings = select()
    except OperatorError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 1
    for warning in warnings:
        print(warning, file=sys.stderr)
    print(f"backend: {backend.name}")
    if backend.name == "native":
        print_kernels()
    return 0


if __name__ == "__main__":
    sys.exit(main())
