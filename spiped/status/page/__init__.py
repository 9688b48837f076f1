"""The page for people: one document, made of the files beside this one."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from spiped.lean_typing import NamedTuple

DIRECTORY = Path(__file__).parent


class Page(NamedTuple):
    """A document that needs nothing else, and what a browser may do with it."""

    document: bytes
    policy: str  # Content-Security-Policy


def load() -> Page:
    """Read the files.  Raises OSError.

    Style and script stand in the document; a browser runs them because the policy has their
    hashes, and runs nothing else, whatever is inserted into the page.
    """
    style = (DIRECTORY / "page.css").read_bytes()
    script = (DIRECTORY / "page.js").read_bytes()
    document = (DIRECTORY / "page.html").read_bytes()
    document = document.replace(b"/* page.css */", style).replace(b"/* page.js */", script)
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data:;"
        f" style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        f" frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return Page(document, policy)


def _hash(text: bytes) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text).digest()).decode()
