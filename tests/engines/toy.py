"""A data set that a network learns in seconds, and the smallest networks: for tests of the workshop.

The subject is a red square on a noisy grey ground; the square's place and size are drawn from the index, so
the same index is the same picture everywhere.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = ("background", "square")
PALETTE = ((0, 0, 0), (255, 0, 0))


def picture(index: int, height: int = 64, width: int = 64) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(image_bgr, label_map) of one index."""
    rng = np.random.default_rng(index)
    image = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
    labels = np.zeros((height, width), np.uint8)
    side = int(rng.integers(height // 3, height // 2))
    top, left = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
    labels[top : top + side, left : left + side] = 1
    image[labels == 1] = (20, 20, 220)
    return image, labels


def write_folder(root: Path, n: int, prefix: str = "toy_") -> Path:
    """`root/images/NAME.png` and `root/masks/NAME.png`; returns root."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(n):
        image, labels = picture(index)
        cv2.imwrite(str(root / "images" / f"{prefix}{index:02d}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{prefix}{index:02d}.png"), labels)
    return root


def train_yaml(path: Path, data: Path, steps: int = 20) -> Path:
    """A training config of the toy folder that runs in about two seconds."""
    path.write_text(
        f"""
name: toy
classes: [background, square]
palette: [[0, 0, 0], [255, 0, 0]]
subject: square
precision: fp32
threads: 1
model: {{aspp_channels: 8, low_channels: 4, atrous_rates: [2, 4, 6]}}
sources: [{{path: {data}, prefix: toy_}}]
validation: {{path: {data}, prefix: toy_}}
augment: {{crop_px: 64, scale_min: 0.9, closeup_share: 0.0, colour: 0.05, grey_share: 0.0, bars_share: 0.0}}
optimiser: {{backbone_lr: 1.0e-3, head_lr: 5.0e-2}}
schedule: {{steps: {steps}, batch: 4, warm_up: 0, average_decay: 0.5,
           evaluate_every: 1000, save_every: 1000}}
"""
    )
    return path
