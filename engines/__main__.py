"""`python -m engines`: train, evaluate, export, predict, inspect.

The workshop's command line. An error that was foreseen is one line on stderr: exit 2 for wrong use, 1 for a
failed run, 130 when interrupted; `--traceback` before the command shows the rest. Only training, exporting
and checkpoints need torch; it is imported by the commands that do.
"""

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from configs import ConfigError
from engines.errors import BackendUnavailable, EngineError, EngineNotFound, InputSizeError

if TYPE_CHECKING:
    from engines.data.datasets import Pair
    from engines.evaluate import Evaluation

Size = tuple[int, int]


def wxh(text: str) -> Size:
    """`WxH` on the command line, (width, height) inside."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise click.BadParameter(f"{text!r}: expected WIDTHxHEIGHT, such as 512x288")
    return int(width), int(height)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
def cli(traceback: bool) -> None:
    """Train networks, score them, and turn them into engines."""


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of checkpoints.")
@click.option("--resume", is_flag=True, help="Go on from OUT/last.pt.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the config.")
def train(config: Path, out: Path, resume: bool, overrides: tuple[str, ...]) -> None:
    """Train by CONFIG (see configs/train/) and keep OUT/best.pt and OUT/last.pt."""
    from configs import load

    _need_torch()
    from engines.training.config import TrainConfig
    from engines.training.train import run

    outcome = run(load(TrainConfig, config, overrides), out, resume=resume, say=click.echo)
    if not outcome.is_finished:
        raise KeyboardInterrupt
    click.echo(f"train: finished after {outcome.step} steps, best P1 mIoU {outcome.best_miou:.4f}, {out / 'best.pt'}")


@cli.command()
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


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option("--voc-weights", type=click.Path(path_type=Path), help="Instead: the Pascal VOC .npz, for development.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the engine.")
@click.option("--size", "sizes", type=wxh, multiple=True, default=["512x288"], help="Repeat for several.")
@click.option("--samples", type=click.Path(path_type=Path), help="Folder of images to compare graph and network on.")
@click.option("--licence", "licences", multiple=True, help="A line about the data's licence, for the manifest.")
def export(
    checkpoint: Path | None,
    voc_weights: Path | None,
    out: Path,
    sizes: tuple[Size, ...],
    samples: Path | None,
    licences: tuple[str, ...],
) -> None:
    """Write one ONNX graph a size, checked against CHECKPOINT, and the manifest."""
    if (checkpoint is None) == (voc_weights is None):
        raise click.UsageError("name a CHECKPOINT (.pt), or --voc-weights FILE.npz, and not both")
    _need_torch()
    from engines.publish import engine_from_checkpoint, engine_from_network, letterboxed_samples
    from engines.training.checkpoint import Checkpoint

    samples_bgr = [] if samples is None else letterboxed_samples(samples, sizes)
    if checkpoint is not None:
        manifest = engine_from_checkpoint(Checkpoint.load(checkpoint), sizes, out, samples_bgr, licences)
    else:
        from engines.export import Meaning
        from engines.models.weights import VOC_CLASSES, voc_deeplab, voc_palette

        assert voc_weights is not None
        manifest = engine_from_network(
            voc_deeplab(voc_weights),
            Meaning(VOC_CLASSES, voc_palette(), "person"),
            sizes,
            out,
            samples_bgr,
            name="voc",
            model="deeplabv3, MobileNetV2, the published Pascal VOC weights; for development",
            scores={},
            trained_on=("Pascal VOC 2012 (not trained here)",),
            licences=licences,
        )
    click.echo(f"export: {manifest} and {len(sizes)} graph{'s' if len(sizes) > 1 else ''} beside it")


@cli.command()
@click.argument("engine")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--backend", default="auto", show_default=True)
def predict(engine: str, images: tuple[Path, ...], out: Path, backend: str) -> None:
    """Write OUT/NAME.mask.png (class indices) and OUT/NAME.overlay.png for each image."""
    import cv2

    from engines.data.datasets import read_image
    from engines.overlay import overlay
    from engines.predict import segment_image
    from engines.runtime import open_engine

    out.mkdir(parents=True, exist_ok=True)
    with open_engine(engine, backend=backend, outputs=_planes(engine)) as opened:
        for path in images:
            image_bgr = read_image(path)
            labels = segment_image(opened, image_bgr).labels
            cv2.imwrite(str(out / f"{path.stem}.mask.png"), labels)
            cv2.imwrite(str(out / f"{path.stem}.overlay.png"), overlay(image_bgr, labels, opened.spec))
            click.echo(f"predict: {path} -> {out / path.stem}.overlay.png")


@cli.command()
@click.argument("engine")
def inspect(engine: str) -> None:
    """Print what ENGINE's manifest says, and the inputs and outputs of its graph."""
    from engines.names import read_manifest, resolve
    from engines.runtime.graph_facts import read_graph

    spec = resolve(engine)
    facts = read_graph(spec.path)
    click.echo(f"{spec.label}: {spec.path}")
    for kind, planes in (("input", facts.inputs), ("output", facts.outputs)):
        for name, (dtype, shape) in planes.items():
            click.echo(f"  {kind:6} {name}: {dtype} {' x '.join(map(str, shape))}")
    for key, value in facts.metadata.items():
        click.echo(f"  metadata {key}: {value}")
    manifest_path = spec.path.parent / f"{spec.name}.json"
    if manifest_path.is_file():
        click.echo(f"{manifest_path}:")
        click.echo(read_manifest(manifest_path).model_dump_json(indent=2))


def main() -> None:
    """Run the command line; expected errors become one line and an exit code."""
    wants_traceback = "--traceback" in sys.argv
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except (ConfigError, EngineError) as error:
        if wants_traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, (ConfigError, EngineNotFound, InputSizeError)) else 1)


def _evaluated_checkpoint(
    path: Path, data: Path, prefix: str, protocol: str, size: Size, limit: int | None, record: str | None
) -> "Evaluation":
    _need_torch()
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


def _planes(engine: str) -> tuple[str, ...]:
    from engines.names import resolve

    return tuple(name for name in resolve(engine).output.names if name != "logits")


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable("this command needs torch; install it: pip install 'segstream[train]'") from error


if __name__ == "__main__":
    main()
