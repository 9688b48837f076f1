"""Which ``Host`` a request over TCP may name: no name that somebody else could point at us.

A page on the internet can have a browser ask us under the page's own name, once that name stands
for our address, and then read the answer (DNS rebinding).  Such a name is in ``Host``.
"""

from __future__ import annotations

import socket


def is_safe(host: str) -> bool:
    """``host``, with or without a port, is a literal address or localhost."""
    name, colon, port = host.rpartition(":")
    if not colon or "]" in port:
        name, port = host, ""
    if port and not (port.isascii() and port.isdigit()):
        return False
    if name.startswith("[") and name.endswith("]"):
        return _is_literal(socket.AF_INET6, name[1:-1])
    return name.lower() == "localhost" or _is_literal(socket.AF_INET, name)


def _is_literal(family: int, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True
