"""Labels that cannot be believed become 255, by the word of a network that has not seen them.

In some sequences only the main figure is labelled and spectators count as background; in others the mask
takes in a board or a rope. A rule for a source says which side is distrusted; pixels of that side which the
Pascal VOC network sees otherwise are ignored, and near the subject's contour the hand-drawn labels hold.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from engines.data import IGNORE
from engines.data.datasets import Distrust, Pair
from engines.models.deeplab import SIDE_MULTIPLE, normalise

__all__ = ["believed"]

NEAR_CONTOUR_PX = 12
"""A stride-16 network without a decoder is unsure this far around a contour; the labels are better there."""


ENLARGED = 2
"""The teacher looks at a larger picture: spectators are small, and missing one costs more than time."""
SUSPICION = 0.05
"""Probability from which a pixel may be a subject; argmax alone misses half of a crowd."""


def believed(pair: Pair, distrust: Distrust, teacher: nn.Module, teacher_class: int) -> Pair:
    """The pair with 255 where its labels and the teacher disagree on the distrusted side.

    Args:
        teacher: logits at stride 4 from normalised RGB, in evaluation mode.
        teacher_class: the teacher's class for the subject.
    """
    if distrust is Distrust.NOTHING:
        return pair
    seen = _seen(pair.image_bgr, teacher, teacher_class)
    labelled = (pair.label_map > 0) & (pair.label_map != IGNORE)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * NEAR_CONTOUR_PX + 1, 2 * NEAR_CONTOUR_PX + 1))
    if distrust is Distrust.BACKGROUND:
        near = cv2.dilate(labelled.astype(np.uint8), disc) > 0
        # Spectators are grown a little, so that their rims do not count as background either.
        doubtful = (cv2.dilate(seen.astype(np.uint8), disc) > 0) & ~near
    else:
        near = cv2.dilate(seen.astype(np.uint8), disc) > 0
        doubtful = labelled & ~near
    label_map = pair.label_map.copy()
    label_map[doubtful] = IGNORE
    return Pair(pair.name, pair.image_bgr, label_map)


def _seen(image_bgr: NDArray[np.uint8], teacher: nn.Module, teacher_class: int) -> NDArray[np.bool_]:
    height, width = (side * ENLARGED for side in image_bgr.shape[:2])
    enlarged = np.asarray(cv2.resize(image_bgr, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    batch = F.pad(torch.from_numpy(enlarged)[None], (0, 0, 0, -width % SIDE_MULTIPLE, 0, -height % SIDE_MULTIPLE))
    with torch.inference_mode():
        logits = F.interpolate(teacher(normalise(batch)), scale_factor=4.0, mode="bilinear", align_corners=False)
        suspected = logits[0].softmax(dim=0)[teacher_class] > SUSPICION
    seen: NDArray[np.bool_] = suspected.numpy()[:height:ENLARGED, :width:ENLARGED]
    return seen
