"""`export`: a checkpoint becomes an engine."""

from pathlib import Path

import click

from engines.commands.options import Size, need_torch, wxh

__all__ = ["export"]


@click.command()
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
    need_torch()
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
