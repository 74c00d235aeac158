"""Colours as people write them."""

import pytest

from pipeline.effects.colour import bgr_from_text


@pytest.mark.parametrize(
    ("text", "bgr"),
    [
        ("red", (40, 40, 214)),
        ("Black", (0, 0, 0)),
        ("#102030", (0x30, 0x20, 0x10)),
        ("#ABCDEF", (0xEF, 0xCD, 0xAB)),
        ("#f80", (0x00, 0x88, 0xFF)),
    ],
)
def test_a_colour_is_given_in_bgr(text: str, bgr: tuple[int, int, int]) -> None:
    """People write red first, pictures here hold it last."""
    assert bgr_from_text(text) == bgr


@pytest.mark.parametrize("text", ["", "reddish", "102030", "#12", "#1234", "#12345g", "beach.jpg", "#1020301"])
def test_what_is_no_colour_is_none(text: str) -> None:
    """The caller knows what else it could be."""
    assert bgr_from_text(text) is None
