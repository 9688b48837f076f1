"""The cryptography on ARM: cross-compiled, and run by an emulator."""

import subprocess
from pathlib import Path

import pytest

from tests.daemons import needs
from tests.helpers import VECTORS, compile_with_crypto

CROSS_COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-aarch64"

KERNELS = {
    "sha256 armce-x3",
    "sha256 armce-x2",
    "sha256 armce",
    "sha256 portable",
    "aes256ctr armce",
    "aes256ctr portable",
    "modexp portable",
}


pytestmark = pytest.mark.acceptance  # which has cross compilers


@pytest.fixture(scope="module")
def arm_check(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs(CROSS_COMPILER)
    program = tmp_path_factory.mktemp("aarch64") / "arm_check"
    source = Path(__file__).with_name("arm_check.c")
    compile_with_crypto([CROSS_COMPILER], [source], program, ["-static"])
    return program


def check(program: Path, y: str) -> subprocess.CompletedProcess[str]:
    case = VECTORS["cases"][0]
    return subprocess.run(
        [needs(EMULATOR), program, case["x_C"], y, case["y_S"], case["y_SC"]],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_every_arm_kernel_is_right(arm_check: Path) -> None:
    result = check(arm_check, VECTORS["cases"][0]["y_C"])
    assert result.returncode == 0, result.stdout + result.stderr
    assert {line.removesuffix(": checked") for line in result.stdout.splitlines()} == KERNELS


def test_a_wrong_result_would_be_noticed(arm_check: Path) -> None:
    result = check(arm_check, VECTORS["cases"][0]["y_S"])
    assert result.returncode == 1
    assert "FAILED: a power of the generator" in result.stdout.splitlines()
