"""The status server: what a daemon tells of itself over HTTP (docs/status.md).

    child -> server -> client -> routes -> exposition, page

It has a process of its own, which holds no key and can change nothing.  HTTP is h11's, which only
those who want this server need; so nothing else is to be imported from here before `require` has
been called.
"""

from __future__ import annotations

from importlib.util import find_spec

from spiped.errors import OperatorError


def require() -> None:
    """Raise OperatorError if there is not what the server is made of."""
    if find_spec("h11") is None:
        raise OperatorError("--status needs the package h11: pip install 'spiped[status]'")
