"""Gives a difference its name: each known mistake is made on what should have come, and the one that fits is told.

Works on tensors, where the mistakes of a video pipeline are made: channel order, colour matrix, range, resize,
place, order of frames. The trap: two mistakes at once have no name here; the one that explains more is told, and how
much of the difference it explains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.geometry import Geometry, fit, tensor_of
from engines.spec import EngineSpec, InputSpec, ResizeRule
from pipeline.parity.reference import Image, Reference

__all__ = ["Diagnosis", "Sample", "by_labels", "by_tensors"]

LEAST_EXPLAINED = 0.5
"""A mistake that leaves more than half of the difference is not the one."""
LONGEST_SHIFT_PX = 3.0

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One picture whose tensor is not what it should be."""

    image_bgr: Image
    expected: Image
    """(h, w, 3), engine size."""
    seen: Image
    """As it lay in the slot."""
    neighbours: tuple[Image, ...] = ()
    """Tensors of the pictures before and after it in the stream."""


@dataclass(frozen=True)
class Diagnosis:
    """The most likely fault."""

    fault: str
    """`bgr-swap`, `limited-range`, `half-pixel`, ...; `unknown` when none fits."""
    told: str
    explained: float
    """Share of the difference that goes away when the fault is made on the other side, too: 1 is all of it."""

    def __str__(self) -> str:
        share = "" if self.fault == "unknown" else f" (explains {self.explained:.0%} of the difference)"
        return f"{self.fault}: {self.told}{share}"


def by_tensors(samples: Sequence[Sample], spec: EngineSpec) -> Diagnosis:
    """Which mistake turns the expected tensors into those seen?

    Raises:
        ValueError: no samples.
    """
    if not samples:
        raise ValueError("a diagnosis needs at least one sample")
    n_bytes = sum(sample.expected.size for sample in samples)
    difference = sum(_difference(sample.seen, sample.expected) for sample in samples)
    left = {}
    for fault, (_, made) in FAULTS.items():
        candidates = [_closest(sample, made(sample, spec.input)) for sample in samples]
        left[fault] = sum(candidates)
    told = {fault: about for fault, (about, _) in FAULTS.items()}
    shift = np.median([shift_of(sample, spec.input) for sample in samples], axis=0)
    told["half-pixel"] = (
        f"the picture lies ({shift[0]:+.2f}, {shift[1]:+.2f}) px of the engine's input beside its place"
    )
    unknown = f"the tensors differ by {difference / n_bytes:.2f} levels on average, and no known mistake explains it"
    return _best(left, difference, told, unknown)


def by_labels(pictures: Sequence[tuple[Image, Image]], reference: Reference) -> Diagnosis:
    """Which mistake before the graph makes it say what the other one said?

    Args:
        pictures: image_bgr and the label map that the other network gave, both (height, width).
        reference: the graph.
    """
    spec = reference.spec
    difference, left = 0.0, dict.fromkeys(FAULTS, 0.0)
    for image_bgr, label_map in pictures:
        expected = reference.expected(image_bgr)
        difference += np.count_nonzero(expected.label_map != label_map)
        sample = Sample(image_bgr, expected.tensor_bgr, expected.tensor_bgr)
        for fault, (_, made) in FAULTS.items():
            found = [reference.label_map(_bytes(tensor), *label_map.shape) for tensor in made(sample, spec.input)]
            wrong = [np.count_nonzero(labels != label_map) for labels in found]
            left[fault] += min(wrong, default=np.count_nonzero(expected.label_map != label_map))
    told = {fault: about for fault, (about, _) in FAULTS.items()}
    unknown = "the weights or the arithmetic differ; no known mistake before the network explains it"
    return _best(left, difference, told, unknown)


def _best(left: dict[str, float], difference: float, told: dict[str, str], unknown: str) -> Diagnosis:
    fault = min(left, key=lambda name: left[name])
    explained = 1 - left[fault] / difference if difference else 0.0
    if explained < LEAST_EXPLAINED:
        return Diagnosis("unknown", unknown, explained)
    return Diagnosis(fault, told[fault], explained)


def _closest(sample: Sample, candidates: Sequence[Floats]) -> float:
    none = _difference(sample.seen, sample.expected)
    return min((_difference(sample.seen, candidate) for candidate in candidates), default=none)


def _difference(seen: Image, tensor: NDArray[np.generic]) -> float:
    return float(np.abs(seen.astype(np.float32) - np.asarray(tensor, np.float32)).sum())


def _bytes(tensor: Floats) -> Image:
    return np.clip(np.rint(tensor), 0, 255).astype(np.uint8)


# --- the mistakes: (sample, input rule) -> tensors that each would give ----------------------------------------------

_LUMA_601, _LUMA_709 = (0.114, 0.587, 0.299), (0.0722, 0.7152, 0.2126)
"""Weights of blue, green, red (ITU-R BT.601-7 and BT.709-6)."""


def _swapped(sample: Sample, _: InputSpec) -> list[Floats]:
    return [sample.expected[..., ::-1].astype(np.float32)]


def _washed_out(sample: Sample, spec: InputSpec) -> list[Floats]:
    return [_inside(sample, spec, lambda inner: inner * np.float32(219 / 255) + 16)]


def _crushed(sample: Sample, spec: InputSpec) -> list[Floats]:
    return [_inside(sample, spec, lambda inner: (inner - 16) * np.float32(255 / 219))]


def _other_matrix(sample: Sample, spec: InputSpec) -> list[Floats]:
    matrices = (_recoded(_LUMA_709, _LUMA_601), _recoded(_LUMA_601, _LUMA_709))
    return [_inside(sample, spec, partial(_times, matrix)) for matrix in matrices]


def _shifted(sample: Sample, spec: InputSpec) -> list[Floats]:
    shifts = _grid(*shift_of(sample, spec))
    after = [_inside(sample, spec, partial(_moved, x=x, y=y)) for x, y in shifts]
    within = [_inside(sample, spec, partial(_resized_beside, sample.image_bgr, x=x, y=y)) for x, y in shifts]
    return [*after, *within]


def _other_rule(sample: Sample, spec: InputSpec) -> list[Floats]:
    other = ResizeRule.STRETCH if spec.resize is ResizeRule.LETTERBOX else ResizeRule.LETTERBOX
    tensor = tensor_of(sample.image_bgr, replace(spec, resize=other))
    return [tensor.astype(np.float32)]


def _other_interpolation(sample: Sample, spec: InputSpec) -> list[Floats]:
    ways = (cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_CUBIC)
    return [_inside(sample, spec, partial(_resized_by, sample.image_bgr, way)) for way in ways]


def _other_frame(sample: Sample, _: InputSpec) -> list[Floats]:
    return [tensor.astype(np.float32) for tensor in sample.neighbours]


FAULTS: dict[str, tuple[str, Callable[[Sample, InputSpec], list[Floats]]]] = {
    "bgr-swap": ("red and blue are exchanged", _swapped),
    "limited-range": ("limited range was taken for full: black is 16, white is 235", _washed_out),
    "full-range": ("full range was taken for limited: dark and bright levels are cut off", _crushed),
    "colour-matrix": ("BT.601 and BT.709 are confused", _other_matrix),
    "half-pixel": ("the picture lies beside its place", _shifted),
    "resize-rule": ("letterbox and stretch are confused", _other_rule),
    "interpolation": ("resized by another method than bilinear without antialias", _other_interpolation),
    "wrong-frame": ("it is the picture before or after", _other_frame),
}
"""Name to what is told, and the mistake itself."""


def shift_of(sample: Sample, spec: InputSpec) -> tuple[float, float]:
    """How far the picture seen lies to the right of and below its place, in pixels of the engine's input.

    Least squares on the luma's gradient, in a few steps: Lucas and Kanade, 1981, eq. 9, over the whole picture.
    """
    geometry = _place(sample, spec)
    expected, seen = (
        np.asarray(cv2.cvtColor(geometry.crop(tensor), cv2.COLOR_BGR2GRAY), np.float32)
        for tensor in (sample.expected, sample.seen)
    )
    x = y = 0.0
    for _ in range(6):
        moved = _moved(expected, x, y)
        gradient_y, gradient_x = np.gradient(moved)
        slopes = np.stack([-gradient_x.ravel(), -gradient_y.ravel()], axis=1)
        step, *_ = np.linalg.lstsq(slopes.T @ slopes, slopes.T @ (seen - moved).ravel(), rcond=None)
        x, y = float(x + step[0]), float(y + step[1])
        if not (abs(x) < LONGEST_SHIFT_PX and abs(y) < LONGEST_SHIFT_PX):
            return 0.0, 0.0
    return x, y


def _grid(x: float, y: float) -> list[tuple[float, float]]:
    """The estimate, and the half pixels that it may have missed in a picture with few edges."""
    halves = [(a, b) for a in (-0.5, 0.0, 0.5) for b in (-0.5, 0.0, 0.5) if a or b]
    return [(x, y), *halves]


def _place(sample: Sample, spec: InputSpec) -> Geometry:
    height, width = sample.image_bgr.shape[:2]
    return fit(height, width, spec)


def _times(matrix: Floats, inner: Floats) -> Floats:
    return np.asarray(inner @ matrix.T, np.float32)


def _resized_by(image_bgr: Image, way: int, inner: Floats) -> NDArray[np.generic]:
    return cv2.resize(image_bgr, (inner.shape[1], inner.shape[0]), interpolation=way)


def _resized_beside(image_bgr: Image, inner: Floats, x: float, y: float) -> NDArray[np.generic]:
    """The resize itself with its samples beside their places, so that what it shows moves by (x, y)."""
    (height, width), (high, wide) = inner.shape[:2], image_bgr.shape[:2]
    columns = (np.arange(width) + 0.5 - x) * wide / width - 0.5
    rows = (np.arange(height) + 0.5 - y) * high / height - 0.5
    at_x, at_y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return cv2.remap(image_bgr, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _moved(plane: Floats, x: float, y: float) -> Floats:
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    size = (plane.shape[1], plane.shape[0])
    return np.asarray(cv2.warpAffine(plane, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _inside(sample: Sample, spec: InputSpec, made: Callable[[Floats], NDArray[np.generic]]) -> Floats:
    """The tensor with the part without bars replaced; what a byte cannot hold is cut off."""
    tensor = sample.expected.astype(np.float32)
    inner = _place(sample, spec).crop(tensor)
    inner[...] = np.clip(np.asarray(made(inner.copy()), np.float32), 0, 255)
    return tensor


def _recoded(written: tuple[float, ...], read: tuple[float, ...]) -> Floats:
    """BGR to BGR through luma and chroma that are written with one matrix and read with another; (3, 3)."""
    return np.asarray(np.linalg.inv(_to_ycc(read)) @ _to_ycc(written), np.float32)


def _to_ycc(luma: tuple[float, ...]) -> NDArray[np.float64]:
    weights = np.array(luma)
    blue = (np.array([1.0, 0, 0]) - weights) / (2 * (1 - luma[0]))
    red = (np.array([0, 0, 1.0]) - weights) / (2 * (1 - luma[2]))
    return np.stack([weights, blue, red])
