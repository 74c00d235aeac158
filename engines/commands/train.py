"""`train`: from a config to checkpoints, a report and, where the config has `export`, an engine."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.commands.options import need_torch

if TYPE_CHECKING:
    from engines.training.config import TrainConfig

__all__ = ["train"]


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of checkpoints.")
@click.option("--resume", is_flag=True, help="Go on from OUT/last.pt.")
@click.option("--dry-run", is_flag=True, help="Take three steps, write nothing, say what would happen.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the config.")
def train(config: Path, out: Path, resume: bool, dry_run: bool, overrides: tuple[str, ...]) -> None:
    """Train by CONFIG (see configs/train/): OUT gets best.pt, last.pt, report.md and, by `export`, an engine."""
    from configs import load

    need_torch()
    from engines.training.config import TrainConfig
    from engines.training.delivery import deliver
    from engines.training.ready import check_export, check_out
    from engines.training.seen import watching
    from engines.training.train import run

    loaded = load(TrainConfig, config, overrides)
    if dry_run:
        _rehearse(loaded)
        return
    check_out(out, resume)
    check_export(loaded)
    command = shlex.join(["python", "-m", "engines", *sys.argv[1:]])
    with watching(command, click.echo, sys.stdout.isatty()) as watchers:
        outcome = run(loaded, out, resume, watchers)
    if not outcome.is_finished:
        raise KeyboardInterrupt
    if not outcome.is_first:  # of several processes one speaks and exports for all
        return
    click.echo(f"train: finished after {outcome.step} steps, best mIoU {outcome.best_miou:.4f}, {out / 'best.pt'}")
    click.echo(f"train: read {out / 'report.md'}; tensorboard --logdir {shlex.quote(str(out))}")
    if loaded.export is not None and outcome.best_path is not None:
        manifest = deliver(loaded, outcome.best_path, out, lambda line: click.echo(f"train: {line}"))
        click.echo(f"train: {manifest} is an engine: run_stream.py run SOURCE --engine {shlex.quote(str(manifest))}")


def _rehearse(config: "TrainConfig") -> None:
    from engines.training.rehearsal import rehearsed

    rehearsal = rehearsed(config)
    for line in rehearsal.lines:
        click.echo(line)
    click.echo(
        f"estimate: {rehearsal.s_per_step:.2f} s a step, {rehearsal.s_per_evaluation:.0f} s an evaluation, "
        f"{_told(rehearsal.total_s)} in all; peak memory {rehearsal.peak_bytes / 1e9:.2f} GB; nothing was written"
    )


def _told(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 2 * 3600 else f"{seconds / 60:.1f} min"
