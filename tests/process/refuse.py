"""A system that refuses some of its calls.

    python refuse.py CALL=ERROR[,CALL=ERROR ...] PROGRAM [ARGUMENT ...]

Runs a program for which these calls fail, for example ``memfd_create=ENOSYS``, as on a kernel that
lacks something or has run out of it.  `refuse` does the same to the process that calls it, and to
all that come of it, from then on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Mapping

# Numbers of system calls on x86-64 and on 64-bit ARM; None: there is no such call.
NUMBERS = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "dup2": (33, None),
    "epoll_create1": (291, 20),
    "eventfd2": (290, 19),
    "flock": (73, 32),
    "fork": (57, None),
    "ftruncate": (77, 46),
    "getdents64": (217, 61),
    "landlock_create_ruleset": (444, 444),
    "memfd_create": (319, 279),
    "mlock": (149, 228),
    "mlock2": (325, 284),
    "mmap": (9, 222),
    "openat": (257, 56),
    "pipe2": (293, 59),
    "prlimit64": (302, 261),
    "seccomp": (317, 277),
    "setsid": (112, 157),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "vfork": (58, None),
}
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD, EQUAL, RETURN, ALLOW, ERRNO = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000  # seccomp(2)

CANNOT = 99  # the exit status if nothing can be refused here


def refuse(calls: Mapping[str, str]) -> None:
    """From now on, these calls fail with these errors.  Raises OSError if that is impossible."""
    if COLUMN is None:
        raise OSError(errno.ENOSYS, "system calls have other numbers here")
    code = [struct.pack("=HBBI", LOAD, 0, 0, 0)]
    for call, error in calls.items():
        number = NUMBERS[call][COLUMN]
        if number is not None:
            code.append(struct.pack("=HBBI", EQUAL, 0, 1, number))
            code.append(struct.pack("=HBBI", RETURN, 0, 0, ERRNO | getattr(errno, error)))
    code.append(struct.pack("=HBBI", RETURN, 0, 0, ALLOW))
    program = ctypes.create_string_buffer(b"".join(code))
    whole = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, whole, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this kernel cannot be made to lack something")


def main() -> None:
    try:
        refuse(dict(word.split("=") for word in sys.argv[1].split(",")))
    except OSError:
        sys.exit(CANNOT)
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
