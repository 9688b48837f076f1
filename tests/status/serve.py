"""The status process over an example, as a supervisor has it.

    python -m tests.status.serve [--connections N] [--state STATE] [--hostile] ADDRESS...

Says "ready" and the process's id on the standard output.  Obeys lines of its standard input, and
says "done" after each: "worker" adds a worker, "say JSON" changes the supervisor's document.  When
the input ends, so does the status process; or that does before.  The exit status is its own; what
it had to say at its end goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import select as system
import socket
import sys

from spiped.crypto import select
from spiped.net.address import resolve
from spiped.observe.facts import Facts
from spiped.observe.view import View
from spiped.process.fork import fork
from spiped.sandbox import Sandbox
from spiped.service.listener import listen
from spiped.status.child import LAST_WORDS_MAX, StatusSetup, run
from spiped.status.page import load
from tests.status.example import Daemon, Scenario, counters_for

INTERVAL = 0.1  # seconds in which the daemon carries something


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--connections", type=int, default=Scenario().connections)
    parser.add_argument("--state", default="serving")
    parser.add_argument("--hidden", type=int, default=0)
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--churn", action="store_true")
    parser.add_argument("--still", action="store_true", help="nothing is carried")
    arguments = parser.parse_args()
    scenario = Scenario(
        connections=arguments.connections,
        state=arguments.state,
        hostile=arguments.hostile,
        hidden=arguments.hidden,
        churn=arguments.churn,
    )
    listeners = [listen(resolve(text)[0], keepalive=True) for text in arguments.addresses]
    crypto, _ = select()
    sandbox = Sandbox(crypto)
    sandbox.give_up_gaining()
    counters, facts = counters_for(scenario), Facts()
    setup = StatusSetup(
        program="spiped",
        listeners=[listener.sock for listener in listeners],
        page=load(),
        view=View(counters, facts),
        erase_secrets=crypto.wipe_secrets,
        enter_sandbox=sandbox.enter_without_pipe,
        detach=False,
    )
    ours, theirs = socket.socketpair()
    pid = fork(lambda: run(setup, theirs))
    theirs.close()
    daemon = Daemon(scenario, counters, facts)
    print(f"ready {pid}", flush=True)
    while True:
        readable, _, _ = system.select([0, ours], [], [], INTERVAL)
        if not arguments.still:
            daemon.go_on()
        if ours in readable or (readable and not obey(daemon)):
            break
    ours.shutdown(socket.SHUT_WR)
    said = b""
    while piece := ours.recv(LAST_WORDS_MAX):
        said += piece
    sys.stderr.write(said.decode())
    for listener in listeners:
        listener.close()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def obey(daemon: Daemon) -> bool:
    """Do what the next line says; there is one."""
    order, _, argument = os.read(0, 65536).decode().partition(" ")
    if order.strip() == "worker":
        daemon.add_worker()
    elif order == "say":
        daemon.say(**json.loads(argument))
    else:
        return False
    print("done", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
