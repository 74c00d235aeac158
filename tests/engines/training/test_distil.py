"""A teacher's soft labels: whose classes they are, what they weigh, and that a student follows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from configs import ConfigError
from engines.errors import TrainingError
from engines.spec import EngineSpec, InputSpec, OutputSpec
from engines.training import distil
from engines.training.distributed import Process
from engines.training.recipe import Distil
from engines.training.steps import Steps
from engines.training.train import run
from engines.training.watch import StepFacts, Watcher
from tests.engines.training.small import small_config


def test_a_binary_student_learns_one_class_against_the_rest() -> None:
    """Of bird, person, car the student knows person: its background is bird plus car."""
    logits = torch.tensor([0.2, 0.5, 0.3]).log().reshape(1, 3, 1, 1)
    wanted = distil.class_indices(("bird", "person", "car"), ("background", "person"))

    probs = distil.student_log_probs(logits, wanted).exp().flatten()

    assert probs.tolist() == pytest.approx([0.5, 0.5])


def test_the_same_classes_are_taken_as_they_are() -> None:
    """No class is the rest when both lists are equal."""
    logits = torch.randn(1, 2, 2, 2)

    wanted = distil.class_indices(("a", "b"), ("a", "b"))

    assert torch.equal(distil.student_log_probs(logits, wanted), logits.log_softmax(dim=1))


def test_a_teacher_that_lacks_a_class_is_refused() -> None:
    """The error names the class and what the teacher knows."""
    with pytest.raises(TrainingError, match="does not know the class 'zebra'; it knows background, person"):
        distil.class_indices(("background", "person"), ("background", "zebra"))


def test_divergence_is_zero_for_the_teachers_own_answer_and_grows_from_there() -> None:
    """KL of two pixels by hand; a pixel of weight 0 costs nothing; temperature is squared."""
    taught = torch.tensor([[0.8, 0.2], [0.5, 0.5]]).log().T.reshape(1, 2, 1, 2)
    student = torch.zeros(1, 2, 1, 2)
    n = torch.tensor(2.0)

    same = distil.divergence(taught, taught, torch.ones(1, 1, 2), n, temperature=3.0)
    other = distil.divergence(student, taught, torch.ones(1, 1, 2), n, temperature=1.0)
    left_out = distil.divergence(student, taught, torch.tensor([[[0.0, 1.0]]]), n, temperature=1.0)

    assert same.item() == pytest.approx(0, abs=1e-6)
    expected = 0.8 * torch.tensor(0.8 / 0.5).log() + 0.2 * torch.tensor(0.2 / 0.5).log()
    assert other.item() == pytest.approx(expected.item() / 2, abs=1e-6)
    assert left_out.item() == pytest.approx(0, abs=1e-6)


def test_only_distilled_crops_and_sure_pixels_count() -> None:
    """The first crop is of a labelled source; in the second one pixel is below the bar."""
    log_probs = torch.tensor([[0.9, 0.1], [0.55, 0.45]]).log().T.reshape(1, 2, 1, 2).repeat(2, 1, 1, 1)

    share = torch.ones(2, 1, 2)
    weights = distil.pixel_weights(log_probs, torch.tensor([False, True]), share, Distil(weight=2, sure=0.6))

    assert weights[0].tolist() == [[0.0, 0.0]]
    assert weights[1].tolist() == [[2.0, 0.0]]


def test_black_bars_teach_nothing(tmp_path: Path) -> None:
    """What a teacher makes of a bar weighs nothing, and the mean is over the pixels of the pictures."""

    class Sees:
        def log_probs(self, images_bgr: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images_bgr), 2, 16, 16), 0.5).log()

    config = small_config(tmp_path, "teacher=any.pt", "distil.labelled=1", "augment.bars_share=1")
    steps = Steps(config, Process(), torch.device("cpu"), Sees())
    crops = steps.crops_of(0)
    inside = crops.batch.inside.reshape(4, 16, 4, 16, 4).movedim(3, 2).reshape(4, 16, 16, 16)

    [part] = steps.parts(crops, 1)

    assert part.soft_weights is not None
    is_bar, is_picture = inside.amax(-1) == 0, inside.amin(-1) == 1
    assert is_bar.any()
    assert not part.soft_weights[is_bar].any()
    assert (part.soft_weights[is_picture] == 1).all()
    assert float(steps.totals([part])["distil"]) == pytest.approx(int(inside.sum()) / 16)


def test_an_engine_is_asked_as_a_stream_asks_it() -> None:
    """A square crop stands between bars in a wide engine, undistorted, and what the engine says of the bars is gone."""
    seen: list[np.ndarray] = []

    class Wide:
        spec = EngineSpec(
            "wide", Path("wide.onnx"), InputSpec(32, 64), OutputSpec(("a", "b"), None), ((0, 0, 0),) * 2, "fp32"
        )

        def infer(self, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
            seen.append(inputs["image_bgr"].copy())
            outputs["logits"][0, 0] = 0
            # A class that is sure of itself in the bars, and unsure of a picture.
            outputs["logits"][0, 1] = np.where(inputs["image_bgr"][0, ::4, ::4, 0] == 0, 50, 0)

    crop = np.random.default_rng(0).integers(1, 256, (1, 32, 32, 3), dtype=np.uint8)

    log_probs = distil.EngineTeacher(Wide(), ("a", "b")).log_probs(torch.from_numpy(crop))

    assert np.array_equal(seen[0][0, :, 16:48], crop[0])
    assert not seen[0][0, :, :16].any()
    assert not seen[0][0, :, 48:].any()
    assert log_probs.shape == (1, 2, 8, 8)
    # The outermost pixels lie within half of an engine's pixel of the bars.
    assert log_probs[0, :, :, 1:-1].exp().flatten().tolist() == pytest.approx([0.5] * 96)


def test_the_teacher_looks_only_at_what_is_asked() -> None:
    """Of three crops one is distilled: the teacher sees one, and its word stands at that crop's place."""
    looked: list[int] = []

    class Sees:
        def log_probs(self, images_bgr: torch.Tensor) -> torch.Tensor:
            looked.append(len(images_bgr))
            return torch.full((len(images_bgr), 2, 8, 8), -1.0)

    images = torch.zeros(3, 32, 32, 3, dtype=torch.uint8)
    some = distil.asked_log_probs(Sees(), images, torch.tensor([False, True, False]), 2)
    none = distil.asked_log_probs(Sees(), images, torch.zeros(3, dtype=torch.bool), 2)

    assert looked == [1]
    assert some[:, 0, 0, 0].tolist() == [0.0, -1.0, 0.0]
    assert none.shape == (3, 2, 8, 8)


def test_distillation_without_a_teacher_is_refused(tmp_path: Path) -> None:
    """The config says what is missing."""
    with pytest.raises(ConfigError, match="distillation needs a `teacher`"):
        small_config(tmp_path, "distil.labelled=1")


def test_a_student_follows_a_checkpoint_without_any_label(tmp_path: Path) -> None:
    """All labels are unknown; what falls is the divergence from the teacher alone."""
    run(small_config(tmp_path, steps=2), tmp_path / "teacher")
    frames = tmp_path / "data" / "images"
    config = small_config(
        tmp_path,
        f"teacher={tmp_path / 'teacher' / 'last.pt'}",
        f"sources=[{{path: {frames}, format: frames, is_distilled: true}}]",
        "seed=1",
        steps=8,
    )
    seen: list[float] = []

    class Heard(Watcher):
        def stepped(self, facts: StepFacts) -> None:
            assert facts.terms["cross_entropy"] == 0
            seen.append(facts.terms["distil"])

    run(config, tmp_path / "student", watchers=[Heard()])

    assert sum(seen[-3:]) < 0.7 * sum(seen[:3])
