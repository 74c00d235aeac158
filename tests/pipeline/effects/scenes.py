"""What the effects' tests paint: a busy picture, and mattes of two kinds of engines.

The trap: a matte is lent by its upsampler, so a scene keeps the upsampler alive.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.spec import EngineSpec, InputSpec, OutputSpec, ResizeRule
from pipeline.effects import Effect, Image
from pipeline.frame import StreamFormat
from pipeline.matte import Matte, MatteUpsampler
from pipeline.settings import MatteOptions

Meaning = tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], int | None]
"""Classes, palette, subject."""

PERSON: Meaning = (("background", "person"), ((0, 0, 0), (220, 60, 40)), 1)
STREET: Meaning = (("void", "road", "car", "tree"), ((0, 0, 0), (128, 64, 128), (0, 0, 200), (40, 160, 30)), None)


def format_of(width: int, height: int) -> StreamFormat:
    """A stream of this size."""
    return StreamFormat(width, height, Fraction(30), is_live=False, source="a test")


def spec_of(
    meaning: Meaning,
    width: int,
    height: int,
    resize: ResizeRule = ResizeRule.STRETCH,
) -> EngineSpec:
    """An engine of this input size that knows these classes, palette and subject."""
    classes, palette, subject = meaning
    return EngineSpec(
        "toy", Path("toy.onnx"), InputSpec(height, width, resize), OutputSpec(classes, subject), palette, "fp32"
    )


def busy_image(width: int, height: int, seed: int = 5) -> Image:
    """Shapes, slopes and noise, the same every time."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([90 + 80 * np.sin(x / 17), 110 + 70 * np.cos(y / 11), 60 + 120 * (x + y) / (width + height)], -1)
    for _ in range(12):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.circle(image, centre, int(rng.integers(3, max(4, height // 5))), rng.integers(0, 256, 3).tolist(), -1)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


@dataclass
class Scene:
    """A picture with a matte, and a place to paint."""

    format: StreamFormat
    image_bgr: Image
    matte: Matte
    upsampler: MatteUpsampler

    def painted(self, effect: Effect, pts_ns: int = 0) -> Image:
        """One frame by a fresh painter, on a composite that was full of rubbish."""
        out = busy_image(self.format.width, self.format.height, seed=99)
        effect.open(self.format).paint(self.image_bgr, self.matte, pts_ns, out)
        return out


def person_scene(width: int = 160, height: int = 96) -> Scene:
    """An engine with a subject: a disc with a soft edge stands in the middle."""
    small = np.zeros((height // 2, width // 2), np.uint8)
    cv2.circle(small, (width // 4, height // 4), height // 8, 255, -1)
    return _scene(width, height, PERSON, alpha=cv2.GaussianBlur(small, (5, 5), 1.0))


def street_scene(width: int = 160, height: int = 96) -> Scene:
    """An engine without a subject: bands of classes 0 to 3 from left to right."""
    columns = np.arange(width // 2) * 4 // (width // 2)
    return _scene(width, height, STREET, labels=np.tile(columns.astype(np.uint8), (height // 2, 1)))


def _scene(
    width: int,
    height: int,
    meaning: Meaning,
    alpha: NDArray[np.uint8] | None = None,
    labels: NDArray[np.uint8] | None = None,
) -> Scene:
    spec = spec_of(meaning, width // 2, height // 2)
    upsampler = MatteUpsampler(format_of(width, height), spec, MatteOptions(edges="linear"))
    image_bgr = busy_image(width, height)
    image_bgr.flags.writeable = False
    return Scene(format_of(width, height), image_bgr, upsampler.matte(alpha, labels, image_bgr), upsampler)
