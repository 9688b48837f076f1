"""One worker's counters: what there is to be counted, and where it stands.

Each is declared here, once: its place in a slot, the metric that it is a sample of, and the labels
of that (docs/metrics.md).  The first are the data plane's in C (`_native/plane/counters.h`).
"""

from __future__ import annotations

SLOT_BYTES = 2048  # whole cache lines, so that no two workers write to the same one

# The upper bounds of a histogram's buckets, in seconds; the last bucket has none
TIME_BOUNDS = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0),
)
TIME_WORDS = 24  # the buckets, and in the last one the sum, in microseconds

Labels = tuple[tuple[str, str], ...]


class Place(int):
    """Where a counter of 64 bits stands in a slot, or a histogram begins.

    (An `enum` of as many would take a fiftieth of the time in which `spipe` starts.)
    """

    name: str
    metric: str  # "": of none by itself
    labels: Labels

    def __new__(cls, place: int, metric: str = "", *labels: tuple[str, str]) -> Place:
        self = int.__new__(cls, place)
        self.metric = metric
        self.labels = labels
        return self

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


class Field:
    """The counters of a slot."""

    # What other workers look at when they accept, in a cache line of its own
    ACTIVE = Place(0, "connections_active")  # accepted and not ended
    UNAUTHENTICATED = Place(1, "connections_unauthenticated")
    SERVING = Place(2)  # 1 while the worker accepts, or pauses from that
    ENTRIES = Place(3)  # of the table of connections: so many have ever been used
    # What changes with every batch
    SEALED = Place(8, "bytes", ("side", "plain"), ("direction", "rx"))
    OPENED = Place(9, "bytes", ("side", "plain"), ("direction", "tx"))
    SEALED_PACKETS = Place(10, "packets", ("direction", "sealed"))
    OPENED_PACKETS = Place(11, "packets", ("direction", "opened"))
    # What changes with every connection
    ACCEPTED = Place(16, "connections_accepted")
    ESTABLISHED = Place(17, "connections_established")
    ACCEPT_PROCESS_FILES = Place(18, "accept_errors", ("errno", "EMFILE"))
    ACCEPT_SYSTEM_FILES = Place(19, "accept_errors", ("errno", "ENFILE"))
    ACCEPT_MEMORY = Place(20, "accept_errors", ("errno", "ENOMEM"))
    ACCEPT_OTHER = Place(21, "accept_errors", ("errno", "other"))
    # Connections that have ended, by reason (`plane.ending.Reason`)
    ENDED_CLEAN = Place(24, "connections_closed", ("reason", "ended"))
    ENDED_UNREACHED = Place(25, "connections_closed", ("reason", "target_unreachable"))
    ENDED_UNANSWERED = Place(26, "connections_closed", ("reason", "target_timed_out"))
    ENDED_PLAIN_LOST = Place(27, "connections_closed", ("reason", "lost_before_the_relay"))
    ENDED_NO_KEY = Place(28, "connections_closed", ("reason", "wrong_key"))
    ENDED_OUT_OF_RANGE = Place(29, "connections_closed", ("reason", "value_out_of_range"))
    ENDED_NO_PFS = Place(30, "connections_closed", ("reason", "no_forward_secrecy"))
    ENDED_CLOSED = Place(31, "connections_closed", ("reason", "left_in_the_handshake"))
    ENDED_LOST = Place(32, "connections_closed", ("reason", "lost_in_the_handshake"))
    ENDED_TOO_SLOW = Place(33, "connections_closed", ("reason", "handshake_timed_out"))
    ENDED_SHED = Place(34, "connections_closed", ("reason", "made_room"))
    ENDED_TOO_MANY = Place(35, "connections_closed", ("reason", "too_many_from_one_address"))
    ENDED_BAD_TAG = Place(36, "connections_closed", ("reason", "bad_tag"))
    ENDED_BAD_LENGTH = Place(37, "connections_closed", ("reason", "bad_length"))
    ENDED_TRUNCATED = Place(38, "connections_closed", ("reason", "truncated"))
    ENDED_SOCKET_ERROR = Place(39, "connections_closed", ("reason", "lost"))
    ENDED_IDLE = Place(40, "connections_closed", ("reason", "idle"))
    ENDED_ABORTED = Place(41, "connections_closed", ("reason", "shut_down"))
    ENDED_LEFT = Place(42, "connections_closed", ("reason", "left_at_once"))
    ENDED_SAME_ROLE = Place(43, "connections_closed", ("reason", "same_mode"))
    ENDED_OVERLOAD = Place(44, "connections_closed", ("reason", "overload"))
    ENDED_KILLED = Place(45, "connections_closed", ("reason", "killed"))
    ENDED_SHORTAGE = Place(46, "connections_closed", ("reason", "out_of_resources"))
    # Histograms
    HANDSHAKE_TIME = Place(64, "handshake_duration")
    CONNECT_TIME = Place(88, "target_connect_duration")
    CONNECTION_TIME = Place(112, "connection_duration")
    # The supervisor's, in the slot of each worker: what the system says of it
    CPU_MILLISECONDS = Place(136)
    MEMORY_BYTES = Place(137)
    # The supervisor's, in slot 0: what the daemon has gone through
    WORKER_RESTARTS = Place(144, "worker_restarts")
    RELOADS = Place(145, "reloads", ("result", "success"))
    RELOADS_FAILED = Place(146, "reloads", ("result", "failure"))
    UPGRADES = Place(147, "upgrades")
    LOG_DROPPED = Place(148, "log_lines_dropped")


PLACES = tuple(place for place in vars(Field).values() if isinstance(place, Place))

HISTOGRAMS = (Field.HANDSHAKE_TIME, Field.CONNECT_TIME, Field.CONNECTION_TIME)

# What there is now, and not what there has been.
GAUGES = (Field.ACTIVE, Field.UNAUTHENTICATED, Field.SERVING, Field.MEMORY_BYTES)


NO_ENTRIES = memoryview(b"")  # of the table of connections (`entry`): nobody looks


class Slot:
    """One worker's counters."""

    def __init__(self, view: memoryview | None = None) -> None:
        """Count in ``view``, which holds 64-bit numbers; without one, for oneself."""
        self.view = memoryview(bytearray(SLOT_BYTES)).cast("Q") if view is None else view

    def __getitem__(self, field: int) -> int:
        return int(self.view[field])

    def add(self, field: int, count: int) -> None:
        self.view[field] = (self.view[field] + count) % 2**64  # whoever may write here

    def time(self, histogram: Place, seconds: float) -> None:
        """Count a time in a histogram."""
        bucket = sum(bound < seconds for bound in TIME_BOUNDS)
        self.view[histogram + bucket] += 1
        self.view[histogram + TIME_WORDS - 1] += int(seconds * 1e6)
