"""Where a picture lies inside an engine's input."""

import numpy as np
import pytest

from engines.geometry import fit, resize_into, tensor_of
from engines.spec import InputSpec, ResizeRule


@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (64, 64), (1, 300)])
def test_a_letterbox_is_the_picture_between_black_bars(height: int, width: int) -> None:
    """The bars are black whatever lay in the memory before; the picture fills the rest."""
    spec = InputSpec(64, 96)
    white = np.full((height, width, 3), 255, np.uint8)

    tensor_bgr = tensor_of(white, spec)

    inner = fit(height, width, spec).crop(tensor_bgr)
    assert tensor_bgr.shape == (64, 96, 3)
    assert inner.min() == 255
    assert int(tensor_bgr.sum()) == int(inner.sum())
    assert inner.shape[0] == 64 or inner.shape[1] == 96


def test_a_stretched_picture_has_no_bars() -> None:
    """Whatever its aspect."""
    assert tensor_of(np.full((50, 7, 3), 255, np.uint8), InputSpec(32, 64, ResizeRule.STRETCH)).min() == 255


def test_a_buffer_of_ones_own_gets_the_same_bytes() -> None:
    """The stream writes into a slot, evaluation into fresh memory; the network cannot tell them apart."""
    image_bgr = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    spec, used = InputSpec(32, 64), np.full((32, 64, 3), 9, np.uint8)

    resize_into(image_bgr, fit(50, 40, spec), used)

    assert np.array_equal(used, tensor_of(image_bgr, spec))
