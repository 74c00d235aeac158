"""Effects composed on a device: a blurred background, another background; each beside its painter for the host.

The twins are in `pipeline/effects/` (`blur.py`, `replace.py`), where the plans of the blurs are worked out. All blends
are `engines/kernels/composite.py`, whose answer is exact; the host's compositor is correct to two levels. The trap:
masks come at the engine's size with bars, and are enlarged here, as `pipeline/matte/` does.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from engines.geometry import Geometry
from engines.kernels.blur import Gaussian
from engines.kernels.composite import composite_into
from engines.kernels.preprocess import resize_plane_into
from engines.on_device.small_blur import BlurPlan, SmallBlur, enlarged, halved_levels

__all__ = ["BackdropOnDevice", "BlurOnDevice", "PlainBlurOnDevice", "matte_of"]

Weights = NDArray[np.float32]


def matte_of(mask: torch.Tensor, geometry: Geometry, height: int, width: int) -> torch.Tensor:
    """A mask (h, w) uint8 of engine size without its bars, at frame size: (height, width) uint8."""
    inner = mask[geometry.y : geometry.y + geometry.height, geometry.x : geometry.x + geometry.width]
    alpha = torch.empty((height, width), dtype=torch.uint8, device=mask.device)
    resize_plane_into(inner.contiguous(), alpha)
    return alpha


class PlainBlurOnDevice:
    """All of the picture blurred, the subject over it."""

    def __init__(self, geometry: Geometry, sigma_px: float, device: torch.device) -> None:
        self._geometry = geometry
        self._gaussian = Gaussian(sigma_px, device)

    def paint(self, image_bgr: torch.Tensor, mask: torch.Tensor, out: torch.Tensor) -> None:
        """See `engines.on_device.planes.PaintsOnDevice`."""
        alpha = matte_of(mask, self._geometry, *image_bgr.shape[:2])
        self._gaussian.blur_into(image_bgr, out)
        composite_into(image_bgr, alpha, out, out)


class BlurOnDevice:
    """The background blurred without the subject, the subject over it.

    Args:
        size: (height, width) of the frame.
        plan: of the weighted blur.
        weights: (256,) float32, how much a pixel of each alpha counts as background.
        narrow_px: a blur narrower than the weighted one can be made; then that one only fills in behind the subject.
    """

    def __init__(
        self,
        geometry: Geometry,
        size: tuple[int, int],
        plan: BlurPlan,
        weights: Weights,
        narrow_px: float | None,
        device: torch.device,
    ) -> None:
        self._geometry = geometry
        self._size = size
        self._early = plan.early
        self._blur = SmallBlur(*size, plan, device)
        self._weights = torch.from_numpy(weights).to(device)
        self._is_background = (255 - (255 * (1 - self._weights)).round()).to(torch.uint8)
        self._narrow = None if narrow_px is None else Gaussian(narrow_px, device)

    def paint(self, image_bgr: torch.Tensor, mask: torch.Tensor, out: torch.Tensor) -> None:
        """See `engines.on_device.planes.PaintsOnDevice`."""
        alpha = matte_of(mask, self._geometry, *self._size)
        levels = halved_levels(image_bgr, alpha, self._early)
        behind = self._blur(levels[:3], self._weights[levels[3].long()])
        background = enlarged(behind, *self._size)
        if self._narrow is not None:
            composite_into(image_bgr, self._is_background[alpha.long()], background, background)
            self._narrow.blur_into(background, background)
        composite_into(image_bgr, alpha, background, out)


class BackdropOnDevice:
    """Another background, the subject over it in its own colour (Forte 2021, as `pipeline/effects/foreground.py`).

    Args:
        backdrop_bgr: (H, W, 3) uint8.
        mix: how much of it shows; the captured background shows through the rest.
        of_subject, of_background: (256,) float32, how much a pixel of each alpha counts as either.
    """

    def __init__(
        self,
        geometry: Geometry,
        backdrop_bgr: NDArray[np.uint8],
        mix: float,
        plan: BlurPlan,
        of_subject: Weights,
        of_background: Weights,
        device: torch.device,
    ) -> None:
        self._geometry = geometry
        self._backdrop = torch.tensor(backdrop_bgr, device=device)
        self._mix = mix
        self._size = (backdrop_bgr.shape[0], backdrop_bgr.shape[1])
        self._early = plan.early
        self._blur = SmallBlur(*self._size, plan, device)
        self._of_subject = torch.from_numpy(of_subject).to(device)
        self._of_background = torch.from_numpy(of_background).to(device)

    def paint(self, image_bgr: torch.Tensor, mask: torch.Tensor, out: torch.Tensor) -> None:
        """See `engines.on_device.planes.PaintsOnDevice`."""
        alpha = matte_of(mask, self._geometry, *self._size)
        levels = halved_levels(image_bgr, alpha, self._early)
        places = levels[3].long()
        subject = self._blur(levels[:3], self._of_subject[places])
        background = self._blur(levels[:3], self._of_background[places])
        share = self._blur.only_halved(levels[3]) / 255
        estimate = (subject + share * (subject - background)).clamp_(0, 255)
        edge = enlarged(estimate, *self._size)
        composite_into(image_bgr, alpha, edge, edge)
        behind = self._backdrop
        if self._mix < 1:
            behind = (behind.float() * self._mix + image_bgr.float() * (1 - self._mix)).add_(0.5).to(torch.uint8)
        composite_into(edge, alpha, behind, out)
