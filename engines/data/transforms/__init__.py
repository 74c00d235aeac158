"""Paired augmentation: one picture and its labels become one training crop.

Geometry, people, colour, camera, codec, bars, in this order: as a picture comes to the network. What lies outside
the picture is black with label 255, as a letterboxed frame's bars are. The trap: a crop depends on its generator
alone, so nothing here may keep a state or draw from another.
"""

from collections.abc import Callable

import numpy as np

from engines.data.pairs import Pair
from engines.data.transforms.camera import through_camera
from engines.data.transforms.codec import through_codec
from engines.data.transforms.colour import coloured
from engines.data.transforms.geometry import Crop, add_bars, affine, cut, fill
from engines.data.transforms.options import Augment
from engines.data.transforms.people import pasted, window_without_subject
from engines.data.transforms.things import with_things

__all__ = ["Augment", "Crop", "augmented"]


def augmented(
    pair: Pair,
    config: Augment,
    rng: np.random.Generator,
    backdrop: Callable[[np.random.Generator], Pair] | None = None,
) -> Crop:
    """One crop of a picture and its labels; fresh arrays.

    Args:
        backdrop: draws a picture to paste subjects onto; None: nothing is pasted.
    """
    crop = _without_subject(pair, config, rng) if rng.random() < config.without_subject_share else None
    if crop is None:
        crop = cut(pair, affine(pair.label_map, config, rng), config.size)
        if backdrop is not None and rng.random() < config.paste_share:
            behind = _without_subject(backdrop(rng), config, rng)
            if behind is not None:
                crop = pasted(crop, behind, config, rng)
    # Nothing is drawn where it is off, so that the crops of earlier trainings stay as they were.
    if config.things_share and rng.random() < config.things_share:
        crop = with_things(crop, rng)
    image_bgr = coloured(crop.image_bgr, config, rng)
    image_bgr = through_camera(image_bgr, config, rng)
    image_bgr = through_codec(image_bgr, config, rng)
    # After the colours, so that bars stay as black as the stream makes them.
    image_bgr *= crop.inside[..., None]
    crop = crop._replace(image_bgr=image_bgr)
    if rng.random() < config.bars_share:
        add_bars(crop, rng)
    return crop


def _without_subject(pair: Pair, config: Augment, rng: np.random.Generator) -> Crop | None:
    window = window_without_subject(pair.label_map, config.size, rng)
    return None if window is None else cut(pair, fill(window, config, rng), config.size)
