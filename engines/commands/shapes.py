"""`shapes-clip`: something for a toy engine to look at."""

from pathlib import Path

import click

from engines.commands.options import wxh
from engines.size import Size

__all__ = ["shapes_clip"]


@click.command("shapes-clip")
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--shapes", "n_shapes", type=click.IntRange(1, 4), default=1, show_default=True, help="Circle, square...")
@click.option("--size", type=wxh, default="640x360", show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True)
def shapes_clip(out: Path, n_shapes: int, size: Size, seconds: float) -> None:
    """Write a video of moving shapes to OUT, for an engine trained by configs/train/toy.yaml."""
    from engines.data.moving_shapes import MovingShapes, write_clip

    n_frames = max(1, round(seconds * 30))
    write_clip(out, MovingShapes(n_shapes + 1, *size), n_frames)
    click.echo(f"shapes-clip: {out}, {n_frames} frames of {size} at 30 fps")
