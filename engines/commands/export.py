"""`export`: a checkpoint becomes an engine, or an engine gets graphs in other precisions."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.commands.options import need_torch, wxh
from engines.size import DEFAULT_SIZE, Size

if TYPE_CHECKING:
    from engines.export.publish import Wanted
    from engines.manifest import Graph

__all__ = ["export"]

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
METHODS = ("mse", "percentile", "minmax")


@click.command()
@click.argument("source", metavar="CHECKPOINT|ENGINE", required=False)
@click.option("--voc-weights", type=click.Path(path_type=Path), help="Instead: the Pascal VOC .npz, for development.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the engine.")
@click.option("--size", "sizes", type=wxh, multiple=True, help=f"For each; default: CHECKPOINT's, or {DEFAULT_SIZE}.")
@click.option("--precision", "precisions", type=click.Choice(PRECISIONS), multiple=True, help="Default: fp32.")
@click.option(
    "--batch",
    metavar="N|any",
    default="1",
    callback=lambda _ctx, _option, text: _batch(text),
    help="Pictures a call: a number, or any, for frames of several streams. One stream takes 1 or any.",
)
@click.option("--calib", type=click.Path(path_type=Path), help="Folder of real pictures; int8 needs it.")
@click.option("--calib-prefix", default="", help="Only pictures whose name begins so.")
@click.option("--calib-images", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--calib-method", type=click.Choice(METHODS), default="mse", show_default=True)
@click.option("--samples", type=click.Path(path_type=Path), help="Folder of pictures to compare graph and network on.")
@click.option("--licence", "licences", multiple=True, help="A line about the data's licence, for the manifest.")
def export(
    source: str | None,
    voc_weights: Path | None,
    out: Path | None,
    sizes: tuple[Size, ...],
    precisions: tuple[str, ...],
    batch: int | None,
    calib: Path | None,
    calib_prefix: str,
    calib_images: int,
    calib_method: str,
    samples: Path | None,
    licences: tuple[str, ...],
) -> None:
    """Write one ONNX graph for each size and precision, and the manifest.

    From a CHECKPOINT (.pt) each graph is compared with the network. From an ENGINE (a name or a manifest) its fp32
    graphs are the basis, and the new graphs are added beside them; with --batch any, its graphs of each precision that
    is named (fp32 unless told).
    """
    if (source is None) == (voc_weights is None):
        raise click.UsageError("name a CHECKPOINT (.pt) or an ENGINE, or --voc-weights FILE.npz, and not both")
    is_engine = source is not None and Path(source).suffix != ".pt"
    is_opened = is_engine and batch is None  # graphs that are there, int8 ones included
    if "int8" in precisions and calib is None and not is_opened:
        raise click.UsageError("int8 is calibrated on real pictures; name a folder of them with --calib DIR")
    if is_opened and out is not None:
        raise click.UsageError(f"{source} is an engine: the graphs go beside its own, without --out")
    if is_engine and not is_opened and (out is not None or "fp32" in precisions or not precisions):
        raise click.UsageError(
            f"{source} is an engine: name --precision fp16, bf16 or int8; the graphs go beside its own, without --out"
        )
    if not is_engine and out is None:
        raise click.UsageError("name the engine's folder with --out")
    from engines.export.derive import CalibrationSet
    from engines.export.publish import Wanted

    wanted = Wanted(
        sizes=sizes,
        precisions=precisions or ("fp32",),  # type: ignore[arg-type]  # click has checked them
        batch=batch or 1,
        any_batch=batch is None,
        calibration=None if calib is None else CalibrationSet(calib, calib_prefix, calib_images, calib_method),  # type: ignore[arg-type]
        say=lambda line: click.echo(f"export: {line}", err=True),
    )
    if is_engine:
        assert source is not None
        manifest, graphs = _from_engine(source, wanted, samples or calib)
    else:
        assert out is not None
        manifest, graphs = _from_weights(source, voc_weights, wanted, out, samples or calib, licences)
    for line in _table(manifest.parent, graphs):
        click.echo(line)
    click.echo(f"export: {manifest} lists them")


def _batch(text: str) -> int | None:
    """A number from 1 on; None for any."""
    if text == "any":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"{text!r}; expected a number from 1 on, or any")
    return int(text)


def _from_engine(source: str, wanted: "Wanted", samples: Path | None) -> tuple[Path, "list[Graph]"]:
    from engines.export.publish import add_graphs, letterboxed_samples, open_graphs
    from engines.names import resolve
    from engines.record import manifest_of

    path, manifest = manifest_of(resolve(source))
    fixed = [graph for graph in manifest.graphs if not graph.any_batch]
    sizes = wanted.sizes or list(dict.fromkeys(g.size for g in fixed if g.precision in {"fp32", *wanted.precisions}))
    samples_bgr = [] if samples is None else letterboxed_samples(samples, sizes, manifest.resize)
    add = open_graphs if wanted.any_batch else add_graphs
    return path, add(path, wanted, samples_bgr)


def _from_weights(
    source: str | None,
    voc_weights: Path | None,
    wanted: "Wanted",
    out: Path,
    samples: Path | None,
    licences: tuple[str, ...],
) -> tuple[Path, "list[Graph]"]:
    need_torch()
    from engines.export.publish import engine_from_checkpoint, engine_from_network, letterboxed_samples
    from engines.training.checkpoint import Checkpoint

    if source is not None:
        checkpoint = Checkpoint.load(Path(source))
        size = DEFAULT_SIZE if checkpoint.input is None else checkpoint.input.size
        wanted = replace(wanted, sizes=wanted.sizes or (size,))
        resize = checkpoint.meaning.resize
        samples_bgr = [] if samples is None else letterboxed_samples(samples, wanted.sizes, resize)
        return engine_from_checkpoint(checkpoint, wanted, out, samples_bgr, licences)
    from engines.data.known import VOC
    from engines.models.weights import voc_deeplab
    from engines.spec import Meaning

    assert voc_weights is not None
    wanted = replace(wanted, sizes=wanted.sizes or (DEFAULT_SIZE,))
    return engine_from_network(
        voc_deeplab(voc_weights),
        Meaning(VOC.names, VOC.palette, "person"),
        wanted,
        out,
        [] if samples is None else letterboxed_samples(samples, wanted.sizes),
        name="voc",
        model="deeplabv3, MobileNetV2, the published Pascal VOC weights; for development",
        scores={},
        trained_on=("Pascal VOC 2012 (not trained here)",),
        licences=licences,
    )


def _table(folder: Path, graphs: "list[Graph]") -> list[str]:
    """The graphs with their sizes on disk and how far each is from the network."""
    rows = [("graph", "MB", "largest logit difference", "same labels", "on")]
    for graph in graphs:
        difference = graph.difference
        assert difference is not None, "export measures every graph that it writes"
        told = f"{difference.images} {difference.on}"
        if graph.calibration is not None:
            told += f"; calibrated on {graph.calibration.images} ({graph.calibration.method})"
        rows.append(
            (
                graph.file,
                f"{(folder / graph.file).stat().st_size / 1e6:.1f}",
                f"{difference.logits:.2g}",
                f"{100 * difference.labels:.3f} %",
                told,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in (0, 4) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
