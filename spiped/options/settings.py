"""What the operator asked for, as plain data.

The fields have the names and the defaults of the option table; a test compares them.
"""

from __future__ import annotations

from spiped.lean_typing import NamedTuple

DEFAULT_CONNECTIONS = 100
DEFAULT_TIMEOUT = 5.0  # seconds
DEFAULT_RESOLVE_INTERVAL = 60.0  # seconds
UNLIMITED = float("inf")  # seconds
LEVELS = ("debug", "info", "notice", "warning", "error")
FORMATS = ("text", "json", "logfmt")
DEFAULT_FORMAT = "text"
DEFAULT_PACE = 1.0  # seconds
DEFAULT_SORT = "sealed_rate"
DEFAULT_LIMIT = 100


class PipeOptions(NamedTuple):
    """The options that `spiped` and `spipe` share.  Addresses are as the operator wrote them."""

    target: str
    key: str  # the path of a file, or "-"
    bind: str | None = None
    no_pfs: bool = False
    require_pfs: bool = False
    keepalive: bool = True
    timeout: float = DEFAULT_TIMEOUT
    sandbox: bool = True


class CtlOptions(NamedTuple):
    """The options of `spipedctl`, and what it is to do."""

    words: tuple[str, ...]  # a verb, and what stands behind it
    socket: str | None = None  # None: what the environment says
    name: str | None = None
    json: bool = False


class DaemonOptions(NamedTuple):
    """The options of `spiped`."""

    pipe: PipeOptions
    decrypt: bool  # -d, as opposed to -e
    source: str
    name: str = ""  # of the pipe
    wait_for_dns: bool = False
    control: str | None = None  # the path of a socket; None: there is none
    foreground: bool = False
    connections: int = DEFAULT_CONNECTIONS
    max_unauthenticated: int | None = None  # None: three quarters of `connections`, with -d
    max_unauthenticated_per_source: int = 0
    idle_timeout: float = UNLIMITED
    pid_file: str | None = None  # none in the foreground, nor where nobody has named one
    ready_fd: int | None = None
    resolve_interval: float = DEFAULT_RESOLVE_INTERVAL  # infinite: never
    syslog: bool = False
    log_file: str | None = None
    log_format: str = DEFAULT_FORMAT
    log_level: str | None = None  # None: it depends on where messages go
    user: str | None = None
    shutdown_delay: float = 0.0
    status: tuple[str, ...] = ()
    shutdown_timeout: float = UNLIMITED
    drain_timeout: float = UNLIMITED
    workers: int | None = None  # None: as many as there are CPUs


class TopOptions(NamedTuple):
    """The options of `spiped-top`."""

    status: str | None = None  # None: what SPIPED_STATUS says
    once: bool = False
    plain: bool = False
    interval: float = DEFAULT_PACE
    sort: str = DEFAULT_SORT
    limit: int = DEFAULT_LIMIT  # 0: none
