"""What is to be said about a key file that can be read, but is no good one."""

from __future__ import annotations

from collections.abc import Iterator

from spiped.crypto.key_file import Key
from spiped.crypto.sizes import KEY_BYTES
from spiped.observe.log.common import KeyFileEmpty, KeyFilePublic, KeyFileShort
from spiped.observe.log.kinds import Event


def key_warnings(path: str, key: Key) -> Iterator[Event]:
    """The events to be logged when a key has been read from this file."""
    if key.length == 0:
        yield KeyFileEmpty(path)
    elif key.length < KEY_BYTES:
        yield KeyFileShort(path, key.length)
    if key.is_public:
        yield KeyFilePublic(path)
