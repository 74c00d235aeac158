"""The temporal term: what moved along the flow costs nothing, what flickers does, what is uncovered is left out."""

from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor

from configs import ConfigError
from engines.data.consecutive import FrameBatch
from engines.training.temporal import inconsistency, looked_up
from engines.training.train import run
from engines.training.watch import StepFacts, Watcher
from tests.engines.toy import picture
from tests.engines.training.small import small_config

STEP_PX = 8
"""How far everything goes to the right: two pixels at stride 4."""


def _moving() -> tuple[FrameBatch, Tensor]:
    """A texture that moves to the right, and logits (1, 2, 8, 8) that say the same of its left half."""
    torch.manual_seed(0)
    wide = torch.randint(0, 255, (1, 32, 32 + STEP_PX, 3), dtype=torch.uint8)
    flow = torch.zeros(1, 32, 32, 2)
    flow[..., 0] = STEP_PX
    frames = FrameBatch(wide[:, :, STEP_PX:], wide[:, :, :-STEP_PX], flow)
    logits = torch.zeros(1, 2, 8, 8)
    logits[:, 1, :, :3] = 5
    return frames, logits


def test_a_flow_is_looked_up_from_the_first_to_the_second() -> None:
    """Everything two to the right: the first's pixel x is found at x + 2; the last two lie outside."""
    planes = torch.arange(8.0).expand(1, 1, 8, 8)
    flow = torch.zeros(1, 2, 8, 8)
    flow[:, 0] = 2

    found, is_inside = looked_up(planes, flow)

    assert found[0, 0, 0, :6].tolist() == pytest.approx([2, 3, 4, 5, 6, 7], abs=1e-5)
    assert is_inside[0, 0].tolist() == [True] * 6 + [False] * 2


def test_an_answer_that_moves_with_the_picture_costs_nothing() -> None:
    """The second frame's logits are the first's, two pixels to the right; an answer that stays costs."""
    frames, first = _moving()
    second = torch.zeros(1, 2, 8, 8)
    second[:, 1, :, :5] = 5

    moved = inconsistency(first, second, frames, max_difference=0.05)
    stayed = inconsistency(first, first, frames, max_difference=0.05)

    assert moved.item() == pytest.approx(0, abs=1e-6)
    assert stayed.item() > 0.05


def test_pixels_whose_picture_does_not_agree_are_left_out() -> None:
    """With a flow that is wrong everywhere nothing is trusted, and nothing is learnt from it."""
    frames, first = _moving()
    wrong = FrameBatch(frames.first_bgr, 255 - frames.second_bgr, frames.flow_px)
    first.requires_grad_()

    term = inconsistency(first, torch.randn(1, 2, 8, 8), wrong, max_difference=0.001)
    term.backward()

    assert term.item() == 0
    assert first.grad is not None
    assert (first.grad == 0).all()


def test_a_temporal_term_needs_clips(tmp_path: Path) -> None:
    """A weight without sources is told at the door."""
    with pytest.raises(ConfigError, match="needs `sources`"):
        small_config(tmp_path, "temporal.weight=1")


def test_a_training_sees_its_clips(tmp_path: Path) -> None:
    """Two frames of a square that moves: the term is there in each step and finite."""
    clip = tmp_path / "clip"
    clip.mkdir()
    for index in range(2):
        cv2.imwrite(str(clip / f"{index}.png"), picture(0, 64, 66)[0][:, index : index + 64])
    config = small_config(
        tmp_path,
        f"temporal={{weight: 1, batch: 2, sources: [{{path: {clip}, format: frames}}]}}",
        "schedule.accumulate=2",
        steps=2,
    )
    seen: list[float] = []

    class Heard(Watcher):
        def stepped(self, facts: StepFacts) -> None:
            seen.append(facts.terms["temporal"])

    run(config, tmp_path / "out", watchers=[Heard()])

    assert len(seen) == 2
    assert all(0 <= value < 1 for value in seen)
