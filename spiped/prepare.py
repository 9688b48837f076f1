"""From the options to what connections need: what `spiped` and `spipe` do alike at their start."""

from __future__ import annotations

from spiped.config import PipeOptions
from spiped.crypto import Backend
from spiped.key import read_key
from spiped.net.address import SocketAddress, resolve
from spiped.net.pipe import Pipe
from spiped.observe.log import Log
from spiped.proto.role import Role


def resolve_one(text: str, log: Log, *, port_optional: bool = False) -> SocketAddress:
    """The first address that ``text`` stands for.  Raises OperatorError."""
    addresses = resolve(text, port_optional=port_optional)
    if len(addresses) > 1:
        log.warn(f"Using the first of multiple addresses found for {text}")
    return addresses[0]


def resolve_bind(text: str | None, log: Log) -> SocketAddress | None:
    """What ``-b`` names: a local address, with or without a port.  Raises OperatorError."""
    return None if text is None else resolve_one(text, log, port_optional=True)


def first_key(crypto: Backend, path: str, log: Log) -> memoryview:
    """The key, read for the first time.  Raises OperatorError."""
    K, empty = read_key(crypto, path, may_wait=True)
    if empty:
        log.warn(f"Warning: the key file is empty: {path}")
    return K


def make_pipe(
    options: PipeOptions,
    role: Role,
    K: memoryview,
    targets: list[SocketAddress],
    bind: SocketAddress | None,
) -> Pipe:
    """Put everything together."""
    return Pipe(
        role=role,
        K=K,
        targets=targets,
        bind=bind,
        weak=options.weak,
        require_pfs=options.require_pfs,
        keepalive=options.keepalive,
        timeout=options.timeout,
    )
