"""Lag is displacement against the motion, in pixels."""

import numpy as np
import pytest

from engines.temporal.lag import lag_of
from engines.temporal.mover import mover_frames


def box(left: int, right: int) -> np.ndarray:
    """A mask 20 rows high."""
    mask = np.zeros((40, 100), np.uint8)
    mask[10:30, left:right] = 1
    return mask


@pytest.mark.parametrize("behind", [0, 1, 7, -3])
def test_a_displaced_mask_lags_by_its_displacement(behind: int):
    """Behind counts positive, ahead negative."""
    lag = lag_of(box(40, 60), box(40 - behind, 60 - behind))

    assert lag is not None
    assert lag.displacement_px == behind
    assert lag.edge_px == abs(behind)


def test_a_trail_is_half_a_displacement_and_a_whole_edge():
    """A mask that reaches its front at once and leaves its back standing is caught by the edge."""
    lag = lag_of(box(40, 60), box(32, 60))

    assert lag is not None
    assert lag.displacement_px == pytest.approx(4)
    assert lag.edge_px == pytest.approx(8)


def test_growing_on_both_sides_is_no_lag():
    """Only the edges move, outwards."""
    lag = lag_of(box(40, 60), box(38, 62))

    assert lag is not None
    assert lag.displacement_px == pytest.approx(0)
    assert lag.edge_px == pytest.approx(2)


def test_an_empty_mask_has_no_lag():
    """The engine saw nothing to compare with."""
    assert lag_of(np.zeros((4, 4), np.uint8), box(1, 3)[:4, :4]) is None


@pytest.mark.parametrize("step_px", [5.0, 40.0])
def test_the_mover_moves_as_fast_as_it_says(step_px: float):
    """Its middle goes one step to the right a frame; before it the backdrop stands still but for noise."""
    white = np.full((30, 20, 3), 255, np.uint8)

    frames = list(mover_frames(white, np.full((30, 20), 255, np.uint8), 60, 160, step_px=step_px, n_frames=5))

    columns = np.arange(160)
    inside = [(frame.min(axis=2) > 240).sum(axis=0) for frame in frames]
    whole = [np.average(columns, weights=counts) for counts in inside if counts[0] == counts[-1] == 0]
    assert len(whole) >= 3
    np.testing.assert_allclose(np.diff(whole), step_px, atol=0.5)
    assert np.abs(frames[0][:6].astype(int) - frames[-1][:6].astype(int)).mean() < 5
