"""A release of before, as far as one that follows it can see: it hands over, and is gone.

``python frozen_release.py LISTENER-PORT TARGET-PORT COMMAND...`` executes the command in its place,
which must be a spiped with the same key.  Nothing here is to be changed with the program: it stands
for what is installed somewhere.  This is the first release whose document has format 2.
"""

from __future__ import annotations

import array
import hashlib
import json
import os
import socket
import struct
import sys
from pathlib import Path

HEADER_BYTES = 4096
SLOT_BYTES = 512
LAYOUT = {
    "slot_bytes": SLOT_BYTES,
    "fields": {
        "ACTIVE": 0,
        "UNAUTHENTICATED": 1,
        "SEALED": 8,
        "OPENED": 9,
        "ACCEPTED": 16,
        "ESTABLISHED": 17,
        "OF_OLD": 63,  # nobody counts it any more
    },
}
SLOT_0 = {8: 1000, 9: 2000, 16: 40, 17: 30}  # of workers that were gone


def document(listener: int, counters: int, key: int, channel: int, pid: int, port: int) -> bytes:
    return json.dumps(
        {
            "format": 2,
            "readable_from": 2,
            "rehearsal": False,
            "listener": listener,
            "socket_file": None,
            "pid_file": None,
            "log_file": None,
            "key_can_be_read": True,
            "counters": [counters],
            "targets": [[int(socket.AF_INET), ["127.0.0.1", port]]],
            "of_old": "what nobody needs any more",
            "workers": {
                "begun": 7,
                "generations": [
                    {
                        "number": 7,
                        "state": "serving",
                        "workers": [
                            {"pid": pid, "serial": 12, "slot": 1, "counters": 0, "channel": channel}
                        ],
                    }
                ],
            },
            "key": key,
        }
    ).encode()


def memory(name: str, content: bytes) -> int:
    fd = os.memfd_create(name, 0)
    os.write(fd, content)
    return fd


def counters() -> int:
    slots = array.array("Q", bytes(3 * SLOT_BYTES))
    for place, number in SLOT_0.items():
        slots[place] = number
    in_use = struct.pack("=Q", 2)
    description = json.dumps(LAYOUT).encode().ljust(HEADER_BYTES - 8, b"\0")
    return memory("spiped-counters", description + in_use + slots.tobytes())


def work(sock: socket.socket) -> None:
    """What the supervisor of any release relies on: answers, the orders to drain and to stop."""
    for line in sock.makefile("rb"):
        if not line.strip():
            continue
        message = json.loads(line)
        if message["do"] == "answer":
            sock.sendall(json.dumps({"answer": message["question"]}).encode() + b"\n")
        elif message["do"] in ("drain", "stop"):
            return


def keep(sock: socket.socket, K: bytes) -> None:
    _, fds, _, _ = socket.recv_fds(sock, 1, 1)
    socket.socket(fileno=fds[0]).sendall(K)


def child(what: object, *arguments: object) -> tuple[int, int]:
    """Our end of a socket pair, which stays open, and the child that has the other one."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        what(theirs, *arguments)  # type: ignore[operator]
        os._exit(0)
    fd = ours.detach()
    os.set_inheritable(fd, True)
    return fd, pid


def main() -> None:
    port, target, *command = sys.argv[1:]
    key_file = Path(command[command.index("-k") + 1])
    channel, worker = child(work)
    key, _ = child(keep, hashlib.sha256(key_file.read_bytes()).digest())
    listener = socket.create_server(("127.0.0.1", int(port)))
    listener.set_inheritable(True)
    given = document(listener.fileno(), counters(), key, channel, worker, int(target))
    environment = {**os.environ, "SPIPED_HANDOVER": str(memory("spiped-handover", given))}
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    main()
