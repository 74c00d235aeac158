"""Where a crop looks: one affine map for picture and labels, so that they cannot drift apart.

Resampling is the stream's own: bilinear without antialias. The trap: nearly all training pictures are full-length,
and a webcam shows head and shoulders; `closeup_share` of the crops therefore look at the upper part of the subject.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.data.pairs import Pair
from engines.data.transforms.options import Augment

__all__ = ["Crop", "Matrix", "add_bars", "affine", "cut", "fill"]

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]
"""2x3, from the picture to the crop."""
LEAST_SUBJECT_PX = 32
"""Rows a subject must have to be looked at closely."""


class Crop(NamedTuple):
    """A part of a picture at the network's size."""

    image_bgr: Image
    """(height, width, 3) uint8; outside the picture its rim repeated, and black when the crop is finished."""
    label_map: Image
    """(height, width) uint8; 255 outside the picture."""
    inside: Image
    """(height, width) uint8: 1 in the picture, 0 outside it and in bars."""


def affine(label_map: Image, config: Augment, rng: np.random.Generator) -> Matrix:
    """A random look at a picture: scale, place, stretch, turn, mirror."""
    crop_height, crop_width = config.size
    height, width = label_map.shape
    closeup = _closeup(label_map, config, rng) if rng.random() < config.closeup_share else None
    if closeup is None:
        scale = float(np.exp(rng.uniform(np.log(config.scale_min), np.log(config.scale_max))))
        centre = (_anywhere(width, scale, crop_width, rng), _anywhere(height, scale, crop_height, rng))
    else:
        scale, centre = closeup
    return _matrix(scale, centre, config, rng)


def fill(window: tuple[int, int, int, int], config: Augment, rng: np.random.Generator) -> Matrix:
    """A look at a window (left, top, width, height) that fills the crop, without turn, so that nothing else is seen."""
    left, top, width, height = window
    crop_height, crop_width = config.size
    scale_x, scale_y = crop_width / width, crop_height / height
    # Pixels have their centres at half: x' + 1/2 = scale (x + 1/2 - left), and the mirror image of it.
    offset_y = scale_y * (0.5 - top) - 0.5
    if rng.random() < config.flip_share:
        return np.array([[-scale_x, 0, scale_x * (left + width - 0.5) - 0.5], [0, scale_y, offset_y]])
    return np.array([[scale_x, 0, scale_x * (0.5 - left) - 0.5], [0, scale_y, offset_y]])


def cut(pair: Pair, matrix: Matrix, size: tuple[int, int]) -> Crop:
    """Picture and labels through one map; fresh arrays of `size` (height, width)."""
    size_wh = (size[1], size[0])
    # The picture's rim goes on outside: what is not inside becomes black at the end, and no sooner, as in a stream.
    image = cv2.warpAffine(pair.image_bgr, matrix, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    labels = cv2.warpAffine(pair.label_map, matrix, size_wh, flags=cv2.INTER_NEAREST, borderValue=(IGNORE,))
    return Crop(np.asarray(image, np.uint8), np.asarray(labels, np.uint8), _inside(pair.label_map.shape, matrix, size))


def _inside(picture: tuple[int, ...], matrix: Matrix, size: tuple[int, int]) -> Image:
    """(height, width) uint8: 1 where a crop of `size` shows a picture of shape `picture`."""
    corners = np.array([[0, 0], [size[1] - 1, 0], [0, size[0] - 1], [size[1] - 1, size[0] - 1]], np.float64)
    seen = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    if (seen >= 0).all() and (seen <= (picture[1] - 1, picture[0] - 1)).all():
        return np.ones(size, np.uint8)
    whole = np.ones(picture[:2], np.uint8)
    return np.asarray(cv2.warpAffine(whole, matrix, (size[1], size[0]), flags=cv2.INTER_NEAREST), np.uint8)


def add_bars(crop: Crop, rng: np.random.Generator) -> None:
    """Black bars with label 255 at two opposite sides, in place."""
    image_bgr, label_map, inside = crop
    is_sideways = rng.random() < 0.7  # bars at the sides are what a portrait gets in a landscape input
    if is_sideways:
        image_bgr, label_map, inside = image_bgr.swapaxes(0, 1), label_map.T, inside.T
    length = label_map.shape[0]
    first, last = rng.integers(0, length // 3, 2)
    for bar in (slice(0, int(first)), slice(length - int(last), length)):
        image_bgr[bar] = 0
        label_map[bar] = IGNORE
        inside[bar] = 0


def _matrix(scale: float, centre: tuple[float, float], config: Augment, rng: np.random.Generator) -> Matrix:
    stretch = float(np.exp(rng.uniform(-config.aspect, config.aspect) / 2)) * (config.stretch or 1.0) ** 0.5
    angle = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg))
    mirror = -1.0 if rng.random() < config.flip_share else 1.0
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([mirror * scale * stretch, scale / stretch])
    crop_height, crop_width = config.size
    offset = np.array([(crop_width - 1) / 2, (crop_height - 1) / 2]) - linear @ np.array(centre)
    return np.column_stack([linear, offset])


def _anywhere(length: int, scale: float, crop: int, rng: np.random.Generator) -> float:
    """Where the crop's centre looks along one axis, so that crop or picture lies within the other.

    In the numbers of pixels, whose centres are whole: a picture reaches from -1/2 to its length - 1/2.
    """
    half = crop / scale / 2
    low, high = sorted((half, length - half))
    return float(rng.uniform(low, high)) - 0.5


def _closeup(label_map: Image, config: Augment, rng: np.random.Generator) -> tuple[float, tuple[float, float]] | None:
    """Scale and centre that show the subject from the waist or the shoulders up; None without a subject."""
    is_subject = (label_map > 0) & (label_map != IGNORE)
    rows = np.flatnonzero(is_subject.any(axis=1))
    if rows.size < LEAST_SUBJECT_PX:
        return None
    top, tall = float(rows[0]), float(rows[-1] - rows[0])
    window = tall * rng.uniform(0.25, 0.65)
    head = np.flatnonzero(is_subject[rows[0] : rows[0] + max(1, int(tall * 0.15))].any(axis=0))
    crop_height = config.size[0]
    scale = min(config.closeup_scale_max, crop_height / window)
    window = crop_height / scale
    centre_x = float(head.mean()) + window * rng.uniform(-0.3, 0.3)
    centre_y = top + window * rng.uniform(0.2, 0.5)
    return scale, (centre_x, centre_y)
