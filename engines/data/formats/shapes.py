"""Generated pictures: coloured shapes on textured grounds, the same for the same index everywhere.

Classes are background, circle, square, triangle, cross, as many as asked for. Grounds are dull and shapes bright, so
that a network without pretrained weights soon finds them; which shape it is, only the outline tells. Nothing is read
from disk.
"""

from collections.abc import Iterator
from colorsys import hsv_to_rgb

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data.known import SHAPES
from engines.data.pairs import Pair
from engines.errors import DataError

__all__ = ["Shapes", "outline", "textured"]

SPLITS = {"": 0, "train": 0, "val": 1, "test": 2}
MOST_SHAPES = 3
DULL = 12.0
"""Channels of a ground's colour are at most so far from their grey, in grey levels."""
BRIGHT = (0.5, 0.95)
"""Saturation and value of a shape's colour, 0 to 1; its hue is any."""


class Shapes:
    """A `Dataset` of generated pictures.

    Raises:
        DataError: more classes than there are shapes, or no such split.
    """

    def __init__(self, n_classes: int, n_pictures: int, split: str = "", height: int = 144, width: int = 256) -> None:
        if not 2 <= n_classes <= len(SHAPES.names):
            raise DataError(f"shapes: {n_classes} classes; there are 2 to {len(SHAPES.names)}: {list(SHAPES.names)}")
        if split not in SPLITS:
            raise DataError(f"shapes: no split {split!r}; there are train, val and test")
        self.n_classes, self.n_pictures = n_classes, n_pictures
        self.split, self.height, self.width = split, height, width
        self.classes: tuple[str, ...] | None = SHAPES.names[:n_classes]
        self.names = tuple(f"shapes_{split or 'train'}_{index:05d}" for index in range(n_pictures))

    def __len__(self) -> int:
        return self.n_pictures

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Pair:
        """Draw one picture."""
        rng = np.random.default_rng((SPLITS[self.split], index))
        ground = rng.uniform(45, 210) + rng.uniform(-DULL, DULL, 3)
        image = textured(rng, self.height, self.width, ground)
        label_map = np.zeros((self.height, self.width), np.uint8)
        for _ in range(int(rng.integers(1, MOST_SHAPES + 1))):
            label = int(rng.integers(1, self.n_classes))
            inside = _outline(rng, label, self.height, self.width)
            colour = 255 * np.array(hsv_to_rgb(rng.random(), rng.uniform(*BRIGHT), rng.uniform(*BRIGHT)))
            image = np.where(inside[..., None], textured(rng, self.height, self.width, colour), image)
            label_map[inside] = label
        seen = cv2.GaussianBlur(image, (0, 0), 0.7) + rng.normal(0, 3, image.shape)
        return Pair(self.names[index], np.clip(seen + 0.5, 0, 255).astype(np.uint8), label_map)


def textured(rng: np.random.Generator, height: int, width: int, colour: NDArray[np.float64]) -> NDArray[np.float32]:
    """A colour with clouds of three sizes."""
    clouds = np.zeros((height, width), np.float32)
    for cells in (3, 8, 24):
        coarse = rng.standard_normal((cells, cells)).astype(np.float32)
        clouds += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (colour + 9 * clouds[..., None]).astype(np.float32)


def _outline(rng: np.random.Generator, label: int, height: int, width: int) -> NDArray[np.bool_]:
    """Where one shape lies, (height, width)."""
    radius = rng.uniform(0.12, 0.3) * min(height, width)
    centre = np.array([rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)])
    angle = 0.0 if SHAPES.names[label] == "circle" else rng.uniform(0, 2 * np.pi)
    return outline(SHAPES.names[label], centre, radius, angle, height, width)


def outline(
    name: str, centre: NDArray[np.float64], radius: float, angle: float, height: int, width: int
) -> NDArray[np.bool_]:
    """Where a shape of that name lies, (height, width); `centre` is (x, y), lengths in pixels, angle in radians."""
    drawn = np.zeros((height, width), np.uint8)
    if name == "circle":
        cv2.circle(drawn, (round(centre[0]), round(centre[1])), round(radius), 1, cv2.FILLED)
        return drawn > 0
    arm = 0.3
    corners = {
        "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
        "triangle": [(0.0, -1.0), (0.87, 0.5), (-0.87, 0.5)],
        "cross": [
            (-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm),
            (arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm),
        ],
    }[name]  # fmt: skip
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = centre + radius * np.array(corners) @ turn.T
    cv2.fillPoly(drawn, [np.round(points).astype(np.int32)], 1)
    return drawn > 0
