"""What the pixels become before the first convolution: it belongs to the weights, not to the network.

Weights that were published with torchvision want ImageNet's mean and deviation, those that Google published with
TensorFlow want -1..1. The trap: with the wrong one nothing fails, the scores are just worse.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["NORMALISATIONS", "Normalisation", "NormalisationName", "normalise"]

NormalisationName = Literal["unit", "imagenet"]


@dataclass(frozen=True)
class Normalisation:
    """`(x - mean) / std` of bytes 0..255, a value for each of R, G, B."""

    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]
    text: str
    """For manifests and model cards."""

    @property
    def scale_rgb(self) -> tuple[float, ...]:
        """The normalised value is `x * scale - shift`."""
        return tuple(1 / std for std in self.std_rgb)

    @property
    def shift_rgb(self) -> tuple[float, ...]:
        """See `scale_rgb`."""
        return tuple(mean / std for mean, std in zip(self.mean_rgb, self.std_rgb, strict=True))

    def of_planes(self, planes: Tensor, *, is_bgr: bool = False) -> Tensor:
        """(n, 3, H, W) float in 0..255, RGB unless said otherwise -> the same planes, normalised."""
        if len(set(self.mean_rgb)) == len(set(self.std_rgb)) == 1:
            # Three equal values are one constant in an exported graph.
            return planes * self.scale_rgb[0] - self.shift_rgb[0]
        order = slice(None, None, -1) if is_bgr else slice(None)
        scale = torch.tensor(self.scale_rgb[order], device=planes.device).view(1, 3, 1, 1)
        shift = torch.tensor(self.shift_rgb[order], device=planes.device).view(1, 3, 1, 1)
        return planes * scale - shift


NORMALISATIONS: dict[NormalisationName, Normalisation] = {
    "unit": Normalisation((127.5,) * 3, (127.5,) * 3, "x / 127.5 - 1, RGB"),
    # Mean and deviation of ImageNet's training set, as torchvision's weights were trained.
    "imagenet": Normalisation(
        (0.485 * 255, 0.456 * 255, 0.406 * 255),
        (0.229 * 255, 0.224 * 255, 0.225 * 255),
        "(x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225), RGB",
    ),
}


def normalise(images_bgr: Tensor, normalisation: Normalisation = NORMALISATIONS["unit"]) -> Tensor:
    """(n, H, W, 3) uint8 BGR -> (n, 3, H, W) float32 RGB, normalised."""
    return normalisation.of_planes(images_bgr.flip(-1).permute(0, 3, 1, 2).float())
