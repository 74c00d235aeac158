"""The size of a picture, in text and off an array."""

import numpy as np
import pytest
from pydantic import ValidationError

from configs import Options
from engines.size import ServedSize, Size


class Key(Options):
    """A config with a size in it."""

    size: ServedSize


def test_what_is_printed_is_what_is_read() -> None:
    """Width first, in either case of the letter."""
    size = Size.from_text("512X288")

    assert (size.width, size.height) == (512, 288)
    assert Size.from_text(str(size)) == size


@pytest.mark.parametrize(
    "text", ["", "512", "x288", "0x288", "512x-1", "512x288x3", "512 x 288", "²x2", "9" * 5000 + "x1"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    """The message says what was received and what was expected."""
    with pytest.raises(ValueError, match="expected WIDTHxHEIGHT, such as 512x288"):
        Size.from_text(text)


def test_an_array_has_its_height_first() -> None:
    """With channels or without."""
    assert Size.of(np.zeros((2, 3, 3), np.uint8)) == Size.of(np.zeros((2, 3), np.uint8)) == Size(3, 2)


def test_a_scaled_size_is_one_that_a_network_takes() -> None:
    """The nearest multiples of 32, and never nothing."""
    assert Size(512, 288).scaled(0.5) == (256, 128)
    assert Size(512, 288).scaled(1) == (512, 288)
    assert Size(64, 32).scaled(0.1) == (32, 32)


def test_a_key_of_a_config_goes_out_as_it_came_in() -> None:
    """A checkpoint keeps its config as plain values."""
    key = Key.model_validate({"size": "64x32"})

    assert key.size == Size(64, 32)
    assert key.model_dump(mode="json") == {"size": "64x32"}


@pytest.mark.parametrize("value", ["500x288", 512, [512, 288]])
def test_a_key_that_no_engine_can_have_is_refused(value: object) -> None:
    """Before an hour of training, not after it."""
    with pytest.raises(ValidationError, match="in multiples of 32, such as 512x288"):
        Key.model_validate({"size": value})
