"""Consecutive frames of unlabelled clips, cut and coloured alike, with the optical flow between them.

For a loss that wants the same answer for the same thing. The trap: the flow is measured on the crops before their
colours change, by DIS (Kroeger et al. 2016), and is a guess where something is uncovered; the loss must check it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.data import IGNORE
from engines.data.datasets import Source, open_dataset
from engines.data.pairs import Dataset, Pair
from engines.data.transforms import Augment
from engines.data.transforms.colour import coloured
from engines.data.transforms.geometry import affine, cut
from engines.errors import DataError

__all__ = ["FrameBatch", "FramePairs"]

Image = NDArray[np.uint8]
STREAM = 1
"""Keeps these random numbers apart from those of the labelled crops of the same seed and step."""


class FrameBatch(NamedTuple):
    """Pairs of frames under one geometry."""

    first_bgr: Tensor
    """(n, height, width, 3) uint8."""
    second_bgr: Tensor
    """(n, height, width, 3) uint8."""
    flow_px: Tensor
    """(n, height, width, 2) float32: where (x, y) of the first went, as an offset in pixels."""


class FramePairs:
    """Clips, or folders of frames in name order, drawn from by share."""

    def __init__(self, groups: Sequence[tuple[float, Dataset | Sequence[Pair]]]) -> None:
        short = [index for index, (_, frames) in enumerate(groups) if len(frames) < 2]
        if not groups or short:
            raise DataError(
                f"consecutive frames need sources of two frames or more; source {short or 'list'} has fewer"
            )
        self.groups = tuple(frames for _, frames in groups)
        shares = np.array([share for share, _ in groups])
        self.probabilities = shares / shares.sum()

    @classmethod
    def read(cls, sources: Sequence[Source], n_classes: int) -> "FramePairs":
        """Open every source; labels are not looked at.

        Raises:
            DataError: a source cannot be read, or has one frame only.
        """
        return cls([(source.share, open_dataset(source, n_classes)) for source in sources])

    def __len__(self) -> int:
        return sum(len(frames) - 1 for frames in self.groups)

    def crops(self, batch: int, augment: Augment, seed: int, step: int, places: range | None = None) -> FrameBatch:
        """The pairs of one step; each depends on (seed, step, place) alone.

        Args:
            batch: pairs of the whole step, over all processes.
            places: of them, those to make here; None for all.
        """
        made = [self._crop(augment, seed, step, place) for place in (range(batch) if places is None else places)]
        first, second, flow = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*made, strict=True))
        return FrameBatch(first, second, flow)

    def _crop(self, augment: Augment, seed: int, step: int, place: int) -> tuple[Image, Image, NDArray[np.float32]]:
        rng = np.random.default_rng((seed, step, place, STREAM))
        frames = self.groups[int(rng.choice(len(self.groups), p=self.probabilities))]
        index = int(rng.integers(len(frames) - 1))
        pictures = frames[index].image_bgr, frames[index + 1].image_bgr
        if pictures[0].shape != pictures[1].shape:
            raise DataError(f"{frames[index + 1].name}: another size than the frame before it; a clip has one size")
        unlabelled = np.full(pictures[0].shape[:2], IGNORE, np.uint8)
        matrix = affine(unlabelled, augment, rng)
        crops = [cut(Pair("", picture, unlabelled), matrix, augment.size) for picture in pictures]
        flow = optical_flow(crops[0].image_bgr, crops[1].image_bgr)
        light = int(rng.integers(1 << 32))
        first, second = (
            coloured(crop.image_bgr, augment, np.random.default_rng(light)) * crop.inside[..., None] for crop in crops
        )
        return first, second, flow


def optical_flow(first_bgr: Image, second_bgr: Image) -> NDArray[np.float32]:
    """(height, width, 2) float32: where each pixel (x, y) of the first is in the second, as an offset in pixels."""
    # One of its own for each call: it keeps a state and is used from several threads.
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    first, second = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (first_bgr, second_bgr))
    # An empty start would do; OpenCV's stubs want an array.
    start = np.zeros((*first.shape, 2), np.float32)
    return np.asarray(dis.calc(first, second, start), np.float32)
