"""`build`: an ONNX graph becomes a TensorRT plan, kept where a stream finds it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.commands.progress import Progress

if TYPE_CHECKING:
    from engines.plans.key import Batches
    from engines.plans.progress import Phases

__all__ = ["build"]

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@click.command()
@click.argument("engine", metavar="ENGINE|ONNX")
@click.option("--precision", type=click.Choice(PRECISIONS), help="Which of the engine's graphs; none is converted.")
@click.option("--backend", type=click.Choice(("auto", "tensorrt", "tensorrt_rtx")), default="auto", show_default=True)
@click.option("--opt-level", type=click.IntRange(0, 5), default=3, show_default=True, help="How long to search.")
@click.option("--tf32/--no-tf32", default=True, show_default=True, help="Whether fp32 may be rounded on tensor cores.")
@click.option("--batches", metavar="MIN:USUAL:MAX", help="For a graph that takes any batch; default: 1:1:8.")
@click.option("--compute-capability", metavar="X.Y", help="tensorrt_rtx: for this kind of GPU alone; Turing needs 7.5.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; default: the user's cache.")
@click.option("--force", is_flag=True, help="Build even where there is a plan, and replace it.")
def build(
    engine: str,
    precision: str | None,
    backend: str,
    opt_level: int,
    tf32: bool,
    batches: str | None,
    compute_capability: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Make a TensorRT plan of ENGINE, a name or an .onnx file, or find the one that is there.

    A plan belongs to one graph, one version of TensorRT and one kind of GPU. tensorrt builds on the GPU that will run
    it; tensorrt_rtx needs no GPU to build, and its plans are for RTX cards from Ampere on.
    """
    from engines.names import resolve
    from engines.plans.builder import build_plan, dynamic_batches
    from engines.plans.cache import PlanCache, plan_folders
    from engines.plans.gpu import gpu_here
    from engines.plans.key import PlanOptions, Target
    from engines.plans.library import find_library

    spec = resolve(_with_precision(engine, precision))
    library = find_library(backend)
    gpu, _ = gpu_here()
    target = Target.of(library, gpu, compute_capability)
    options = PlanOptions(
        opt_level=opt_level, tf32=tf32, batches=dynamic_batches(spec, None if batches is None else _batches(batches))
    )
    cache = PlanCache(out or plan_folders()[-1])
    with _BuildLine(f"build {spec.label}") as line:
        built = build_plan(spec, library, target, options, cache, gpu=gpu, force=force, watch=line.show)
    manifest = built.plan.manifest
    for warning in built.warnings:
        click.echo(f"build: {' '.join(warning.split())[:300]}", err=True)
    where = f"{target.gpu_name} GPU, compute capability {target.compute_capability}"
    done = "was there" if built.was_there else f"built in {manifest.facts.seconds:.1f} s"
    click.echo(f"{spec.label} for {library.label}, {where}: {done}, {manifest.plan_bytes / 1e6:.1f} MB")
    click.echo(f"build: {built.plan.path}")


class _BuildLine(Progress):
    """The line of a build: share, phase, time gone and to go."""

    def __init__(self, label: str) -> None:
        super().__init__(label, None)
        self._told = ""

    def show(self, phases: "Phases") -> None:
        """Say where a build is; may be called as often as one likes."""
        gone_s, left_s = phases.seconds()
        to_go = "" if left_s is None else f", about {left_s:.0f} s to go"
        self._told = f"{self.label}: {phases.share:.0%}, {phases.doing.lower()}, {gone_s:.0f} s gone{to_go}"
        self.step()

    def _line(self, now_s: float) -> str:
        return self._told


def _with_precision(engine: str, precision: str | None) -> str:
    if precision is None:
        return engine
    if Path(engine).suffix == ".onnx":
        raise click.UsageError(f"{engine} has the precision it was exported with; --precision picks among an engine's")
    if engine.rpartition(":")[2] in PRECISIONS:
        raise click.UsageError(f"{engine} names a precision already; leave --precision {precision} out")
    return f"{engine}:{precision}"


def _batches(text: str) -> "Batches":
    from pydantic import ValidationError

    from engines.plans.key import Batches

    try:
        smallest, usual, largest = (int(part) for part in text.split(":"))
        return Batches(smallest=smallest, usual=usual, largest=largest)
    except (ValueError, ValidationError):
        raise click.BadParameter(
            f"{text!r}; expected three numbers from 1 on that do not fall, as 1:4:8", param_hint="--batches"
        ) from None
