"""Compiling the CRF's kernels ahead of the first frame: once per user, version and kind of processor.

The trap: compiling takes longer than a worker may take to start. So whoever starts workers asks `is_compiled` and
lets `compile_all` run before them; the workers then load what it left.
"""

import hashlib
import importlib.metadata
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.crf.compiled import cache_folder, compiling_once
from engines.errors import BackendUnavailable
from engines.machine import machine_facts

__all__ = ["compile_all", "compile_in_a_process", "example", "is_compiled"]

SIDE = 16
ENOUGH = 4
"""Steps after which every kernel was called: `fast` treats those after the second otherwise."""


def is_compiled() -> bool:
    """Whether `compile_all` has run for this version on this kind of machine. Imports no compiler."""
    return _mark().exists()


def compile_in_a_process() -> None:
    """Run `compile_all` in a process of its own, so that the compiler's memory is given back.

    Raises:
        BackendUnavailable: it did not work, with the last line that it said.
    """
    done = subprocess.run(
        [sys.executable, "-c", "from engines.crf.warm import compile_all; compile_all()"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise BackendUnavailable(f"the CRF's kernels could not be compiled: {said[-1]}; take --crf reference, or off")


def compile_all() -> None:
    """Call every kernel once on a tiny image, with two and with more classes."""
    from engines.crf import METHODS, PRESETS, open_solver
    from engines.crf.stream import enlarge_softmax

    with compiling_once():
        if is_compiled():
            return
        for n_classes in (2, 3):
            logits, image_bgr = example(n_classes)
            probs = np.empty((n_classes, *image_bgr.shape[:2]), np.float32)
            enlarge_softmax(logits, probs)
            for name, method in METHODS.items():
                if method.needs == "numba":
                    open_solver(name, PRESETS["deeplab"]).mean_field(probs, image_bgr, ENOUGH)
        with suppress(OSError):  # nowhere to keep anything
            _mark().touch()


def example(n_classes: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Logits (C, 4, 4) and a picture (16, 16, 3) at which every kernel is called.

    Three columns are certain, so that they settle; the fourth is not, so that its pixels are looked at again.
    """
    random = np.random.default_rng(0)
    logits = random.normal(0, 0.1, (n_classes, SIDE // 4, SIDE // 4)).astype(np.float32)
    for column in range(3):
        logits[column % n_classes, :, column] = 30
    image_bgr = random.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    image_bgr[:, : 3 * SIDE // 4] = np.repeat(random.integers(0, 256, 3), SIDE // 4)[:, None]
    return logits, image_bgr


def _mark() -> Path:
    """Named by all that a kernel's machine code depends on."""
    facts = machine_facts()
    told = hashlib.sha256(f"{facts['cpu']} {facts['cpu_features']} {sys.version}".encode())
    told.update(importlib.metadata.version("numba").encode())
    return cache_folder() / f"compiled-{told.hexdigest()[:16]}"
