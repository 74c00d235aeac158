"""Things that are not the subject: made-up objects behind it, labelled class 0.

Where nearly every labelled picture shows one person in its middle, a network learns that whatever stands there is one.
Bodies of revolution (bottles, vases, lamps), boxes and blobs in plain, striped, or mottled colours say otherwise. Two
traps: things before a subject teach that plain clothes are things, so there are none; and at the subject's own edge the
old background shines through the soft contour, so things keep off it by a pixel.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data.transforms.geometry import Crop

__all__ = ["with_things"]

Plane = NDArray[np.float32]
MOST = 3
"""Things in one crop."""
TALL = (0.15, 0.9)
"""Height of a thing before it is turned, of the crop's shorter side."""
EDGE_PX = 0.8
"""Softness of a thing's contour (standard deviation)."""


def with_things(crop: Crop, rng: np.random.Generator) -> Crop:
    """The crop with one to three things where class 0 is; labels and bars stay as they are."""
    image_bgr = crop.image_bgr.astype(np.float32)
    taken = ((crop.label_map != 0) | (crop.inside == 0)).astype(np.uint8)
    free = cv2.dilate(taken, np.ones((3, 3), np.uint8)) == 0
    for _ in range(int(rng.integers(1, MOST + 1))):
        alpha, colours = _placed(free.shape, rng)
        alpha *= free
        image_bgr += alpha[..., None] * (colours - image_bgr)
    return crop._replace(image_bgr=np.clip(image_bgr + 0.5, 0, 255).astype(np.uint8))


def _placed(size: tuple[int, int], rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A thing somewhere in a crop: alpha (height, width) of 0 to 1, and its colours (height, width, 3), 0 to 255."""
    height, width = size
    tall = max(8, int(min(size) * rng.uniform(*TALL)))
    wide = max(6, int(tall * rng.uniform(0.2, 1.1)))
    alpha, across = _shape(tall, wide, rng)
    colours = _colours(tall, wide, across, rng)
    turn_deg = rng.normal(0, 8) if rng.random() < 0.7 else rng.uniform(-180, 180)
    turned = cv2.getRotationMatrix2D((wide / 2, tall / 2), turn_deg, 1.0)
    turned[0, 2] += rng.uniform(0, width) - wide / 2
    turned[1, 2] += rng.uniform(0, height) - tall / 2
    there = cv2.GaussianBlur(cv2.warpAffine(alpha, turned, (width, height)), (0, 0), EDGE_PX)
    painted = cv2.warpAffine(colours, turned, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(there, np.float32), np.asarray(painted, np.float32)


def _shape(tall: int, wide: int, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Alpha (tall, wide) of 0 or 1, and how far across the thing each of its pixels lies, -1 to 1."""
    down, right = np.linspace(0, 1, tall, dtype=np.float32), np.linspace(-1, 1, wide, dtype=np.float32)
    kind = rng.choice(3, p=(0.6, 0.2, 0.2))
    half: NDArray[Any]
    if kind == 0:
        knots = np.sort(rng.uniform(0, 1, 5))
        half = np.interp(down, np.concatenate([[0], knots, [1]]), rng.uniform(0.25, 1.0, 7))
        half = np.asarray(cv2.GaussianBlur(half[:, None].astype(np.float32), (0, 0), max(0.5, tall / 30)))[:, 0]
    elif kind == 1:
        half = np.ones(tall)
    else:
        half = np.sqrt(np.clip(1 - (2 * down - 1) ** 2, 0, 1))
    across = np.asarray(right[None] / np.maximum(half, 1e-3)[:, None], np.float32)
    return (np.abs(across) < 1).astype(np.float32), np.clip(across, -1, 1)


def _colours(tall: int, wide: int, across: Plane, rng: np.random.Generator) -> Plane:
    """A base colour, often with a band, mottled or striped; rounded by light from one side."""
    colours = np.broadcast_to(_colour(rng), (tall, wide, 3)).copy()
    if rng.random() < 0.5:
        top = int(rng.uniform(0, 0.8) * tall)
        colours[top : top + max(2, int(rng.uniform(0.1, 0.4) * tall))] = _colour(rng)
    kind = rng.choice(3)
    if kind == 1:
        cells = (int(rng.integers(2, 24)), int(rng.integers(2, 12)))
        coarse = rng.normal(0, rng.uniform(8, 45), (*cells, 3)).astype(np.float32)
        colours += cv2.resize(coarse, (wide, tall), interpolation=cv2.INTER_LINEAR)
    elif kind == 2:
        waves = np.sin(np.arange(tall, dtype=np.float32) * rng.uniform(0.1, 1.0))
        colours += (waves * rng.uniform(8, 50))[:, None, None]
    light = rng.uniform(-0.6, 0.6)
    shade = 1 - rng.uniform(0, 0.6) * np.clip(across - light, -1, 1) ** 2
    return np.asarray(colours * shade[..., None], np.float32)


def _colour(rng: np.random.Generator) -> Plane:
    hsv = np.array([[[rng.integers(180), int(255 * rng.beta(1, 2)), rng.integers(20, 256)]]], np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0], np.float32)
