"""One step: parts add up to the whole batch, what is frozen stays, and the teacher is heard."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from engines.data.loader import Batch
from engines.errors import DataError, TrainingError
from engines.training.config import TrainConfig
from engines.training.start import training_set_of
from engines.training.state import seed_for
from engines.training.steps import Crops, Steps, prepared_steps
from engines.training.train import run
from tests.engines.training.small import FROZEN, small_config


def _one_step(config: TrainConfig) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Terms and weights after the first step."""
    with prepared_steps(config) as steps:
        terms, _ = steps.step(_first_batch(steps))
        return terms, {name: value.clone() for name, value in steps.state.model.state_dict().items()}


def _first_batch(steps: Steps) -> Batch:
    crops = steps.crops()
    batch = next(crops)
    crops.close()
    return batch


def test_an_accumulated_batch_gives_the_step_of_a_whole_one(tmp_path: Path) -> None:
    """Four crops at once or one after another: the same loss and weights, though their ignored pixels differ."""
    options = (
        *FROZEN, "losses.dice=0", "losses.boundary=1", "augment.bars_share=1", "optimiser.kind=sgd",
        "losses.class_weights=[1.0, 3.0]",
    )  # fmt: skip
    whole_terms, whole = _one_step(small_config(tmp_path, *options))
    parts_terms, parts = _one_step(small_config(tmp_path, *options, "schedule.accumulate=4"))

    # Sums of 16 384 float32 in another order.
    assert parts_terms == pytest.approx(whole_terms, rel=1e-5)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)


def test_terms_that_look_at_many_pixels_are_means_of_their_parts(tmp_path: Path) -> None:
    """What `schedule.accumulate` says of itself: dice, ohem and lovasz are each part's own."""
    options = (*FROZEN, "losses.ohem=1", "losses.lovasz=1", "augment.bars_share=1", "augment.colour=0.9")
    with prepared_steps(small_config(tmp_path, *options)) as steps:
        crops = steps.crops_of(0)
        first, second = (
            Crops(Batch(*(getattr(crops.batch, field.name)[half] for field in fields(Batch))))
            for half in (slice(0, 2), slice(2, 4))
        )

        whole, parts = (steps.forward_backward(crops, n_parts) for n_parts in (1, 2))
        halves = [steps.forward_backward(half, 1) for half in (first, second)]

    for name in ("dice", "ohem", "lovasz"):
        mean = (halves[0][name] + halves[1][name]) / 2
        assert parts[name] == pytest.approx(mean, rel=1e-5)
        assert abs(parts[name] - whole[name]) > 1e-6
    assert parts["cross_entropy"] == pytest.approx(whole["cross_entropy"], rel=1e-5)


def test_frozen_blocks_and_statistics_stay_as_they_came(tmp_path: Path) -> None:
    """The first three blocks keep every number; block 3 learns, but its statistics are frozen; the head's move."""
    config = small_config(tmp_path, "optimiser.frozen_blocks=3", "batch_norm.backbone=frozen")
    with prepared_steps(config) as steps:
        before = {name: value.clone() for name, value in steps.state.model.state_dict().items()}
        steps.step(_first_batch(steps))
        after = steps.state.model.state_dict()

    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert not [name for name in moved if name.startswith(tuple(f"backbone.features.{n}." for n in range(3)))]
    assert any(name.startswith("backbone.features.3.") for name in moved)
    assert not [name for name in moved if name.startswith("backbone.") and "running" in name]
    assert any("running_mean" in name for name in moved)


def test_slow_statistics_move_less_than_the_batchs_own(tmp_path: Path) -> None:
    """`slow` remembers a hundredth of each batch, `train` a tenth."""
    name = "backbone.features.0.1.running_mean"
    _, slow = _one_step(small_config(tmp_path, "batch_norm.backbone=slow"))
    _, quick = _one_step(small_config(tmp_path, "batch_norm.backbone=train"))

    torch.testing.assert_close(slow[name] * 10, quick[name], rtol=1e-4, atol=1e-6)


def test_synchronised_statistics_need_a_gpu(tmp_path: Path) -> None:
    """torch has none for the CPU; the error names what works."""
    with (
        pytest.raises(TrainingError, match="take frozen or slow"),
        prepared_steps(small_config(tmp_path, "batch_norm.head=sync", "device=cpu")),
    ):
        pass


def test_half_precision_needs_a_gpu(tmp_path: Path) -> None:
    """fp16 on a CPU is refused before anything is read."""
    with (
        pytest.raises(TrainingError, match="fp16 needs a GPU"),
        prepared_steps(small_config(tmp_path, "precision=fp16", "device=cpu")),
    ):
        pass


@pytest.mark.parametrize("wrong", ["optimiser.frozen_blocks=99", "optimiser.frozen=[bone]"])
def test_freezing_what_is_not_there_is_an_error(tmp_path: Path, wrong: str) -> None:
    """A misspelt prefix would otherwise train in silence."""
    with pytest.raises(TrainingError, match=r"optimiser\.frozen"), prepared_steps(small_config(tmp_path, wrong)):
        pass


def test_a_bias_may_learn_twice_as_fast(tmp_path: Path) -> None:
    """v1 and v2 double the learning rate of biases; norms and biases have no weight decay."""
    config = small_config(tmp_path, "optimiser.bias_factor=2", "optimiser.kind=sgd", "optimiser.weight_decay=0.1")
    with prepared_steps(config) as steps:
        groups = steps.state.optimiser.param_groups

    of_bias = {group["base_lr"] for group in groups if group["part"] == "head" and group["weight_decay"] == 0}
    assert of_bias == {0.01, 0.02}
    assert all(p.ndim > 1 for group in groups if group["weight_decay"] for p in group["params"])


def test_each_steps_random_numbers_are_its_own() -> None:
    """Step, process and seed each give another stream; the same three give the same."""
    seeds = [seed_for(0, 0, 0), seed_for(0, 1, 0), seed_for(0, 0, 1), seed_for(1, 0, 0)]

    assert len(set(seeds)) == 4
    assert seed_for(0, 1, 0) == seeds[1]


def test_bf16_learns_what_fp32_learns(tmp_path: Path) -> None:
    """The network in bf16, loss and weights in float32: after one step the loss differs by rounding only."""
    exact, _ = _one_step(small_config(tmp_path, *FROZEN))
    rough, weights = _one_step(small_config(tmp_path, *FROZEN, "precision=bf16"))

    # bf16 has 8 bits: a relative error of 0.4 % a product, averaged over many.
    assert rough["loss"] == pytest.approx(exact["loss"], rel=0.02)
    assert all(value.dtype in {torch.float32, torch.int64} for value in weights.values())


def test_a_pretrained_part_of_the_head_is_treated_as_the_backbone_is(tmp_path: Path) -> None:
    """With `with_backbone: [aspp]` the ASPP keeps its statistics and learns at the backbone's rate."""
    options = ("optimiser.with_backbone=[aspp]", "batch_norm.backbone=frozen", "optimiser.backbone_lr=0.25")
    with prepared_steps(small_config(tmp_path, *options)) as steps:
        before = {name: value.clone() for name, value in steps.state.model.state_dict().items()}
        steps.step(_first_batch(steps))
        after = steps.state.model.state_dict()
        rates = {id(p): group["base_lr"] for group in steps.state.optimiser.param_groups for p in group["params"]}
        named = dict(steps.state.model.named_parameters())

    statistics = [name for name in before if name.endswith("running_mean")]
    moved = {name.split(".")[0] for name in statistics if not torch.equal(before[name], after[name])}
    assert moved == {"reduce_low", "decoder"}
    assert {rates[id(p)] for name, p in named.items() if name.startswith(("aspp.", "backbone."))} == {0.25}
    assert 0.25 not in {rates[id(p)] for name, p in named.items() if name.startswith(("decoder.", "classifier."))}


def test_freezing_block_1_leaves_block_10_alone(tmp_path: Path) -> None:
    """`backbone.features.1` once froze features 10 to 17 too, because their names begin so."""
    with prepared_steps(small_config(tmp_path, "optimiser.frozen=[backbone.features.1]")) as steps:
        frozen = {name for name, p in steps.state.model.named_parameters() if not p.requires_grad}

    assert frozen
    assert all(name.startswith("backbone.features.1.") for name in frozen)


def test_distrust_is_refused_with_several_subjects(tmp_path: Path) -> None:
    """The teacher is asked about one class; the labels of all others would become 255."""
    teacher = tmp_path / "teacher" / "out"
    run(small_config(tmp_path, steps=1), teacher)
    config = small_config(
        tmp_path, "classes=[background, square, disc]", "palette=[[0,0,0],[9,9,9],[5,5,5]]",
        f"teacher={teacher / 'last.pt'}", "subject=square",
        f"sources=[{{path: {tmp_path / 'data'}, distrust: subject}}]",
    )  # fmt: skip

    with pytest.raises(DataError, match="one subject"):
        training_set_of(config)
