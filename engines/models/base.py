"""What every version of DeepLab has: a backbone, a normalisation, and logits at a quarter of the size.

The trap: softmax, upsampling to full size and argmax belong to the loss, to `evaluate` and to the exported graph,
so that every version is served by the same code. `backbone` is the part that can come with ImageNet's weights;
everything else is the head, which learns faster.
"""

from torch import Tensor, nn

from engines.models.backbones import Backbone, backbone_of
from engines.models.config import ModelConfig
from engines.models.normalisation import NORMALISATIONS, Normalisation, normalise

__all__ = ["DeepLab"]


class DeepLab(nn.Module):
    """The base of the family; `forward` is each version's own."""

    classifiers: tuple[str, ...] = ("classifier",)
    """Submodules whose shape depends on the number of classes."""

    def __init__(self, n_classes: int, config: ModelConfig) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.config = config
        self.backbone: Backbone = backbone_of(config)

    def forward(self, image_rgb: Tensor) -> Tensor:
        """(n, 3, H, W) normalised -> logits (n, C, H/4, W/4)."""
        raise NotImplementedError

    def supervised(self, image_rgb: Tensor) -> list[Tensor]:
        """The logits that the loss sees, what `forward` returns first; each (n, C, h, w)."""
        return [self(image_rgb)]

    def context_kernels(self) -> list[tuple[int, int]]:
        """(kernel, rate) of the widest path of the head at the last feature map, for the receptive field."""
        return []

    @property
    def normalisation(self) -> Normalisation:
        """What the input must have gone through."""
        return NORMALISATIONS[self.config.normalisation]

    def normalise(self, images_bgr: Tensor) -> Tensor:
        """(n, H, W, 3) uint8 BGR -> (n, 3, H, W) float32 RGB, as the weights want it."""
        return normalise(images_bgr, self.normalisation)

    @property
    def first_convolutions(self) -> tuple[str, ...]:
        """Parameters whose input channels are R, G, B; flipping them all makes a network for BGR."""
        return (f"backbone.{self.backbone.first_convolution}",)
