"""The fuzzer works: a short run is clean, and it would find a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.make_seeds import write_seeds
from tests.fuzz.run import build, fuzz, fuzzer_is_missing
from tests.helpers import lack

# If the environment says so, every tag is good.
FAULT = """
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int __real_equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length);
int __wrap_equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length);

int
__wrap_equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length)
{
	return getenv("FAULT") != NULL || __real_equal_in_constant_time(a, b, length);
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if fuzzer_is_missing():
        lack("there is no clang with libFuzzer")
    directory = tmp_path_factory.mktemp("fuzz")
    fault = directory / "fault.c"
    fault.write_text(FAULT)
    return build(directory, str(fault), "-Wl,--wrap=equal_in_constant_time")


def test_a_short_run_is_clean(program: Path, tmp_path: Path) -> None:
    seeds, found, findings = (tmp_path / name for name in ("seeds", "found", "findings"))
    for directory in (seeds, found, findings):
        directory.mkdir()
    write_seeds(seeds)
    outcome = fuzz(program, 2, found, findings)
    assert outcome.status == 0
    assert outcome.executions >= len(list(seeds.iterdir()))
    assert list(findings.iterdir()) == []


def test_a_fault_would_be_found(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", "yes")
    assert fuzz(program, 0, tmp_path, tmp_path).status != 0
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["crash"]
