"""`models`: what can be built, and what each weighs."""

import click

from engines.commands.options import need_torch, wxh
from engines.size import Size

__all__ = ["models"]

HEADER = f"{'version':8} {'backbone':20} {'stride':>6} {'parameters':>11} {'GMAC':>8} {'sees':>12}"


@click.command()
@click.option("--size", type=wxh, default="513x513", show_default=True, help="Of the image that GMAC are counted for.")
@click.option("--output-stride", type=click.Choice(["8", "16", "32"]), help="Default: each paper's own.")
@click.option("--version", "versions", multiple=True, help="Only this one (v1, v2, v3, v3plus, voc); repeat for more.")
@click.option("--backbone", "backbones", multiple=True, help="Only this one; repeat for more.")
@click.option("--classes", "n_classes", type=click.IntRange(min=2), default=21, show_default=True)
def models(
    size: Size, output_stride: str | None, versions: tuple[str, ...], backbones: tuple[str, ...], n_classes: int
) -> None:
    """List version x backbone with the papers' channels: parameters, GMAC, receptive field.

    v1 and v2: fc6 and fc7 with 1024 channels (v2 on VGG-16 only). v3: dense ASPP with 256. v3plus: separable ASPP and
    decoder with 256, 48 low-level channels. GMAC are 10^9 multiply-adds of one image.
    """
    need_torch()
    import torch

    from engines.models.config import BACKBONE_NAMES, PUBLISHED_AT_STRIDE, VERSIONS
    from engines.models.deeplab import build
    from engines.models.facts import facts_of, papers_config

    for option, asked, known in (("--version", versions, VERSIONS), ("--backbone", backbones, BACKBONE_NAMES)):
        if unknown := set(asked) - set(known):
            raise click.BadParameter(f"{', '.join(sorted(unknown))}: expected {', '.join(known)}", param_hint=option)
    click.echo(f"{size}, {n_classes} classes")
    click.echo(HEADER)
    for version in VERSIONS:
        for backbone in BACKBONE_NAMES:
            if version not in (versions or VERSIONS) or backbone not in (backbones or BACKBONE_NAMES):
                continue
            if version == "voc" and backbone != "mobilenet_v2":
                continue
            stride = int(output_stride or PUBLISHED_AT_STRIDE[version])
            config = papers_config(version, backbone, stride)
            with torch.device("meta"):
                model = build(config, n_classes)
            facts = facts_of(model, size.height, size.width)
            sees = f"{facts.receptive_px} px" + (" + all" if facts.sees_whole_image else "")
            click.echo(
                f"{version:8} {backbone:20} {stride:6} {facts.n_parameters / 1e6:9.2f} M {facts.gmac:8.2f} {sees:>12}"
            )
    click.echo("sees: the square of input pixels under one output pixel; + all: means over the whole image join in")
