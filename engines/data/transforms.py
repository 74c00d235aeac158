"""Paired augmentation: one picture and its labels become one square training crop.

Geometry is one affine map for both, so they cannot drift apart. Resampling is the stream's own (bilinear
without antialias), and what lies outside the picture is black with label 255, as the bars of a letterboxed
frame are. The trap: nearly all training pictures are full-length, and a webcam shows head and shoulders;
`closeup_share` of the crops therefore look at the upper part of the subject.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from configs import Options
from engines.data import IGNORE
from engines.data.datasets import Pair

__all__ = ["Augment", "augmented"]

Image = NDArray[np.uint8]


class Augment(Options):
    """How strongly crops vary. Shares are probabilities."""

    crop_px: int = Field(288, gt=0, multiple_of=32)
    scale_min: float = Field(0.45, gt=0)
    """Of the source's pixels; drawn log-uniformly up to `scale_max`."""
    scale_max: float = Field(2.0, gt=0)
    closeup_share: float = Field(0.3, ge=0, le=1)
    closeup_scale_max: float = Field(3.0, gt=0)
    flip_share: float = Field(0.5, ge=0, le=1)
    rotate_deg: float = Field(8.0, ge=0)
    aspect: float = Field(0.12, ge=0)
    """Width against height changes by up to exp(aspect)."""
    bars_share: float = Field(0.12, ge=0, le=1)
    """Crops of which a side becomes a black bar."""
    colour: float = Field(0.35, ge=0, lt=1)
    """Strength of the changes of brightness, contrast, white balance, saturation."""
    grey_share: float = Field(0.04, ge=0, le=1)
    blur_share: float = Field(0.2, ge=0, le=1)
    noise_share: float = Field(0.2, ge=0, le=1)
    jpeg_share: float = Field(0.3, ge=0, le=1)


def augmented(pair: Pair, config: Augment, rng: np.random.Generator) -> tuple[Image, Image]:
    """One crop (crop, crop, 3) uint8 BGR and its labels (crop, crop) uint8; fresh arrays."""
    matrix = _affine(pair.label_map, config, rng)
    size = (config.crop_px, config.crop_px)
    image = cv2.warpAffine(pair.image_bgr, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    labels = cv2.warpAffine(pair.label_map, matrix, size, flags=cv2.INTER_NEAREST, borderValue=(IGNORE,))
    image_bgr, label_map = np.asarray(image, np.uint8), np.asarray(labels, np.uint8)
    image_bgr = _coloured(image_bgr, config, rng)
    image_bgr = _degraded(image_bgr, config, rng)
    # After the colours, so that bars stay as black as the stream makes them.
    whole = np.ones(pair.label_map.shape, np.uint8)
    inside = np.asarray(cv2.warpAffine(whole, matrix, size, flags=cv2.INTER_NEAREST), np.uint8)
    image_bgr *= inside[..., None]
    if rng.random() < config.bars_share:
        _add_bars(image_bgr, label_map, rng)
    return image_bgr, label_map


def _affine(label_map: Image, config: Augment, rng: np.random.Generator) -> NDArray[np.float64]:
    """2x3 matrix from the picture to the crop."""
    crop = config.crop_px
    height, width = label_map.shape
    closeup = _closeup(label_map, config, rng) if rng.random() < config.closeup_share else None
    if closeup is None:
        scale = float(np.exp(rng.uniform(np.log(config.scale_min), np.log(config.scale_max))))
        centre_x, centre_y = _anywhere(width, scale, crop, rng), _anywhere(height, scale, crop, rng)
    else:
        scale, centre_x, centre_y = closeup
    stretch = float(np.exp(rng.uniform(-config.aspect, config.aspect) / 2))
    angle = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg))
    mirror = -1.0 if rng.random() < config.flip_share else 1.0
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([mirror * scale * stretch, scale / stretch])
    middle = (crop - 1) / 2
    offset = np.array([middle, middle]) - linear @ np.array([centre_x, centre_y])
    return np.column_stack([linear, offset])


def _anywhere(length: int, scale: float, crop: int, rng: np.random.Generator) -> float:
    """Where the crop's centre looks along one axis, so that crop or picture lies within the other."""
    half = crop / scale / 2
    low, high = sorted((half, length - half))
    return float(rng.uniform(low, high))


def _closeup(label_map: Image, config: Augment, rng: np.random.Generator) -> tuple[float, float, float] | None:
    """Scale and centre that show the subject from the waist or the shoulders up; None without a subject."""
    is_subject = (label_map > 0) & (label_map != IGNORE)
    rows = np.flatnonzero(is_subject.any(axis=1))
    if rows.size < 32:
        return None
    top, tall = float(rows[0]), float(rows[-1] - rows[0])
    window = tall * rng.uniform(0.25, 0.65)
    head = np.flatnonzero(is_subject[rows[0] : rows[0] + max(1, int(tall * 0.15))].any(axis=0))
    scale = min(config.closeup_scale_max, config.crop_px / window)
    window = config.crop_px / scale
    centre_x = float(head.mean()) + window * rng.uniform(-0.3, 0.3)
    centre_y = top + window * rng.uniform(0.2, 0.5)
    return scale, centre_x, centre_y


def _coloured(image_bgr: Image, config: Augment, rng: np.random.Generator) -> Image:
    amount = config.colour
    if rng.random() < config.grey_share:
        grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
        image_bgr = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
    elif amount > 0:
        grey = cv2.cvtColor(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        saturation = 1 + rng.uniform(-amount, amount)
        image_bgr = np.asarray(cv2.addWeighted(image_bgr, saturation, grey, 1 - saturation, 0), np.uint8)
    # One table a channel does gamma, contrast, brightness and white balance in one pass.
    ramp = (np.arange(256) / 255.0) ** np.exp(rng.uniform(-amount, amount))
    ramp = (ramp - 0.5) * (1 + rng.uniform(-amount, amount)) + 0.5 + rng.uniform(-amount, amount) / 2
    balance = 1 + rng.uniform(-amount, amount, 3) / 3
    table = np.clip(ramp[:, None] * balance * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image_bgr, table[:, None, :]), np.uint8)


def _degraded(image_bgr: Image, config: Augment, rng: np.random.Generator) -> Image:
    if rng.random() < config.blur_share:
        image_bgr = np.asarray(cv2.GaussianBlur(image_bgr, (0, 0), float(rng.uniform(0.4, 1.8))), np.uint8)
    if rng.random() < config.noise_share:
        noise = rng.standard_normal(image_bgr.shape, dtype=np.float32) * np.float32(rng.uniform(2, 14))
        image_bgr = np.clip(image_bgr + noise, 0, 255).astype(np.uint8)
    if rng.random() < config.jpeg_share:
        _, packed = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        image_bgr = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return image_bgr


def _add_bars(image_bgr: Image, label_map: Image, rng: np.random.Generator) -> None:
    crop = label_map.shape[0]
    first, last = sorted(rng.integers(0, crop // 3, 2))
    low, high = int(first), crop - int(last)
    if rng.random() < 0.7:  # bars at the sides are what a portrait gets in a landscape input
        image_bgr, label_map = image_bgr.swapaxes(0, 1), label_map.T
    for bar in (slice(0, low), slice(high, crop)):
        image_bgr[bar] = 0
        label_map[bar] = IGNORE
