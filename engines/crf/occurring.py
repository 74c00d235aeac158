"""Which classes of many take part: those that occur in this frame, and for a while those that did in the last one.

Of twenty-one classes a frame shows two or three; mean field of the others costs time and changes nothing. The trap: a
class near the limit would come and go with the noise, and every time the edges around it would jump; so it leaves at
half of what it needed to come in.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["COMES_IN", "STAYS", "among", "occurring"]

COMES_IN = 0.002
"""Mean probability from which a class takes part."""
STAYS = COMES_IN / 2
"""The same for a class that took part in the frame before."""
WINNING = 0.5
"""A class that is surer than this of a pixel takes part, however small its mean: a ball far away is one."""
FEWEST = 2
SMALLEST_SUM = np.float32(1e-5)

Probs = NDArray[np.float32]
"""(C, h, w)"""
MeanField = Callable[[Probs, NDArray[np.uint8], int, Probs | None], Probs]
"""As `engines.crf.Solver.mean_field`: probabilities, image, iterations, start."""


def occurring(probs: NDArray[np.float32], before: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Which classes of (C, h, w) probabilities take part, (C,); two at least.

    Args:
        before: (C,), what this function said of the frame before; None: there is none.
    """
    flat = probs.reshape(len(probs), -1)
    means = flat.mean(axis=1)
    limits = np.full(len(probs), COMES_IN) if before is None else np.where(before, STAYS, COMES_IN)
    is_in: NDArray[np.bool_] = (means >= limits) | (flat.max(axis=1) > WINNING)
    is_in[np.argsort(means)[-FEWEST:]] = True
    return is_in


def among(
    classes: NDArray[np.bool_],
    mean_field: MeanField,
    probs: NDArray[np.float32],
    image_bgr: NDArray[np.uint8],
    iterations: int,
    start: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Mean field of some classes, which share every pixel alone; the others come out as 0."""
    if classes.all():
        return mean_field(probs, image_bgr, iterations, start)
    refined = np.zeros_like(probs)
    begin = None if start is None else _shares(start, classes)
    refined[classes] = mean_field(_shares(probs, classes), image_bgr, iterations, begin)
    return refined


def _shares(probs: NDArray[np.float32], classes: NDArray[np.bool_]) -> NDArray[np.float32]:
    some = probs[classes]
    some /= np.maximum(some.sum(axis=0), SMALLEST_SUM)
    return some
