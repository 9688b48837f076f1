"""``python -m spiped.crypto``: the back end in use, and every kernel with its state."""

from __future__ import annotations

import sys

from spiped.crypto import select
from spiped.errors import OperatorError


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
        from spiped.crypto.native import kernels

        for kernel in kernels():
            state = "selected" if kernel.selected else kernel.state
            print(f"{kernel.primitive:10} {kernel.name:14} {state}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
