"""`evaluate`: the scores of a checkpoint, a graph or an engine."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.commands.options import Size, need_torch, wxh

if TYPE_CHECKING:
    from engines.data.datasets import Pair
    from engines.evaluate import Evaluation

__all__ = ["evaluate"]


@click.command()
@click.argument("target", metavar="ENGINE|CHECKPOINT|ONNX")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with images/ and masks/.")
@click.option("--format", "data_format", type=click.Choice(["folder"]), default="folder", show_default=True)
@click.option("--prefix", default="", help="Only images whose name begins so.")
@click.option("--protocol", type=click.Choice(["P1", "P2"]), help="Default: P1 for a checkpoint, P2 for a graph.")
@click.option("--size", type=wxh, default="512x288", help="Of P2 with a checkpoint.", show_default=True)
@click.option("--backend", default="auto", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many images.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the scores here.")
@click.option("--record", metavar="NAME", help="Note IoU and mIoU as PROTOCOL/NAME in the checkpoint or manifest.")
def evaluate(
    target: str,
    data: Path,
    data_format: str,
    prefix: str,
    protocol: str | None,
    size: Size,
    backend: str,
    limit: int | None,
    json_path: Path | None,
    record: str | None,
) -> None:
    """Score a checkpoint (P1 or P2), an ONNX file or an engine (P2) on pictures with masks."""
    if Path(target).suffix == ".pt":
        result = _evaluated_checkpoint(Path(target), data, prefix, protocol or "P1", size, limit, record)
    elif protocol == "P1":
        raise click.UsageError(f"P1 is the protocol of checkpoints; {target} has one fixed size, so it is P2")
    else:
        result = _evaluated_engine(target, data, prefix, backend, limit, record)
    if json_path is not None:
        result.write(json_path, target=target, data=str(data), prefix=prefix, format=data_format)
    scores = result.scores
    told = ", ".join(f"{name} {value:.4f}" for name, value in scores.iou.items())
    click.echo(f"{result.protocol} {data}{f' {prefix}*' if prefix else ''}: {scores.n_images} images, pooled")
    click.echo(f"  IoU {told}; mIoU {scores.miou:.4f}")
    click.echo(f"  pixel accuracy {scores.pixel_accuracy:.4f}, boundary F (2 px) {scores.mean_boundary_f:.4f}")
    click.echo(f"  {result.ms_per_image:.1f} ms per image (median; resize, network, way back)")


def _evaluated_checkpoint(
    path: Path, data: Path, prefix: str, protocol: str, size: Size, limit: int | None, record: str | None
) -> "Evaluation":
    need_torch()
    from engines.evaluate import evaluate as scored
    from engines.models.segmenters import P1Network, P2Network
    from engines.spec import InputSpec
    from engines.training.checkpoint import Checkpoint

    checkpoint = Checkpoint.load(path)
    classes, network = checkpoint.meaning.classes, checkpoint.network()
    served = InputSpec(size[1], size[0], checkpoint.meaning.resize)
    segmenter = P1Network(network, classes) if protocol == "P1" else P2Network(network, classes, served)
    result = scored(segmenter, _pairs(data, len(classes), prefix, limit))
    if record:
        key = protocol if protocol == "P1" else f"P2@{size[0]}x{size[1]}"
        checkpoint.scores.update(result.recorded(f"{key}/{record}"))
        checkpoint.save(path)
    return result


def _evaluated_engine(
    target: str, data: Path, prefix: str, backend: str, limit: int | None, record: str | None
) -> "Evaluation":
    from engines.evaluate import P2Engine
    from engines.evaluate import evaluate as scored
    from engines.runtime import open_engine

    with open_engine(target, backend=backend, outputs=("logits",)) as engine:
        result = scored(P2Engine(engine), _pairs(data, len(engine.spec.output.classes), prefix, limit))
    if record:
        from engines.publish import record_scores

        click.echo(f"evaluate: noted in {record_scores(engine.spec, result.recorded(f'P2/{record}'))}")
    return result


def _pairs(data: Path, n_classes: int, prefix: str, limit: int | None) -> "Iterable[Pair]":
    from engines.data.datasets import Folder

    return islice(Folder(data, n_classes, prefix), limit)
