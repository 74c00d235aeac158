"""The kernels for pictures and masks, each beside its twin."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from engines.geometry import Geometry
from engines.geometry import resize_into as resize_with_opencv
from engines.kernels.blur import Gaussian
from engines.kernels.composite import composite_into
from engines.kernels.preprocess import resize_into
from engines.kernels.upsample import planes_into
from tests.gpu.clock import graphed, launched
from tests.gpu.rows import Row

__all__ = ["kernel_rows"]

UPSAMPLE_GOAL_MS = 0.030
SIGMA_PX = 12.0
LEVEL = "levels"


def kernel_rows(device: torch.device, is_quick: bool) -> Iterator[Row]:
    """A row a kernel; tiny pictures when quick."""
    frame_size, side = ((45, 80), 32) if is_quick else ((720, 1280), 512)
    random = np.random.default_rng(7)
    frame = random.integers(0, 256, (*frame_size, 3)).astype(np.uint8)
    yield _preprocess(frame, side, device)
    for n_classes, dtype in ((21, torch.float16), (21, torch.float32), (2, torch.float16)):
        yield _labels(n_classes, side // 4, dtype, device)
        yield _alpha(n_classes, side // 4, dtype, device)
    yield _composite(frame, random, device)
    yield _blur(frame, device, 2.0 if is_quick else SIGMA_PX)


def _row(
    work: str, twin: str, difference: float, bound: float, unit: str, run: Callable[[], object], device: torch.device,
    goal_ms: float | None = None,
) -> Row:  # fmt: skip
    if device.type != "cuda":
        return Row(work, twin, difference, bound, unit, goal_ms=goal_ms)
    time, whole = graphed(run), launched(run)
    return Row(work, twin, difference, bound, unit, time.median, time.p95, whole.median, goal_ms)


def _preprocess(frame: NDArray[np.uint8], side: int, device: torch.device) -> Row:
    height = side * frame.shape[0] // frame.shape[1]
    geometry = Geometry(0, (side - height) // 2, side, height)
    said = np.empty((side, side, 3), np.uint8)
    resize_with_opencv(frame, geometry, said)
    there, out = torch.tensor(frame, device=device), torch.empty((side, side, 3), dtype=torch.uint8, device=device)
    resize_into(there, geometry, out)
    work = f"resize {frame.shape[1]}x{frame.shape[0]} to {side}x{side}, bars"
    return _row(
        work, "OpenCV", _largest(out, said), 1, LEVEL, lambda: resize_into(there, geometry, out), device
    )  # fmt: skip


def _logits(n_classes: int, side: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n_classes)
    return (3 * torch.randn((1, n_classes, side, side), generator=generator)).to(device, dtype)


def _labels(n_classes: int, side: int, dtype: torch.dtype, device: torch.device) -> Row:
    logits = _logits(n_classes, side, dtype, device)
    labels = torch.empty((1, 4 * side, 4 * side), dtype=torch.uint8, device=device)
    planes_into(logits, labels=labels)
    best = F.interpolate(logits.float(), scale_factor=4.0, mode="bilinear").topk(2, dim=1)
    # Where two classes are level within float32, either is right.
    is_clear = best.values[:, 0] - best.values[:, 1] > 1e-5
    wrong = int(((labels != best.indices[:, 0]) & is_clear).sum())
    name = str(dtype).removeprefix("torch.")
    goal_ms = UPSAMPLE_GOAL_MS if n_classes == 21 and side == 128 else None
    work = f"x4 + argmax, {n_classes} classes, {4 * side}x{4 * side}, {name}"
    return _row(work, "torch", wrong, 0, "labels", lambda: planes_into(logits, labels=labels), device, goal_ms)


def _alpha(n_classes: int, side: int, dtype: torch.dtype, device: torch.device) -> Row:
    logits = _logits(n_classes, side, dtype, device)
    alpha = torch.empty((1, 4 * side, 4 * side), dtype=torch.uint8, device=device)
    planes_into(logits, alpha=alpha, subject=1)
    rest = torch.cat([logits[:, :1], logits[:, 2:]], dim=1).float()
    margin = logits[:, 1:2].float() - rest.logsumexp(dim=1, keepdim=True)
    said = (F.interpolate(margin, scale_factor=4.0, mode="bilinear")[:, 0].sigmoid() * 255 + 0.5).to(torch.uint8)
    name = str(dtype).removeprefix("torch.")
    work = f"x4 + alpha, {n_classes} classes, {4 * side}x{4 * side}, {name}"
    run = lambda: planes_into(logits, alpha=alpha, subject=1)  # noqa: E731 - timed below, and nothing else
    return _row(work, "torch", _largest(alpha, said.cpu().numpy()), 1, LEVEL, run, device)


def _composite(frame: NDArray[np.uint8], random: np.random.Generator, device: torch.device) -> Row:
    alpha = random.integers(0, 256, frame.shape[:2]).astype(np.uint8)
    share = alpha[..., None] / 255
    said = frame * share + frame[::-1] * (1 - share)
    planes = [torch.tensor(np.ascontiguousarray(plane), device=device) for plane in (frame, alpha, frame[::-1])]
    out = torch.empty_like(planes[0])
    composite_into(*planes, out)
    work = f"composite {frame.shape[1]}x{frame.shape[0]}"
    return _row(work, "numpy", _largest(out, said), 0.51, LEVEL, lambda: composite_into(*planes, out), device)


def _blur(frame: NDArray[np.uint8], device: torch.device, sigma_px: float) -> Row:
    gaussian = Gaussian(sigma_px, device)
    side = 2 * gaussian.reach + 1
    said = cv2.GaussianBlur(frame.astype(np.float32), (side, side), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    there = torch.tensor(frame, device=device)
    out = torch.empty_like(there)
    gaussian.blur_into(there, out)
    work = f"blur {frame.shape[1]}x{frame.shape[0]}, sigma {sigma_px:g} px"
    return _row(
        work, "OpenCV, float32", _largest(out, said), 0.6, LEVEL, lambda: gaussian.blur_into(there, out), device
    )  # fmt: skip


def _largest(out: torch.Tensor, said: NDArray[np.generic]) -> float:
    return float(np.abs(out.cpu().numpy().astype(np.float64) - said).max())
