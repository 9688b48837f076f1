"""The status process over an example, as a supervisor would have it.

    python -m tests.status.serve [--connections N] [--state STATE] [--hostile] ADDRESS...

Says "ready" on the standard output, and goes on until its standard input ends.  The exit status is
the status process's; what that had to say at its end goes to stderr.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys

from spiped.crypto import select
from spiped.net.address import resolve
from spiped.process.fork import fork
from spiped.sandbox import Sandbox
from spiped.service.listener import listen
from spiped.status.page import load
from spiped.status.process import LAST_WORDS_MAX, StatusSetup, run
from tests.status.example import Example, Scenario


class Failing(Example):
    """A source with a mistake."""

    def status(self) -> dict[str, object]:
        raise ZeroDivisionError("a mistake of ours")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--connections", type=int, default=Scenario().connections)
    parser.add_argument("--state", default="serving")
    parser.add_argument("--hidden", type=int, default=0)
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--failing", action="store_true")
    arguments = parser.parse_args()
    kind = Failing if arguments.failing else Example
    scenario = Scenario(
        connections=arguments.connections,
        state=arguments.state,
        hostile=arguments.hostile,
        hidden=arguments.hidden,
    )
    listeners = [listen(resolve(text)[0], keepalive=True) for text in arguments.addresses]
    crypto, _ = select()
    sandbox = Sandbox(crypto)
    sandbox.give_up_gaining()
    setup = StatusSetup(
        program="spiped",
        listeners=[listener.sock for listener in listeners],
        page=load(),
        make_source=lambda: kind(scenario),
        keep=(),
        erase_secrets=crypto.wipe_secrets,
        enter_sandbox=sandbox.enter_without_pipe,
        detach=False,
    )
    ours, theirs = socket.socketpair()

    def child() -> int:
        ours.close()
        return run(setup, theirs)

    pid = fork(child)
    theirs.close()
    print(f"ready {pid}", flush=True)
    ours_said = b""
    while select_readable(ours) == "stdin" and os.read(0, 4096):
        pass
    ours.shutdown(socket.SHUT_WR)
    while piece := ours.recv(LAST_WORDS_MAX):
        ours_said += piece
    sys.stderr.write(ours_said.decode())
    for listener in listeners:
        listener.close()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def select_readable(ours: socket.socket) -> str:
    """Which comes first: the end of the standard input, or that of the child."""
    import select as system

    readable, _, _ = system.select([0, ours], [], [])
    return "stdin" if 0 in readable else "child"


if __name__ == "__main__":
    sys.exit(main())
