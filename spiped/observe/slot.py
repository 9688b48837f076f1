"""One worker's counters: what there is to be counted, and where it stands.

Each is declared here, once: its place in a slot, the metric that it is a sample of, and the labels
of that (docs/metrics.md).  The first are the data plane's in C (`_native/plane/counters.h`).
"""

from __future__ import annotations

import enum
from bisect import bisect_left

SLOT_BYTES = 2048  # whole cache lines, so that no two workers write to the same one

# The upper bounds of a histogram's buckets, in seconds; the last bucket has none
TIME_BOUNDS = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0),
)
TIME_WORDS = 24  # the buckets, and in the last one the sum, in microseconds

Labels = tuple[tuple[str, str], ...]


class Field(enum.IntEnum):
    """The counters of a slot, 64 bits each, or where a histogram begins."""

    metric: str  # "": of none by itself
    labels: Labels

    def __new__(cls, place: int, metric: str = "", *labels: tuple[str, str]) -> Field:
        field = int.__new__(cls, place)
        field._value_ = place
        field.metric = metric
        field.labels = labels
        return field

    # What other workers look at when they accept, in a cache line of its own
    ACTIVE = 0, "connections_active"  # accepted and not ended
    UNAUTHENTICATED = 1, "connections_unauthenticated"
    SERVING = 2  # 1 while the worker accepts, or pauses from that
    ENTRIES = 3  # of the table of connections: so many have ever been used
    # What changes with every batch
    SEALED = 8, "bytes", ("side", "plain"), ("direction", "rx")
    OPENED = 9, "bytes", ("side", "plain"), ("direction", "tx")
    SEALED_PACKETS = 10, "packets", ("direction", "sealed")
    OPENED_PACKETS = 11, "packets", ("direction", "opened")
    # What changes with every connection
    ACCEPTED = 16, "connections_accepted"
    ESTABLISHED = 17, "connections_established"
    ACCEPT_PROCESS_FILES = 18, "accept_errors", ("errno", "EMFILE")
    ACCEPT_SYSTEM_FILES = 19, "accept_errors", ("errno", "ENFILE")
    ACCEPT_MEMORY = 20, "accept_errors", ("errno", "ENOMEM")
    ACCEPT_OTHER = 21, "accept_errors", ("errno", "other")
    # Connections that have ended, by reason (`plane.ending.Reason`)
    ENDED_CLEAN = 24, "connections_closed", ("cause", "ended")
    ENDED_UNREACHED = 25, "connections_closed", ("cause", "target_unreachable")
    ENDED_UNANSWERED = 26, "connections_closed", ("cause", "target_timed_out")
    ENDED_PLAIN_LOST = 27, "connections_closed", ("cause", "lost_before_the_relay")
    ENDED_NO_KEY = 28, "connections_closed", ("cause", "wrong_key")
    ENDED_OUT_OF_RANGE = 29, "connections_closed", ("cause", "value_out_of_range")
    ENDED_NO_PFS = 30, "connections_closed", ("cause", "no_forward_secrecy")
    ENDED_CLOSED = 31, "connections_closed", ("cause", "left_in_the_handshake")
    ENDED_LOST = 32, "connections_closed", ("cause", "lost_in_the_handshake")
    ENDED_TOO_SLOW = 33, "connections_closed", ("cause", "handshake_timed_out")
    ENDED_SHED = 34, "connections_closed", ("cause", "made_room")
    ENDED_TOO_MANY = 35, "connections_closed", ("cause", "too_many_from_one_address")
    ENDED_BAD_TAG = 36, "connections_closed", ("cause", "bad_tag")
    ENDED_BAD_LENGTH = 37, "connections_closed", ("cause", "bad_length")
    ENDED_TRUNCATED = 38, "connections_closed", ("cause", "truncated")
    ENDED_SOCKET_ERROR = 39, "connections_closed", ("cause", "lost")
    ENDED_IDLE = 40, "connections_closed", ("cause", "idle")
    ENDED_ABORTED = 41, "connections_closed", ("cause", "shut_down")
    ENDED_LEFT = 42, "connections_closed", ("cause", "left_at_once")
    ENDED_SAME_ROLE = 43, "connections_closed", ("cause", "same_mode")
    ENDED_OVERLOAD = 44, "connections_closed", ("cause", "overload")
    ENDED_KILLED = 45, "connections_closed", ("cause", "killed")
    # Histograms
    HANDSHAKE_TIME = 64, "handshake_duration"
    CONNECT_TIME = 88, "target_connect_duration"
    CONNECTION_TIME = 112, "connection_duration"
    # The supervisor's, in the slot of each worker: what the system says of it
    CPU_MILLISECONDS = 136
    MEMORY_BYTES = 137
    # The supervisor's, in slot 0: what the daemon has gone through
    WORKER_RESTARTS = 144, "worker_restarts"
    RELOADS = 145, "reloads", ("result", "success")
    RELOADS_FAILED = 146, "reloads", ("result", "failure")
    UPGRADES = 147, "upgrades"
    LOG_DROPPED = 148, "log_lines_dropped"


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
        self.view[field] += count

    def time(self, histogram: Field, seconds: float) -> None:
        """Count a time in a histogram."""
        bucket = bisect_left(TIME_BOUNDS, seconds)
        self.view[histogram + bucket] += 1
        self.view[histogram + TIME_WORDS - 1] += int(seconds * 1e6)
