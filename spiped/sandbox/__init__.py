"""What a process gives up once it has everything that it needs (DESIGN.md, "Privilege")."""

from __future__ import annotations

import os

from spiped.crypto import Backend
from spiped.lean_typing import NamedTuple, Protocol
from spiped.plane.pipe_settings import PipeSettings


class Needs(NamedTuple):
    """What a process still has to do."""

    ports: list[int]  # make TCP connections to these; none: no TCP connections at all
    unix: bool  # make connections to UNIX sockets
    bind: bool  # from an address of its choice,
    bind_port: int  # of which this is the port; -1 if it has none
    threads: bool  # start threads


class System(Protocol):
    """What a system offers; the functions return 0 or an errno value (`_native/sandbox/`)."""

    def forbid_new_privileges(self) -> int: ...

    def landlock_abi(self) -> int:
        """Positive, or minus an errno value."""

    def landlock(self, abi: int, needs: Needs) -> int: ...

    def can_filter(self) -> int: ...

    def filter_calls(self, needs: Needs) -> int: ...


class Sandbox:
    """What a system has of it, and what it lacks."""

    def __init__(self, crypto: Backend) -> None:
        """Imports what it needs, so it is to be made before privileges are dropped."""
        if crypto.name == "native":
            from spiped.sandbox import native

            self._system: System = native
        else:
            from spiped.sandbox import pure

            self._system = pure
        self._landlock = 0
        self._parts: dict[str, int] = {}  # what there is, with 0, or an errno value

    def give_up_gaining(self) -> None:
        """Give up gaining privileges, at once; and see what else there is to be had."""
        error = self._system.forbid_new_privileges()
        # the other two are for those who have no privileges to gain
        self._landlock = self._system.landlock_abi() if error == 0 else -error
        self._parts = {
            "no_new_privs": error,
            "Landlock": max(0, -self._landlock),
            "system-call filter": error or self._system.can_filter(),
        }

    @property
    def missing(self) -> list[str]:
        """The parts that there are not, with the reasons."""
        return [f"no {part} ({os.strerror(error)})" for part, error in self._parts.items() if error]

    def __str__(self) -> str:
        """The parts that there are."""
        there = [part for part, error in self._parts.items() if not error]
        return ", ".join(there).replace("Landlock", f"Landlock {self._landlock}") or "none"

    def enter(self, pipe: PipeSettings, *, threads: bool = False) -> None:
        """Give up everything but what the connections of a pipe need.  Raises OSError.

        What the system has must work: nobody runs with less than was announced.
        """
        bind = pipe.bind
        self._give_up_all_but(
            Needs(
                ports=sorted(
                    {address.sockaddr[1] for address in pipe.targets if not address.is_unix}
                ),
                unix=any(address.is_unix for address in pipe.targets),
                bind=bind is not None,
                bind_port=-1 if bind is None or bind.is_unix else bind.sockaddr[1],
                threads=threads,
            )
        )

    def enter_without_pipe(self) -> None:
        """Give up everything but what is open already, and who may come to it.  Raises OSError."""
        self._give_up_all_but(Needs(ports=[], unix=False, bind=False, bind_port=-1, threads=False))

    def _give_up_all_but(self, needs: Needs) -> None:
        if not self._parts["Landlock"]:
            _check(self._system.landlock(self._landlock, needs))
        if not self._parts["system-call filter"]:
            _check(self._system.filter_calls(needs))


def _check(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))
