"""`compare`: two checkpoints, graphs or engines on the same pictures."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.commands.labelled import Labelled, data_options
from engines.commands.options import need_torch, wxh
from engines.commands.progress import Progress
from engines.size import DEFAULT_SIZE, Size

if TYPE_CHECKING:
    from engines.evaluation.targets import Protocol

__all__ = ["compare"]


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@data_options
@click.option("--size", type=wxh, help=f"Of checkpoints; default: the engine's, or {DEFAULT_SIZE} without an engine.")
@click.option("--protocol", type=click.Choice(["P1", "P2"]), help="Of two checkpoints; default P2.")
@click.option("--backend", default="auto", show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
def compare(
    first: str,
    second: str,
    labelled: Labelled,
    size: Size | None,
    protocol: "Protocol | None",
    backend: str,
    json_path: Path | None,
) -> None:
    """Say how far A and B agree, and which is better by how much; each a checkpoint, an ONNX file or an engine."""
    from engines.evaluation.compare import compare as compared
    from engines.evaluation.score_table import comparison_lines
    from engines.evaluation.targets import is_checkpoint, opened, served_size

    checkpoints = [target for target in (first, second) if is_checkpoint(target)]
    if checkpoints:
        need_torch()
    if protocol == "P1" and len(checkpoints) < 2:
        raise click.UsageError("P1 is the protocol of checkpoints; an engine has one fixed size, so compare under P2")
    if size is None:
        sizes = [served_size(target) for target in (first, second) if not is_checkpoint(target)]
        size = sizes[0] if sizes else DEFAULT_SIZE
    with ExitStack() as stack:
        both = [
            stack.enter_context(
                opened(
                    target, protocol=(protocol or "P2") if is_checkpoint(target) else None, size=size, backend=backend
                )
            )
            for target in (first, second)
        ]
        pairs, n = labelled.open(both[0].segmenter.classes)
        with Progress("compare", n) as progress:
            result = compared(both[0].segmenter, both[1].segmenter, pairs, watch=lambda _: progress.step())
    click.echo(f"{labelled.title}: {result.agreement.first.n_images} pictures, pooled")
    for line in comparison_lines(result, (both[0].title, both[1].title)):
        click.echo(line)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        told = {"a": first, "b": second, **labelled.as_json(), **result.as_json()}
        json_path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
