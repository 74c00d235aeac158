"""Which effects can be composed on a device, and what their painters there are told.

The plans of the blurs are the host's (`gaussian.py`, `foreground.py`): sizes, what is left to blur, weights. torch is
loaded by `engines.on_device`, never here. The trap: a painter that cannot do all that the effect asks for must be None,
so that the host paints; half an effect would not be noticed.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.geometry import Geometry
from pipeline.effects.backdrop import Still
from pipeline.effects.blur import Blur
from pipeline.effects.foreground import OF_BACKGROUND, OF_SUBJECT, SIGMA_SHARE
from pipeline.effects.gaussian import FILL_SIGMA_PX, FLOOR, HALVES_BEFORE_WEIGHTS, LEFT_OUT, plan
from pipeline.effects.replace import BackdropPainter
from pipeline.frame import StreamFormat

if TYPE_CHECKING:
    from engines.on_device.planes import PaintsOnDevice
    from engines.on_device.small_blur import BlurPlan

__all__ = ["backdrop_on_device", "blur_on_device"]

OF_BLUR: NDArray[np.float32] = np.clip(1 - np.arange(256) / (255 * LEFT_OUT), FLOOR, 1).astype(np.float32)
"""How much a pixel of each alpha counts in a blur of the background, as in `BackgroundGaussian`."""


def blur_on_device(effect: Blur, format: StreamFormat, geometry: Geometry, device: Any) -> "PaintsOnDevice":
    """A blurred background, with a halo or free of it.

    Args:
        device: a `torch.device`.
    """
    from engines.on_device.painters import BlurOnDevice, PlainBlurOnDevice

    if effect.halo == "keep":
        return PlainBlurOnDevice(geometry, effect.sigma_px, device)
    narrow_px = effect.sigma_px if effect.sigma_px < FILL_SIGMA_PX else None
    size = (format.height, format.width)
    return BlurOnDevice(geometry, size, _plan(*size, max(effect.sigma_px, FILL_SIGMA_PX)), OF_BLUR, narrow_px, device)


def backdrop_on_device(
    painter: BackdropPainter, format: StreamFormat, geometry: Geometry, device: Any
) -> "PaintsOnDevice | None":
    """Another background; None for a video, whose pictures come one by one."""
    if not isinstance(painter.backdrop, Still):
        return None
    from engines.on_device.painters import BackdropOnDevice

    size = (format.height, format.width)
    blur = _plan(*size, SIGMA_SHARE * max(size))
    return BackdropOnDevice(geometry, painter.backdrop.at(0), painter.mix, blur, OF_SUBJECT, OF_BACKGROUND, device)


def _plan(height: int, width: int, sigma_px: float) -> "BlurPlan":
    from engines.on_device.small_blur import BlurPlan

    sizes, sigma_small_px = plan(height, width, sigma_px)
    early, late = sizes[:HALVES_BEFORE_WEIGHTS], sizes[HALVES_BEFORE_WEIGHTS:]
    return BlurPlan(tuple(early), tuple(late), sigma_small_px, has_soft_border=bool(sizes))
