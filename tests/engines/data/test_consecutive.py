"""Frames in pairs: cut and coloured alike, with the flow that brings one to the other."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.data.consecutive import FramePairs, optical_flow
from engines.data.datasets import Format, Source
from engines.data.pairs import Pair
from engines.data.transforms import Augment
from engines.errors import DataError

SHIFT = (3.0, -2.0)
AUGMENT = Augment(crop_px=64, scale_min=1.0, scale_max=1.0, rotate_deg=0, aspect=0, flip_share=0)


def _moving(n: int = 3) -> list[Pair]:
    """A texture that moves by SHIFT from frame to frame."""
    texture = np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    texture = cv2.resize(texture, (192, 160), interpolation=cv2.INTER_CUBIC)
    frames = []
    for index in range(n):
        matrix = np.array([[1.0, 0, SHIFT[0] * index], [0, 1.0, SHIFT[1] * index]])
        image = np.asarray(cv2.warpAffine(texture, matrix, (192, 160), borderMode=cv2.BORDER_REFLECT), np.uint8)
        frames.append(Pair(str(index), image, np.zeros((160, 192), np.uint8)))
    return frames


def test_the_flow_leads_from_the_first_frame_to_the_second() -> None:
    """In pixels of the crop, x before y."""
    batch = FramePairs([(1.0, _moving())]).crops(3, AUGMENT, seed=0, step=0)

    assert batch.first_bgr.shape == batch.second_bgr.shape == (3, 64, 64, 3)
    assert batch.flow_px.dtype == torch.float32
    middle = batch.flow_px[:, 16:-16, 16:-16].median(dim=1).values.median(dim=1).values
    # A tenth of a pixel: half of what the fast preset promises on textures.
    torch.testing.assert_close(middle, torch.tensor([SHIFT] * 3), atol=0.1, rtol=0)


def test_both_frames_get_the_same_cut_and_colours() -> None:
    """The same picture twice stays the same picture twice, whatever happens to it."""
    frames = [_moving(1)[0]] * 2

    batch = FramePairs([(1.0, frames)]).crops(4, Augment(crop_px=64), seed=1, step=2)

    assert torch.equal(batch.first_bgr, batch.second_bgr)
    assert not torch.equal(batch.first_bgr[0], batch.first_bgr[1])


def test_pairs_depend_on_seed_step_and_place_alone() -> None:
    """Two processes make the halves of what one would make."""
    pairs = FramePairs([(1.0, _moving())])

    whole = pairs.crops(4, AUGMENT, seed=3, step=5)
    half = pairs.crops(4, AUGMENT, seed=3, step=5, places=range(2, 4))

    assert torch.equal(whole.first_bgr[2:], half.first_bgr)
    assert torch.equal(whole.flow_px[2:], half.flow_px)


def test_a_still_picture_does_not_flow() -> None:
    """Nothing moves in it."""
    image = _moving(1)[0].image_bgr

    assert np.abs(optical_flow(image, image)).max() < 0.05


def test_frames_are_read_from_a_folder(tmp_path: Path) -> None:
    """In name order; one frame alone has no successor."""
    for pair in _moving(2):
        cv2.imwrite(str(tmp_path / f"{pair.name}.png"), pair.image_bgr)
    source = Source(path=tmp_path, format=Format.FRAMES)

    assert len(FramePairs.read([source], 2)) == 1
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match="two frames or more"):
        FramePairs.read([source], 2)
