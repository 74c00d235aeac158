"""What a config may ask of its engine."""

import pytest
import torch  # noqa: F401  # marks the module: the options of a training live beside the trainer
from pydantic import ValidationError

from engines.training.delivery import Delivery


@pytest.mark.parametrize("size", ["512", "512x", "500x288", "0x32", "512x288x3"])
def test_sizes_that_no_graph_can_have_are_refused_before_the_training(size) -> None:
    """An hour of training must not end in an export that cannot work."""
    with pytest.raises(ValidationError, match="multiples of 32"):
        Delivery(sizes=(size,))


def test_int8_needs_real_pictures_before_the_training() -> None:
    """Ranges are measured, never assumed."""
    with pytest.raises(ValidationError, match="calibration"):
        Delivery(precisions=("fp32", "int8"))
