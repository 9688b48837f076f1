"""The part of the sandbox that needs no compiled code of ours.

There is no filter of system calls: their numbers are the C compiler's to know, and what the
libraries of this back end call is theirs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from spiped.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spiped.sandbox import Needs

PR_SET_NO_NEW_PRIVS = 38  # prctl(2)

# system calls; the same on all architectures
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446

VERSION_FLAG = 1
RULE_NET_PORT = 2

# <linux/landlock.h>
FS_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # by version: how many rights there are since
FS_MAKE_SOCK = 1 << 9
NET_BIND_TCP, NET_CONNECT_TCP = 1, 2
SCOPES = 3  # abstract UNIX sockets, signals

_libc = ctypes.CDLL(None, use_errno=True)


def _call(*arguments: int | bytes | None) -> int:
    """A system call; returns its result, or minus an errno value."""
    numbers = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = _libc.syscall(*numbers)
    return result if result >= 0 else -ctypes.get_errno()


def forbid_new_privileges() -> int:
    if sys.platform != "linux":
        return errno.ENOSYS
    return 0 if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 else ctypes.get_errno()


def landlock_abi() -> int:
    return _call(LANDLOCK_CREATE_RULESET, None, 0, VERSION_FLAG)


def landlock(abi: int, needs: Needs) -> int:
    files = (1 << FS_RIGHTS[max(version for version in FS_RIGHTS if version <= abi)]) - 1
    if needs.unix and needs.bind:
        files &= ~FS_MAKE_SOCK
    net = NET_BIND_TCP | NET_CONNECT_TCP if abi >= 4 else 0
    ruleset = struct.pack("=QQQ", files, net, SCOPES if abi >= 6 else 0)
    fd = _call(LANDLOCK_CREATE_RULESET, ruleset, len(ruleset), 0)
    if fd < 0:
        return -fd
    try:
        rules = [(NET_CONNECT_TCP, port) for port in needs.ports]
        rules += [(NET_BIND_TCP, needs.bind_port)] if needs.bind_port >= 0 else []
        for rule in rules if net else ():
            error = -_call(LANDLOCK_ADD_RULE, fd, RULE_NET_PORT, struct.pack("=QQ", *rule), 0)
            if error:
                return error
        return -_call(LANDLOCK_RESTRICT_SELF, fd, 0)
    finally:
        os.close(fd)


def can_filter() -> int:
    return errno.ENOSYS


def filter_calls(needs: Needs) -> int:
    raise AssertionError("there is no filter")
