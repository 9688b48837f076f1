"""Carrying K over to a new image of the program, which nobody else may read meanwhile.

When a process executes a program, its memory is gone, and until the new image has forbidden it,
every process of the same user may look at what it has open.  So K stays with a child that nobody
may look at.  The new image, once nobody may look at it either, makes a socket pair and sends one
end of it; the child sees from the credentials of the sender that it is its parent, and answers
there.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from spiped.crypto import Buffer
from spiped.crypto.sizes import KEY_BYTES
from spiped.errors import REFUSALS, OperatorError
from spiped.process.descriptors import close_all_but
from spiped.process.fork import fork

TIME_LIMIT = 60  # seconds until the child gives up waiting

CREDENTIALS_BYTES = 12  # pid, uid, gid (unix(7))


def keep(K: Buffer) -> socket.socket:
    """Fork the child; returns the socket by which `fetch` finds it, and at whose end it ends.

    Raises what `REFUSALS` names.
    """
    ours, theirs = socket.socketpair()
    if hasattr(socket, "SO_PASSCRED"):
        # before anything can be sent: what was sent earlier would come from nobody
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    try:
        fork(lambda: _keep(theirs, K))
    except REFUSALS:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours


def _keep(sock: socket.socket, K: Buffer) -> None:
    close_all_but(sock.fileno())
    signal.alarm(TIME_LIMIT)
    parent = os.getppid()
    room = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(CREDENTIALS_BYTES)
    _, messages, _, _ = sock.recvmsg(1, room)
    sender, reply = None, None
    for _, kind, data in messages:
        if kind == socket.SCM_RIGHTS:
            reply = socket.socket(fileno=int.from_bytes(data[:4], sys.byteorder))
        else:
            sender = int.from_bytes(data[:4], sys.byteorder)
    if reply is not None and sender in (parent, None):
        reply.sendall(K)


def fetch(fd: int, K: memoryview) -> None:
    """Have K written to this memory.  Raises OperatorError if the child has gone."""
    sock = socket.socket(fileno=fd)
    ours, theirs = socket.socketpair()
    with sock, ours, theirs:
        socket.send_fds(sock, [b"!"], [theirs.fileno()])
        theirs.close()
        got = ours.recv_into(K, KEY_BYTES, socket.MSG_WAITALL)
    if got != KEY_BYTES:
        raise OperatorError("The key has been lost on its way to the new program")
