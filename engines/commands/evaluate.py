"""`evaluate`: the scores of a checkpoint, a graph or an engine."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.commands.labelled import Labelled, data_options
from engines.commands.lists import Lists
from engines.commands.options import need_torch, wxh
from engines.commands.progress import Progress
from engines.size import DEFAULT_SIZE, Size

if TYPE_CHECKING:
    from engines.evaluation.evaluate import Evaluation, Seen
    from engines.evaluation.targets import OutputStride, Protocol, Target
    from engines.metrics import Metric

__all__ = ["evaluate"]

METRIC_NAMES = ("boundary", "trimap", "calibration", "intervals", "temporal")
"""As `engines.metrics.METRICS`, without importing OpenCV for `--help`."""
N_WORST = 10
STRIDES: "dict[str, OutputStride]" = {"8": 8, "16": 16, "32": 32}


@click.command(cls=Lists)
@click.argument("target", metavar="ENGINE|CHECKPOINT|ONNX")
@data_options
@click.option("--protocol", type=click.Choice(["P1", "P2"]), help="Default: P1 for a checkpoint, P2 for a graph.")
@click.option("--size", type=wxh, default=str(DEFAULT_SIZE), help="Of P2 with a checkpoint.", show_default=True)
@click.option("--backend", default="auto", show_default=True)
@click.option(
    "--scales", type=float, multiple=True, default=(1.0,), help="Average over inputs of these sizes: 0.5 1 1.5."
)
@click.option("--flip", is_flag=True, help="Average with the mirrored picture.")
@click.option("--output-stride", type=click.Choice(list(STRIDES)), help="Other than the checkpoint was trained with.")
@click.option(
    "--crf",
    metavar="PRESET",
    help="Dense CRF after it: deeplab or crf-readme; auto: as the manifest says, and as a stream.",
)
@click.option(
    "--metrics",
    type=click.Choice([*METRIC_NAMES, "all", "none"]),
    multiple=True,
    help="Beside IoU; default all of these, temporal for clips and frames only.",
)
@click.option("--contact-sheet", type=click.Path(path_type=Path, dir_okay=False), help="The ten worst, as a PNG.")
@click.option(
    "--save-predictions", type=click.Path(path_type=Path, file_okay=False), help="Label maps as DIR/NAME.png."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the scores here.")
@click.option("--record", metavar="NAME", help="Note IoU and mIoU as PROTOCOL/NAME in the checkpoint or manifest.")
def evaluate(
    target: str,
    labelled: Labelled,
    protocol: "Protocol | None",
    size: Size,
    backend: str,
    scales: tuple[float, ...],
    flip: bool,
    output_stride: str | None,
    crf: str | None,
    metrics: tuple[str, ...],
    contact_sheet: Path | None,
    save_predictions: Path | None,
    json_path: Path | None,
    record: str | None,
) -> None:
    """Score a checkpoint (P1 or P2), an ONNX file or an engine (P2) on pictures with masks."""
    from engines.evaluation.targets import is_checkpoint, opened

    if is_checkpoint(target):
        need_torch()
    elif protocol == "P1":
        raise click.UsageError(f"P1 is the protocol of checkpoints; {target} has one fixed size, so it is P2")
    if record and (scales != (1.0,) or flip or crf or output_stride):
        raise click.UsageError("--record notes what is served; leave out --scales, --flip, --crf, --output-stride")
    if any(not 0 < scale <= 4 for scale in scales):
        raise click.UsageError(f"--scales {' '.join(map(str, scales))}: expected factors above 0 and up to 4")
    with opened(
        target,
        protocol=protocol,
        size=size,
        backend=backend,
        scales=scales,
        flips=flip,
        output_stride=STRIDES[output_stride] if output_stride else None,
        crf=crf,
    ) as found:
        result = _scored(found, labelled, _metrics(metrics, labelled), contact_sheet, save_predictions)
    _tell(found, labelled, result)
    if contact_sheet is not None:
        click.echo(f"evaluate: the worst pictures are in {contact_sheet}")
    if json_path is not None:
        result.write(json_path, target=target, **labelled.as_json())
    if record:
        click.echo(f"evaluate: noted in {_recorded(target, found, result, record)}")


def _metrics(asked: tuple[str, ...], labelled: Labelled) -> "tuple[Metric, ...]":
    from engines.metrics import METRICS

    if "none" in asked:
        return ()
    if not asked or "all" in asked:
        wants_time = "all" in asked or labelled.is_ordered
        return tuple(metric for metric in METRICS if metric != "temporal" or wants_time)
    return tuple(metric for metric in METRICS if metric in asked)


def _scored(
    found: "Target",
    labelled: Labelled,
    metrics: "tuple[Metric, ...]",
    contact_sheet: Path | None,
    save_predictions: Path | None,
) -> "Evaluation":
    from engines.evaluation.contact_sheet import WorstPictures
    from engines.evaluation.evaluate import evaluate as scored

    pairs, n = labelled.open(found.segmenter.classes)
    worst = WorstPictures(N_WORST)
    with Progress("evaluate", n) as progress:

        def watch(seen: "Seen") -> None:
            progress.step()
            if contact_sheet is not None:
                worst.add(seen)
            if save_predictions is not None:
                _save(seen, save_predictions)

        result = scored(found.segmenter, pairs, metrics=metrics, watch=watch)
    if contact_sheet is not None:
        worst.write(contact_sheet, found.segmenter.classes, found.palette)
    return result


def _save(seen: "Seen", folder: Path) -> None:
    import cv2

    from engines.errors import EngineError

    path = folder / f"{seen.pair.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), seen.label_map):
        raise EngineError(f"{path}: the prediction cannot be written; is the disk full, or the folder read-only?")


def _tell(found: "Target", labelled: Labelled, result: "Evaluation") -> None:
    from engines.evaluation.score_table import evaluation_lines

    click.echo(f"{result.protocol} {found.title}")
    click.echo(f"{labelled.title}: {result.scores.n_images} pictures, pooled")
    for line in evaluation_lines(result):
        click.echo(line)


def _recorded(target: str, found: "Target", result: "Evaluation", name: str) -> Path:
    scores = result.recorded(f"{found.key}/{name}")
    if found.spec is not None:
        from engines.record import record_scores

        return record_scores(found.spec, scores)
    from engines.training.checkpoint import Checkpoint

    path = Path(target)
    checkpoint = Checkpoint.load(path)
    checkpoint.scores.update(scores)
    checkpoint.save(path)
    return path
