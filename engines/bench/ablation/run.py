"""One row and one seed from nothing to its scores.

A training that was stopped goes on from its `last.pt`; one whose outcome is already written is not done again
(the caller looks). Scores are P2 at the profile's size, on whole pictures at the labels' own size.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from configs import load
from engines.bench.ablation.outcome import Outcome, Score
from engines.bench.ablation.plan import Ablation, Profile, Row, config_of
from engines.bench.report import machine_line
from engines.data.datasets import open_dataset
from engines.data.views import Part
from engines.errors import EngineError
from engines.evaluation.evaluate import evaluate
from engines.evaluation.networks import P2Network
from engines.evaluation.segmenters import Averaged, Refined, Segmenter
from engines.models.deeplab import DeepLab, with_output_stride
from engines.spec import InputSpec
from engines.training.checkpoint import Checkpoint
from engines.training.config import TrainConfig, Validation
from engines.training.hardware import device_of
from engines.training.train import run
from engines.training.watch import Lines

__all__ = ["train_and_score"]


def train_and_score(
    plan: Ablation,
    row: Row,
    seed: int,
    profile_name: str,
    out: Path,
    *,
    epochs: float | None = None,
    threads: int | None = None,
    limit: int | None = None,
    say: Callable[[str], None],
) -> Outcome:
    """Train one row with one seed, then score it in every way the profile asks for.

    Args:
        epochs: other than the plan's, for a trial.
        threads: of this training, where several run side by side.
        limit: score so many pictures only, for a trial.

    Raises:
        EngineError: a training that was stopped, or data that cannot be read.
    """
    profile: Profile = getattr(plan, profile_name)
    config = config_of(plan, row, seed, profile, epochs)
    if threads is not None:
        config = config.model_copy(update={"threads": threads})
    last = out / "last.pt"
    start_s = time.monotonic()
    outcome = run(config, out, resume=last.is_file(), watchers=[Lines(say, every=50)])
    if not outcome.is_finished:
        raise KeyboardInterrupt
    minutes = (time.monotonic() - start_s) / 60
    is_whole = len(outcome.losses) == outcome.step  # not gone on with after a stop
    network = Checkpoint.load(last).network().to(device_of(config.device))
    validation = _validation(plan)
    everything = open_dataset(validation, len(config.classes))
    pairs = Part(everything, range(min(limit or len(everything), len(everything))))
    scores = []
    for output_stride, has_crf, has_scales, segmenter in _ways(network, config, plan, profile):
        result = evaluate(segmenter, pairs, metrics=("boundary", "trimap"))
        plain = result.as_json()
        scores.append(
            Score(
                output_stride=output_stride,
                has_crf=has_crf,
                has_scales=has_scales,
                miou=round(result.scores.miou, 5),
                boundary_f=round(result.scores.mean_boundary_f, 5),
                trimap_miou=plain.get("trimap_miou_at_px", {}),
                iou=plain["iou"],
                ms_per_image=round(result.ms_per_image, 1),
            )
        )
        say(f"ablation: {row.name} seed {seed} {segmenter.protocol} OS{output_stride}: mIoU {result.scores.miou:.4f}")
    return Outcome(
        ablation=plan.name,
        row=row.name,
        seed=seed,
        profile=profile_name,
        model=config.model.title,
        policy=row.policy,
        epochs=epochs or plan.epochs,
        steps=config.schedule.steps,
        crop_px=config.augment.crop_px,
        size=str(profile.size),
        minutes=round(minutes, 2) if is_whole else None,
        final_loss=round(statistics.mean(outcome.losses[-20:]), 4) if outcome.losses else None,
        machine=machine_line(),
        scores=tuple(scores),
    )


def _validation(plan: Ablation) -> Validation:
    sets = load(TrainConfig, plan.ground).validation
    if len(sets) != 1:
        raise EngineError(f"{plan.ground}: {len(sets)} validation sets; an ablation is scored on one")
    return sets[0]


def _ways(
    network: DeepLab, config: TrainConfig, plan: Ablation, profile: Profile
) -> Iterator[tuple[int, bool, bool, Segmenter]]:
    """(output stride, with CRF, with scales and flips, segmenter) of every column."""
    for output_stride in profile.output_strides:
        strided = network if output_stride == config.model.output_stride else with_output_stride(network, output_stride)
        at = {
            scale: P2Network(strided, config.classes, InputSpec.of(profile.size.scaled(scale), config.resize))
            for scale in {1.0, *plan.scales}
        }
        averaged = Averaged([at[scale] for scale in plan.scales], flips=True, named="MS + flip")
        for has_scales, segmenter in ((False, at[1.0]), (True, averaged)):
            yield output_stride, False, has_scales, segmenter
            yield output_stride, True, has_scales, Refined(segmenter, plan.crf_preset, plan.crf_iterations)
