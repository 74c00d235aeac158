"""The dense CRF on the device: against the plain algorithm, pydensecrf's answers on file, and the clock."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engines.crf import PRESETS, explained, open_solver
from engines.kernels.dense_crf import CudaCrf
from tests.engines.crf.golden import CASES, PLACE, SIZE
from tests.engines.crf.scenes import disc
from tests.gpu.clock import launched
from tests.gpu.rows import Row

__all__ = ["crf_rows"]

GOAL_MS = 3.0
ITERATIONS = 5
LARGE = 128
PICTURE = Path(__file__).parents[2] / "pipeline" / "sources" / "astronaut.jpg"


def crf_rows(device: torch.device, is_quick: bool) -> Iterator[Row]:
    """A row an answer on file, and a photograph at full size with the time a frame takes, its lattice included."""
    with np.load(PLACE) as answers:
        for n_classes, preset, iterations in CASES[-1:] if is_quick else CASES:
            probs, image_bgr = disc(*SIZE, n_classes)
            refined = CudaCrf(PRESETS[preset]).mean_field(probs, image_bgr, iterations)
            difference = np.abs(refined - answers[f"{n_classes}-{preset}-{iterations}"]).max()
            work = f"CRF {n_classes} classes, {SIZE[1]}x{SIZE[0]}, {preset}, {iterations} it"
            yield Row(work, "pydensecrf, on file", float(difference), 5e-3 if n_classes > 2 else 1e-3, "of Q")
    for n_classes in (2, 21):
        probs, image_bgr = disc(24, 31, n_classes)
        refined = CudaCrf(PRESETS["deeplab"]).mean_field(probs, image_bgr, ITERATIONS)
        difference = np.abs(refined - explained.mean_field(probs, image_bgr, PRESETS["deeplab"], ITERATIONS)).max()
        yield Row(f"CRF {n_classes} classes, 31x24, deeplab", "plain numpy", float(difference), 5e-4, "of Q")
    if is_quick:
        yield _photographed(21, 32, "deeplab", device)
        return
    for n_classes in (2, 21):
        for preset in sorted(PRESETS):
            yield _photographed(n_classes, 512, preset, device)


def _photographed(n_classes: int, side: int, preset: str, device: torch.device) -> Row:
    probs, image_bgr = _photograph(n_classes, side)
    solver = CudaCrf(PRESETS[preset])
    there = torch.tensor(probs, device=device), torch.tensor(image_bgr, device=device)
    labels = solver.mean_field_on_device(*there, ITERATIONS).argmax(dim=0).cpu().numpy()
    if side >= LARGE and importlib.util.find_spec("numba") is not None:
        twin, said = "exact (numba)", open_solver("exact", preset).mean_field(probs, image_bgr, ITERATIONS)
    else:  # quicker than compiling for a small picture, and a minute for a large one
        twin, said = "plain numpy", explained.mean_field(probs, image_bgr, PRESETS[preset], ITERATIONS)
    wrong = float((labels != said.argmax(axis=0)).mean())
    time = None
    if device.type == "cuda":
        time = launched(lambda: solver.mean_field_on_device(*there, ITERATIONS), repeats=50)
    goal_ms = GOAL_MS if n_classes == 21 and side == 512 else None
    work = f"CRF {n_classes} classes, {side}x{side}, {preset}, {ITERATIONS} it"
    changed = float((labels != probs.argmax(axis=0)).mean())
    return Row(
        work, twin, wrong, 1e-4, "of labels", time and time.median, time and time.p95, None, goal_ms,
        {"changed": changed},
    )  # fmt: skip


def _photograph(n_classes: int, side: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The picture that the stream's demo shows, and blurred guesses that go by its colours."""
    image_bgr = np.asarray(cv2.resize(cv2.imread(str(PICTURE)), (side, side)), np.uint8)
    random = np.random.default_rng(11)
    smooth = cv2.GaussianBlur(image_bgr, (0, 0), 8).astype(np.float32)
    centres = smooth.reshape(-1, 3)[random.choice(side * side, n_classes, replace=False)]
    scores = np.stack([-np.abs(smooth - centre).sum(axis=2) / 40 for centre in centres])
    coarse = random.normal(0, 0.5, (n_classes, side // 16, side // 16)).astype(np.float32)
    scores += np.stack([cv2.resize(plane, (side, side)) for plane in coarse])
    e = np.exp(scores - scores.max(axis=0))
    return np.ascontiguousarray(e / e.sum(axis=0), np.float32), image_bgr
