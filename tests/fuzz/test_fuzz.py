"""The fuzzers work: a short run of each is clean, and they would find faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.run import TARGETS, Target, build, fuzz, fuzzer_is_missing
from tests.helpers import lack

# What goes wrong if the environment says so.
FAULTS = {
    "open": """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int __real_equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length);
int __wrap_equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length);

static int
is_planted(const char *fault)
{
	static const char *planted;

	if (planted == NULL)
		planted = getenv("FAULT") != NULL ? getenv("FAULT") : "";
	return strcmp(planted, fault) == 0;
}

int
__wrap_equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length)
{
	return is_planted("every tag is good") || __real_equal_in_constant_time(a, b, length);
}
"""
}
FAULTS["connection"] = (
    "#include <stdarg.h>\n"
    + FAULTS["open"]
    + """
void __real_accept_on_room(struct plane *plane);
void __wrap_accept_on_room(struct plane *plane);
int __real_simulated_close(int fd);
int __wrap_simulated_close(int fd);
int __real_simulated_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_simulated_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __real_simulated_epoll_wait(int epoll, struct epoll_event *events, int room, int wait_ms);
int __wrap_simulated_epoll_wait(int epoll, struct epoll_event *events, int room, int wait_ms);
int __real_simulated_ioctl(int fd, unsigned long request, ...);
int __wrap_simulated_ioctl(int fd, unsigned long request, ...);
ssize_t __real_simulated_recv(int fd, void *buffer, size_t room, int flags);
ssize_t __wrap_simulated_recv(int fd, void *buffer, size_t room, int flags);
void __real_timer_clear(struct timers *timers, struct timer *timer);
void __wrap_timer_clear(struct timers *timers, struct timer *timer);
void __real_timer_set(struct timers *timers, struct timer *timer, uint64_t due_ms);
void __wrap_timer_set(struct timers *timers, struct timer *timer, uint64_t due_ms);

void
__wrap_accept_on_room(struct plane *plane)
{
	if (is_planted("room is not noticed"))
		plane->room_made = 0;
	else
		__real_accept_on_room(plane);
}

void
__wrap_timer_clear(struct timers *timers, struct timer *timer)
{
	int is_due = timer->due_ms <= simulated_now_ms();

	if (!is_planted("a timer is not cleared") || timer->kind != TIMER_ATTEMPT || is_due)
		__real_timer_clear(timers, timer);
}

void
__wrap_timer_set(struct timers *timers, struct timer *timer, uint64_t due_ms)
{
	if (!is_planted("a timer is late") || due_ms == UINT64_MAX)
		__real_timer_set(timers, timer, due_ms);
	else
		__real_timer_set(timers, timer, due_ms + 1);
}

int
__wrap_simulated_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	static int times;		/* that the listening socket has been watched, by this plane */

	uint64_t added = operation == EPOLL_CTL_ADD ? event->data.u64 : UINT64_MAX;

	if (added == TAG_CONTROL)
		times = 0;
	if (is_planted("the listener is forgotten") && added == TAG_LISTENER && times++ > 0)
		return 0;
	return __real_simulated_epoll_ctl(epoll, operation, fd, event);
}

int
__wrap_simulated_close(int fd)
{
	return is_planted("a descriptor stays open") && fd % 2 ? 0 : __real_simulated_close(fd);
}

int
__wrap_simulated_epoll_wait(int epoll, struct epoll_event *events, int room, int wait_ms)
{
	int count = __real_simulated_epoll_wait(epoll, events, room, wait_ms);

	for (int i = 0; i < count && is_planted("an edge is lost"); i++)
		events[i].events &= ~(uint32_t)EPOLLOUT;
	return count;
}

int
__wrap_simulated_ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	int *bytes, status;

	va_start(arguments, request);
	bytes = va_arg(arguments, int *);
	va_end(arguments);
	status = __real_simulated_ioctl(fd, request, bytes);
	if (is_planted("what is on its way is forgotten"))
		*bytes = 0;
	return status;
}

ssize_t
__wrap_simulated_recv(int fd, void *buffer, size_t room, int flags)
{
	ssize_t got = __real_simulated_recv(fd, buffer, room, flags);

	if (is_planted("a reset is taken for an end") && got < 0 && errno == ECONNRESET)
		return 0;
	if (is_planted("a byte changes") && got > 1000)
		((uint8_t *)buffer)[999] ^= 1;
	return got;
}
"""
)
WRAPPED = {
    "open": ["equal_in_constant_time"],
    "connection": [
        "accept_on_room",
        "equal_in_constant_time",
        "simulated_close",
        "simulated_epoll_ctl",
        "simulated_epoll_wait",
        "simulated_ioctl",
        "simulated_recv",
        "timer_clear",
        "timer_set",
    ],
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each target with the faults in it."""
    if fuzzer_is_missing():
        lack("there is no clang with libFuzzer")
    directory = tmp_path_factory.mktemp("fuzz")
    programs = {}
    for name, target in TARGETS.items():
        fault = directory / f"fault_{name}.c"
        fault.write_text(FAULTS[name])
        wraps = [f"-Wl,--wrap={function}" for function in WRAPPED[name]]
        programs[name] = build(target, directory, str(fault), *wraps)
    return programs


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_a_short_run_is_clean(programs: dict[str, Path], tmp_path: Path, target: Target) -> None:
    found, findings = tmp_path / "found", tmp_path / "findings"
    for directory in (found, findings):
        directory.mkdir()
    outcome = fuzz(target, programs[target.name], "-max_total_time=2", found, findings)
    assert outcome.status == 0
    assert outcome.executions >= len(list(target.seeds()))
    assert list(findings.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("open", "every tag is good"),
        ("connection", "every tag is good"),
        ("connection", "an edge is lost"),
        ("connection", "a reset is taken for an end"),
        ("connection", "a byte changes"),
        ("connection", "a descriptor stays open"),
        ("connection", "the listener is forgotten"),
        ("connection", "room is not noticed"),
        ("connection", "what is on its way is forgotten"),
        ("connection", "a timer is not cleared"),
        ("connection", "a timer is late"),
    ],
)
def test_a_fault_would_be_found(
    programs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fault: str,
) -> None:
    monkeypatch.setenv("FAULT", fault)
    assert fuzz(TARGETS[name], programs[name], "-runs=0", tmp_path, tmp_path).status != 0
    assert [path.name.split("-")[:2] for path in tmp_path.iterdir()] == [[name, "crash"]]
