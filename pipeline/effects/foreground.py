"""The subject's own colour where its edge is soft, and the blend that uses it.

A pixel of the soft edge holds some of the old background; laid over another one, that shows as a rim. The subject's
colour is estimated there as by Forte (2021, "Approximate fast foreground colour estimation"): foreground and background
are blurred each for itself, and the subject's estimate is corrected by what the pixel shows. The trap: the correction
is made small, at an eighth of a 720p frame's size, where all is smooth; at full size only one blend is left.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.effects.composite import Compositor
from pipeline.effects.effect import Image
from pipeline.effects.gaussian import FLOOR, HALVES_BEFORE_WEIGHTS, Weighted, border_of, halve, plan

__all__ = ["OF_BACKGROUND", "OF_SUBJECT", "SIGMA_SHARE", "ForegroundCompositor"]

SIGMA_SHARE = 12 / 1280
"""Standard deviation of both blurs, as a share of the frame's longer side. Twice as wide lowers the gain by a tenth."""
SURE = 0.8
"""Up to this alpha a pixel says nothing of the subject's colour, and from 1 - this on nothing of the background's."""

_LEVELS = np.arange(256, dtype=np.float32) / 255
OF_SUBJECT = np.clip((_LEVELS - SURE) / (1 - SURE), FLOOR, 1).astype(np.float32)
OF_BACKGROUND = np.clip((1 - SURE - _LEVELS) / (1 - SURE), FLOOR, 1).astype(np.float32)


class ForegroundCompositor:
    """Lays a subject over a background that was never behind it; owns the scratch memory.

    With a blur of subject F', of background B' and the picture I, the subject's colour is
    F = a I + (1 - a) (F' + a (F' - B')), which is Forte's F' + a (I - a F' - (1 - a) B') in another order.
    """

    def __init__(self, height: int, width: int) -> None:
        self._compositor = Compositor(height, width)
        self._size = (width, height)
        sizes, self._sigma_px = plan(height, width, SIGMA_SHARE * max(height, width))
        self._border = border_of(2 ** len(sizes))
        n_early = min(HALVES_BEFORE_WEIGHTS, len(sizes))
        early, late = sizes[:n_early], sizes[n_early:]
        self._early = [(np.empty((*size, 3), np.uint8), np.empty(size, np.uint8)) for size in early]
        first = (early or [(height, width)])[-1]
        last = (sizes or [(height, width)])[-1]
        self._chain = [Weighted(*size) for size in (first, *late)]
        self._subject, self._background = Weighted(*last), Weighted(*last)
        self._alphas = [np.empty(size, np.uint8) for size in late]
        self._alpha_bgr_u8 = np.empty((*last, 3), np.uint8)
        self._alpha_bgr = np.empty((*last, 3), np.float32)
        self._small_bgr = np.empty((*last, 3), np.uint8)
        self._foreground = np.empty((height, width, 3), np.uint8)

    def over(self, image_bgr: Image, alpha: NDArray[np.uint8], out: Image) -> None:
        """Lay the subject of `image_bgr` over what `out` holds, where `alpha` (height, width) says so."""
        self._estimate(image_bgr, alpha)
        cv2.resize(self._small_bgr, self._size, dst=self._foreground, interpolation=cv2.INTER_LINEAR)
        self._compositor.over(image_bgr, alpha, out, edge_bgr=self._foreground)

    def _estimate(self, image_bgr: Image, alpha: NDArray[np.uint8]) -> None:
        """F' + a (F' - B'), small."""
        for half_bgr, half_alpha in self._early:
            halve(image_bgr, half_bgr)
            halve(alpha, half_alpha)
            image_bgr, alpha = half_bgr, half_alpha
        subject = self._blurred(image_bgr, alpha, OF_SUBJECT, self._subject)
        background = self._blurred(image_bgr, alpha, OF_BACKGROUND, self._background)
        for half in self._alphas:
            halve(alpha, half)
            alpha = half
        cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR, dst=self._alpha_bgr_u8)
        np.copyto(self._alpha_bgr, self._alpha_bgr_u8)
        np.multiply(self._alpha_bgr, 1 / 255, out=self._alpha_bgr)
        np.subtract(subject, background, out=background)
        np.multiply(background, self._alpha_bgr, out=background)
        np.add(subject, background, out=subject)
        np.clip(subject, 0, 255, out=subject)
        self._subject.levels(self._small_bgr)

    def _blurred(
        self, image_bgr: Image, alpha: NDArray[np.uint8], weight_of: NDArray[np.float32], out: Weighted
    ) -> NDArray[np.float32]:
        source = self._chain[0]
        source.fill(image_bgr, alpha, weight_of)
        for half in self._chain[1:]:
            source.halve(half)
            source = half
        source.blur(self._sigma_px, self._border, out)
        return out.divide()
