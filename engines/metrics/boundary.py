"""How well contours are followed: boundary F at several distances, and confusion in bands around contours.

Distances are Euclidean. They come from the 5x5 chamfer transform, which for the radii in use puts every pixel on the
same side of the limit as the exact distance, but for the four pixels at (5, 5) of 7, and takes a ninth of the time.
The trap: the picture's edge is no boundary, and 255 in the truth is one: in Pascal VOC two objects never touch, a
ring of 255 lies between them.
"""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.metrics.ratios import Ints, confusion_of

__all__ = ["BAND_PX", "BOUNDARY_PX", "RADII_PX", "band_confusions", "contour_band", "matched_boundaries"]

RADII_PX = (1, 2, 3, 5)
"""A boundary pixel is right when the other boundary passes within so many pixels."""
BOUNDARY_PX = 2
"""The radius that cards and manifests name."""
BAND_PX = (1, 2, 4, 8)
"""Pixels on each side of a true contour (the trimap of Kohli et al. 2009; Chen et al. 2018, figure 5)."""

Mask = NDArray[np.bool_]


def matched_boundaries(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], n_classes: int, present: Iterable[int] | None = None
) -> Ints:
    """Boundary counts (radii, C, 4): predicted and right, predicted, true and found, true.

    Args:
        present: the only classes to look for, where that is known; None: all.

    A boundary pixel belongs to its class and has a 4-neighbour outside it. Pixels labelled 255 are left out.
    """
    counts = np.zeros((len(RADII_PX), n_classes, 4), np.int64)
    is_counted = truth != IGNORE
    for index in range(n_classes) if present is None else present:
        drawn = _boundary(predicted == index) & is_counted
        true = _boundary(truth == index) & is_counted
        window = _around(drawn | true, 0)
        drawn, true = drawn[window], true[window]
        off_true, off_drawn = _distance_to(true)[drawn], _distance_to(drawn)[true]
        for place, radius in enumerate(RADII_PX):
            n_right, n_found = np.count_nonzero(off_true <= radius), np.count_nonzero(off_drawn <= radius)
            counts[place, index] = (n_right, off_true.size, n_found, off_drawn.size)
    return counts


def band_confusions(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], n_classes: int) -> Ints:
    """Confusion matrices (bands, C, C) of the pixels within `BAND_PX` of a true contour."""
    touching = _touching(truth)
    window = _around(touching, max(BAND_PX))
    # The pixels that touch a contour are the band of one pixel on each side of it.
    width = _distance_to(touching[window]) + 1
    near = width <= max(BAND_PX)
    width, predicted, truth = width[near], predicted[window][near], truth[window][near]
    counts = [confusion_of(predicted[width <= band], truth[width <= band], n_classes) for band in BAND_PX]
    return np.stack(counts)


def contour_band(label_map: NDArray[np.uint8], width_px: int) -> Mask:
    """Pixels at most `width_px` from a change of label, on each side of it."""
    return np.asarray(_distance_to(_touching(label_map)) <= width_px - 1)


def _touching(label_map: NDArray[np.uint8]) -> Mask:
    """Pixels with a 4-neighbour of another label."""
    touching = np.zeros(label_map.shape, np.bool_)
    down = label_map[1:] != label_map[:-1]
    across = label_map[:, 1:] != label_map[:, :-1]
    touching[1:] |= down
    touching[:-1] |= down
    touching[:, 1:] |= across
    touching[:, :-1] |= across
    return touching


def _boundary(mask: Mask) -> Mask:
    """Pixels of the mask with a 4-neighbour outside it; the picture's edge is no boundary."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.view(np.uint8), cross)
    boundary: Mask = mask & (inner == 0)
    return boundary


def _around(mask: Mask, margin_px: int) -> tuple[slice, slice]:
    """The rows and columns that hold the mask, and a margin; nothing of an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(0, int(rows[0]) - margin_px), int(rows[-1]) + margin_px + 1),
        slice(max(0, int(columns[0]) - margin_px), int(columns[-1]) + margin_px + 1),
    )


def _distance_to(mask: Mask) -> NDArray[np.float32]:
    """How far each pixel is from the mask's nearest one; infinite without one."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    away = np.asarray(~mask).view(np.uint8)
    return np.asarray(cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)
