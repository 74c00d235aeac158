"""`bench`: how fast loader, training, evaluation and every network are; the ablation."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.commands.options import need_torch

if TYPE_CHECKING:
    from engines.bench.report import Comparison
    from engines.training.config import TrainConfig

__all__ = ["bench"]

CONFIG = "configs/train/toy.yaml"
"""Needs no data."""
_config = click.argument("config", type=click.Path(path_type=Path), default=CONFIG)
_overrides = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the config."
)
_json = click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
_rounds = click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)


@click.group()
def bench() -> None:
    """Measure: each benchmark takes turns with what it is compared to, in one process."""


@bench.command()
@_config
@_overrides
@click.option("--steps", type=click.IntRange(min=1), default=8, show_default=True, help="Batches a round.")
@_rounds
@_json
def loader(config: Path, overrides: tuple[str, ...], steps: int, rounds: int, json_path: Path | None) -> None:
    """Crops a second of CONFIG's loader alone, against its training's own speed (bar: twice)."""
    from engines.bench.loader import loader_rate

    _tell(loader_rate(_loaded(config, overrides), steps, rounds), json_path)


@bench.command("train")
@_config
@_overrides
@click.option("--steps", type=click.IntRange(min=1), default=8, show_default=True, help="Counted steps a round.")
@_rounds
@_json
def train_(config: Path, overrides: tuple[str, ...], steps: int, rounds: int, json_path: Path | None) -> None:
    """Pictures a second of CONFIG's whole training, against a bare loop on ready tensors (bar: 0.9)."""
    from engines.bench.training import training_rate

    _tell(training_rate(_loaded(config, overrides), steps, rounds), json_path)


@bench.command("evaluate")
@click.argument("engine", default="person")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Pictures with masks.")
@click.option("--format", "data_format", default=None, help="Of the data; by default a folder.")
@click.option("--split", default="", help="Part of the data set.")
@click.option("--prefix", default="", help="Only pictures whose name begins so.")
@click.option("--backend", default="auto", show_default=True)
@click.option("--images", type=click.IntRange(min=1), default=40, show_default=True, help="A round, at most.")
@_rounds
@_json
def evaluate_(
    engine: str,
    data: Path,
    data_format: str | None,
    split: str,
    prefix: str,
    backend: str,
    images: int,
    rounds: int,
    json_path: Path | None,
) -> None:
    """Pictures a second of ENGINE's evaluation, against bare inference (bar: 0.8)."""
    from configs import ConfigError
    from engines.bench.evaluation import evaluation_rate
    from engines.data.datasets import FORMATS, DatasetOptions, Format, open_dataset
    from engines.runtime import open_engine

    if data_format is not None and data_format not in FORMATS:
        raise ConfigError(f"--format {data_format!r}; expected one of {', '.join(FORMATS)}")
    options = DatasetOptions(
        path=data, format=None if data_format is None else Format(data_format), split=split, prefix=prefix
    )
    with open_engine(engine, backend=backend, outputs=("logits",)) as opened:
        pairs = open_dataset(options, len(opened.spec.output.classes))
        _tell(evaluation_rate(opened, pairs, images, rounds), json_path)


@bench.command()
@click.option("--records", type=click.Path(path_type=Path), default="docs/bench/speed.jsonl", show_default=True)
@click.option("--page", type=click.Path(path_type=Path), default="docs/speed.md", show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), default="docs/speed.png", show_default=True)
@click.option("--only", multiple=True, metavar="TEXT", help="Networks whose name has this in it; repeat for several.")
@click.option("--again", is_flag=True, help="Measure what is already in the records too.")
@click.option("--budget", type=click.FloatRange(min=0), default=20.0, show_default=True, help="Seconds a cell.")
@click.option("--picture", type=click.Path(path_type=Path), help="A photograph for the CRF, whose time depends on it.")
@click.option("--page-only", is_flag=True, help="Measure nothing; write table and plot from the records.")
def speed(
    records: Path,
    page: Path,
    plot: Path,
    only: tuple[str, ...],
    again: bool,
    budget: float,
    picture: Path | None,
    page_only: bool,
) -> None:
    """Time every version of DeepLab on every backend here; write the table and the plot of docs/speed.md."""
    need_torch()
    from engines.bench.speed.page import write_page
    from engines.bench.speed.records import Records
    from engines.bench.speed.series import measure_missing

    known = Records(records)
    if not page_only:
        measure_missing(known, only, budget, picture, again=again, say=click.echo)
    for path in write_page(known, page, plot):
        click.echo(f"speed: wrote {path}")


@bench.command()
@click.argument("plan", type=click.Path(path_type=Path), default="configs/ablation/camvid.yaml")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="runs/ablation", show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default="docs/ablation", show_default=True)
@click.option("--page", type=click.Path(path_type=Path), default="docs/ablation.md", show_default=True)
@click.option("--only", "rows", multiple=True, metavar="ROW", help="Repeat for several.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Repeat for several; by default the plan's.")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="Other than the plan's, for a trial.")
@click.option("--limit", type=click.IntRange(min=1), help="Score so many pictures only, for a trial.")
@click.option("--profile", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings side by side.")
@click.option("--threads", type=click.IntRange(min=1), help="Of each training; by default the ground config's.")
@click.option("--page-only", is_flag=True, help="Train nothing; write the tables from the results.")
@click.option("--no-page", is_flag=True, help="Leave the page alone.")
def ablation(
    plan: Path,
    out: Path,
    results: Path,
    page: Path,
    rows: tuple[str, ...],
    seeds: tuple[int, ...],
    epochs: float | None,
    limit: int | None,
    profile: str,
    jobs: int,
    threads: int | None,
    page_only: bool,
    no_page: bool,
) -> None:
    """Train and score every row and seed of PLAN that has no result yet; write the tables of docs/ablation.md.

    A trial (--epochs, --limit) writes its results beside its checkpoints and leaves the page alone.
    """
    need_torch()
    from configs import load
    from engines.bench.ablation.jobs import Job, jobs_to_do, side_by_side
    from engines.bench.ablation.outcome import outcomes_in
    from engines.bench.ablation.page import tables
    from engines.bench.ablation.plan import Ablation
    from engines.bench.ablation.run import train_and_score
    from engines.bench.pages import fill

    loaded = load(Ablation, plan)
    is_trial = epochs is not None or limit is not None
    results = out / "results" if is_trial and results == Path("docs/ablation") else results
    chosen = _profile() if profile == "auto" else profile
    wanted_seeds = seeds or loaded.seeds
    if not page_only:
        todo, done = jobs_to_do(loaded, rows, wanted_seeds, chosen, results)
        click.echo(f"ablation: {len(todo)} trainings to do, {len(done)} done already; profile {chosen}")

        def alone(job: Job) -> None:
            outcome = train_and_score(
                loaded, loaded.row(job.row), job.seed, chosen, out / job.folder,
                epochs=epochs, threads=threads, limit=limit, say=click.echo,
            )  # fmt: skip
            click.echo(f"ablation: wrote {outcome.write(results)}")

        if jobs == 1 or len(todo) < 2:
            for job in todo:
                alone(job)
        else:
            shared = [str(plan), "--out", str(out), "--results", str(results), "--profile", chosen, "--no-page"]
            shared += [] if epochs is None else ["--epochs", str(epochs)]
            shared += [] if limit is None else ["--limit", str(limit)]
            shared += ["--threads", str(threads or _threads_each(jobs))]
            side_by_side(
                todo,
                jobs,
                lambda job: ["bench", "ablation", *shared, "--only", job.row, "--seed", str(job.seed)],
                out,
                click.echo,
            )
    if not is_trial and not no_page:
        fill(page, tables(loaded, outcomes_in(results), loaded.seeds))
        click.echo(f"ablation: wrote the tables of {page}")


def _loaded(config: Path, overrides: tuple[str, ...]) -> "TrainConfig":
    need_torch()
    from configs import load
    from engines.training.config import TrainConfig

    return load(TrainConfig, config, overrides)


def _tell(comparison: "Comparison", json_path: Path | None) -> None:
    for line in comparison.lines():
        click.echo(line)
    if json_path is not None:
        comparison.write(json_path)
        click.echo(f"bench: wrote {json_path}")


def _profile() -> str:
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def _threads_each(jobs: int) -> int:
    from engines.machine import usable_cores

    return max(1, usable_cores() // jobs)
