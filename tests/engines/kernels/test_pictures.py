"""The kernels that lay and blur pictures, against the stream's own and OpenCV."""

import cv2
import numpy as np
import pytest
import torch

from engines.errors import InputSizeError
from engines.kernels.blur import Gaussian
from engines.kernels.composite import composite_into
from engines.kernels.launch import device_of_kernels
from pipeline.effects.composite import Compositor


def _picture(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(37, 53), (1, 1), (72, 64)])
def test_a_subject_is_laid_over_a_background(size: tuple[int, int]) -> None:
    """The nearest level to the exact blend; within two of the stream's own compositor."""
    image, background = _picture(*size, 1), _picture(*size, 2)
    alpha = np.random.default_rng(3).integers(0, 256, size).astype(np.uint8)
    said = background.copy()
    Compositor(*size).over(image, alpha, said)
    device = device_of_kernels()
    out = torch.empty((*size, 3), dtype=torch.uint8, device=device)

    composite_into(*(torch.from_numpy(plane).to(device) for plane in (image, alpha, background)), out)

    share = alpha[..., None] / 255
    exact = image * share + background * (1 - share)
    assert np.abs(out.cpu().numpy() - exact).max() <= 0.5 + 1e-9
    assert np.abs(out.cpu().numpy().astype(int) - said).max() <= 2


@pytest.mark.parametrize(("size", "sigma_px"), [((37, 53), 1.4), ((40, 24), 5.0), ((1, 9), 2.0), ((5, 4), 6.0)])
def test_a_blur_is_the_gaussian_of_opencv(size: tuple[int, int], sigma_px: float) -> None:
    """Also where the kernel is larger than the picture, which is then mirrored several times; exact to 0.55 levels."""
    image = _picture(*size, 4)
    device = device_of_kernels()
    gaussian = Gaussian(sigma_px, device)
    out = torch.from_numpy(image.copy()).to(device)

    gaussian.blur_into(out, out)

    side = 2 * gaussian.reach + 1
    # Of float32: for bytes OpenCV rounds its kernel to fractions of 256, and is up to 2.2 levels off.
    said = cv2.GaussianBlur(image.astype(np.float32), (side, side), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    assert np.abs(out.cpu().numpy() - said).max() <= 0.55
    with pytest.raises(InputSizeError, match="above 0"):
        Gaussian(0.0, device)
