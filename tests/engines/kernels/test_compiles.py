"""Every kernel through triton's compiler, down to machine code: the interpreter forgives what a GPU does not."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: F401 - marks these tests, and skips them without it
import triton  # noqa: F401

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kernels_become_machine_code_without_a_gpu(tmp_path: Path) -> None:
    """For an H200, with the types and constants of real launches; other cards by hand, as the module says."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.kernels.compiling", "90"],
        cwd=ROOT, env={"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("kernels")
