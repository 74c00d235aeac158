"""`tune-batch`: the largest batch that fits this machine."""

from pathlib import Path

import click

from engines.commands.options import need_torch

__all__ = ["tune_batch"]


@click.command("tune-batch")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the config.")
@click.option("--memory-gb", type=click.FloatRange(min=0.01), help="Stay below; by default 0.8 of what is free.")
@click.option("--most", type=click.IntRange(min=1), default=256, show_default=True, help="Try no more crops at once.")
def tune_batch(config: Path, overrides: tuple[str, ...], memory_gb: float | None, most: int) -> None:
    """Try how many crops of CONFIG fit at once, how fast each size is, and say what to set."""
    from configs import load

    need_torch()
    from engines.training.config import TrainConfig
    from engines.training.hardware import device_of
    from engines.training.rehearsal import SHARE_OF_MEMORY, available_bytes, largest_batch, trials

    loaded = load(TrainConfig, config, overrides)
    device = device_of(loaded.device)
    budget = int(memory_gb * 1e9) if memory_gb else int(SHARE_OF_MEMORY * available_bytes(device))
    click.echo(f"tune-batch: {device}, at most {budget / 1e9:.1f} GB")
    tried = []
    for trial in trials(loaded, most, budget):
        tried.append(trial)
        click.echo(f"  {trial.n:4} crops: {trial.images_per_s:7.1f} images/s, peak {trial.peak_bytes / 1e9:.2f} GB")
    largest = min(most, largest_batch(tried, budget))
    fastest = max(tried, key=lambda trial: trial.images_per_s)
    click.echo(f"tune-batch: {largest} crops fit at once; {fastest.n} were fastest of those tried")
    batch = loaded.schedule.batch
    if batch > largest:
        parts = next(n for n in range(1, batch + 1) if batch % n == 0 and batch // n <= largest)
        click.echo(f"tune-batch: schedule.batch={batch} needs schedule.accumulate={parts}")
    else:
        click.echo(f"tune-batch: schedule.batch={batch} fits as it is")
