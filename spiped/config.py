"""What the operator asked for, as plain data."""

from __future__ import annotations

from spiped.constants import DEFAULT_CONNECTIONS, DEFAULT_RESOLVE_INTERVAL, DEFAULT_TIMEOUT
from spiped.light import NamedTuple


class PipeOptions(NamedTuple):
    """The options that `spiped` and `spipe` share.  Addresses are as the operator wrote them."""

    target: str
    key_file: str
    bind: str | None = None
    weak: bool = False  # -f
    require_pfs: bool = False  # -g
    keepalive: bool = True  # not -j
    timeout: float = DEFAULT_TIMEOUT  # -o, seconds; may be infinite
    sandbox: bool = True  # not --no-sandbox


class Limits(NamedTuple):
    """How many connections there may be; 0: any number."""

    connections: int = DEFAULT_CONNECTIONS  # -n, over all workers
    strangers: int = 0  # over all workers: whose peer has not proved to hold the key yet
    strangers_per_source: int = 0  # of those, from one address


class DaemonOptions(NamedTuple):
    """The options of `spiped`."""

    pipe: PipeOptions
    decrypt: bool  # -d, as opposed to -e
    source: str
    wait_for_dns: bool = False  # -D
    foreground: bool = False  # -F
    limits: Limits = Limits()
    idle_timeout: float = float("inf")  # seconds that a connection may carry nothing
    pid_file: str = ""
    resolve_interval: float = DEFAULT_RESOLVE_INTERVAL  # -r, seconds; infinite: never
    syslog: bool = False
    log_file: str | None = None
    user: str | None = None  # -u
    verbose: bool = False
    shutdown_timeout: float = float("inf")  # seconds; infinite: no limit
    workers: int | None = None  # None: one per CPU
