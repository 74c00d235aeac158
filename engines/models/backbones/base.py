"""What a head may ask of a backbone: two feature maps, their channels, and where the image enters."""

from torch import Tensor, nn

__all__ = ["Backbone"]


class Backbone(nn.Module):
    """Image in; the last map at stride 4 and the last map at the output stride out."""

    low_channels: int
    high_channels: int
    first_convolution: str
    """The parameter whose input channels are R, G, B."""

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, H, W) -> low (n, low_channels, H/4, W/4), high (n, high_channels, H/stride, W/stride)."""
        raise NotImplementedError

    def extra_block(self, c_in: int, rates: tuple[int, int, int]) -> tuple[nn.Module, int]:
        """One more block of the last kind, for the cascade of v3, and its channels.

        Args:
            rates: of its three units.
        """
        raise NotImplementedError(f"{type(self).__name__} has no cascade")
