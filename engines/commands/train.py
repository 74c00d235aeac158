"""`train`: from a config to checkpoints."""

from pathlib import Path

import click

from engines.commands.options import need_torch

__all__ = ["train"]


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of checkpoints.")
@click.option("--resume", is_flag=True, help="Go on from OUT/last.pt.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the config.")
def train(config: Path, out: Path, resume: bool, overrides: tuple[str, ...]) -> None:
    """Train by CONFIG (see configs/train/) and keep OUT/best.pt and OUT/last.pt."""
    from configs import load

    need_torch()
    from engines.training.config import TrainConfig
    from engines.training.train import run
    from engines.training.watch import Lines

    outcome = run(load(TrainConfig, config, overrides), out, resume, watchers=[Lines(click.echo)])
    if not outcome.is_finished:
        raise KeyboardInterrupt
    click.echo(f"train: finished after {outcome.step} steps, best mIoU {outcome.best_miou:.4f}, {out / 'best.pt'}")
