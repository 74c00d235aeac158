"""`predict` and `inspect`: what an engine makes of pictures, and what it says of itself."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.errors import EngineError

if TYPE_CHECKING:
    from engines.manifest import Graph

__all__ = ["inspect", "predict"]


@click.command()
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
            made = {"mask": labels, "overlay": overlay(image_bgr, labels, opened.spec)}
            for kind, picture in made.items():
                if not cv2.imwrite(str(out / f"{path.stem}.{kind}.png"), picture):
                    raise EngineError(
                        f"{out / path.stem}.{kind}.png: cannot be written; is the disk full, or the folder read-only?"
                    )
            click.echo(f"predict: {path} -> {out / path.stem}.overlay.png")


@click.command()
@click.argument("engine", metavar="ENGINE|PLAN")
def inspect(engine: str) -> None:
    """Print what ENGINE's manifest says, the inputs and outputs of its graph, and which plans of it are kept.

    Of a PLAN (.plan) its layers, precisions, memory, inputs and outputs: from TensorRT on the GPU it was built for,
    from the plan's manifest anywhere else.
    """
    from engines.crf_gate import gate_of
    from engines.names import read_manifest, resolve
    from engines.plans.cache import PlanCache, plan_at, plan_folders
    from engines.plans.layers import plan_lines
    from engines.plans.weights import graph_sha256
    from engines.runtime.graph_facts import read_graph

    if Path(engine).suffix == ".plan":
        for line in plan_lines(plan_at(Path(engine))):
            click.echo(line)
        return
    spec = resolve(engine)
    facts = read_graph(spec.path)
    click.echo(f"{spec.label}: {spec.path}")
    for kind, planes in (("input", facts.inputs), ("output", facts.outputs)):
        for name, (dtype, shape) in planes.items():
            click.echo(f"  {kind:6} {name}: {dtype} {' x '.join(str(side or 'any') for side in shape)}")
    for key, value in facts.metadata.items():
        click.echo(f"  metadata {key}: {value}")
    sha256 = graph_sha256(spec)
    for plan in (plan for folder in plan_folders() for plan in PlanCache(folder).of_graph(sha256)[0]):
        target = plan.manifest.key.target
        click.echo(f"  plan for {target.gpu_name} GPU, compute capability {target.compute_capability}: {plan.path}")
    click.echo(f"  --crf auto: {gate_of(spec).why}")
    manifest_path = spec.path.parent / f"{spec.name}.json"
    if manifest_path.is_file():
        manifest = read_manifest(manifest_path)
        click.echo(f"{manifest_path}:")
        for graph in manifest.graphs:
            for line in _graph_lines(graph, is_default=graph.file == manifest.default_graph):
                click.echo(line)
        click.echo(manifest.model_dump_json(indent=2, exclude_none=True))


def _graph_lines(graph: "Graph", is_default: bool) -> list[str]:
    """One graph of a manifest: how far it is from its network, and what `certify` found where."""
    from engines.machine import machine_kind

    lines = [f"  {graph.file}" + (", the default" if is_default else "")]
    if graph.difference is not None:
        found = graph.difference
        lines.append(
            f"    logits differ by {found.logits:.2g}, {100 * found.labels:.3f} % of labels agree "
            f"({found.images} {found.on})"
        )
    if graph.calibration is not None:
        lines.append(f"    calibrated on {graph.calibration.images} pictures of {graph.calibration.data}")
    for machine, held in graph.certified.items():
        where = "this kind of machine" if machine == machine_kind() else machine
        lines.append(
            f"    certified on {where}: mIoU {100 * held.miou:.2f} against {100 * held.miou_against:.2f} "
            f"({held.data}), p50 {held.p50_ms:.1f} ms, p95 {held.p95_ms:.1f} ms, "
            f"{held.speedup:.2f} times as fast as {held.against} ({held.backend})"
        )
    return lines


def _planes(engine: str) -> tuple[str, ...]:
    from engines.names import resolve

    return tuple(name for name in resolve(engine).output.names if name != "logits")
