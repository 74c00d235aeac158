"""`tune-crf`: does a dense CRF make this engine's masks better, and with which parameters?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.commands.labelled import Labelled, data_options
from engines.commands.progress import Progress

if TYPE_CHECKING:
    from engines.evaluation.crf_tuning import Confirmation, Tuning

__all__ = ["tune_crf"]


@click.command("tune-crf")
@click.argument("engine")
@data_options
@click.option(
    "--method", type=click.Choice(["fast", "exact"]), default="fast", show_default=True, help="As the stream is to run."
)
@click.option("--backend", default="auto", show_default=True)
@click.option("--dry-run", is_flag=True, help="Tell, and leave the manifest as it is.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Every trial.")
def tune_crf(engine: str, labelled: Labelled, method: str, backend: str, dry_run: bool, json_path: Path | None) -> None:
    """Search the dense CRF that helps ENGINE most, and note it in the manifest for `--crf auto`.

    The network runs once on each picture; what it said stays in memory, at most 1 GB (fewer pictures: --limit).
    Parameters are searched on every second picture and confirmed on the others. Unless mIoU surely rises there (95 %)
    and boundary F does not surely fall, `none` is noted.
    """
    from engines.crf import unavailable_reason
    from engines.errors import BackendUnavailable
    from engines.evaluation.crf_tuning import tune
    from engines.evaluation.kept import keep
    from engines.names import resolve
    from engines.record import manifest_of, record_crf
    from engines.runtime import open_engine

    if (reason := unavailable_reason(method)) is not None:
        raise BackendUnavailable(f"tune-crf: {reason}")
    spec = resolve(engine)
    if not dry_run:
        manifest_of(spec)  # first: nothing is measured that could not be noted
    pairs, n = labelled.open(spec.output.classes)
    with (
        open_engine(spec, backend=backend, outputs=("logits",), hint="throughput") as opened,
        Progress("tune-crf, engine", n) as progress,
    ):
        pictures = keep(opened, pairs, progress.step)
        title = f"{spec.label} on {opened.backend}"
    found = tune(spec, pictures, labelled.name, method, lambda what, most: Progress(f"tune-crf, {what}", most))
    click.echo(f"{title}, {labelled.title}: {len(pictures)} pictures, {len(found.trials)} settings searched on half")
    for line in _table(found):
        click.echo(line)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(_as_json(found), indent=2) + "\n", encoding="utf-8")
    if dry_run:
        click.echo(f"tune-crf: would note {_decided(found)}")
    else:
        click.echo(f"tune-crf: {_decided(found)}, noted in {record_crf(spec, found.setting, found.gain)}")


def _decided(found: "Tuning") -> str:
    return "none" if found.setting is None else found.setting.label


def _table(found: "Tuning") -> list[str]:
    """The other half of the pictures: scores in points, and what a picture costs."""
    first = found.confirmed[0].scores
    bands = "  ".join(f"{width:3} px" for width in first.trimap_miou)
    lines = [
        f"on the other {first.n_images}:  mIoU in a band on each side of the contour",
        f"    mIoU   {bands}   boundary F 2 px   ms",
    ]
    lines += [_row(one) for one in found.confirmed]
    gain = found.gain
    low, high = (100 * value for value in gain.boundary_f_interval)
    lines.append(f"the best of the search against no CRF: {gain.label.partition(' on ')[0]},")
    lines.append(f"  boundary F {100 * gain.boundary_f:+.2f} (95 %: {low:+.2f} to {high:+.2f})")
    lines.append("ms: processor time of a picture in one thread, the median")
    return lines


def _row(one: "Confirmation") -> str:
    scores = one.scores
    bands = "  ".join(f"{100 * value:6.2f}" for value in scores.trimap_miou.values())
    named = "no CRF" if one.setting is None else one.setting.label
    return f"  {100 * scores.miou:6.2f}   {bands}   {100 * scores.mean_boundary_f:15.2f}   {one.ms:5.1f}   {named}"


def _as_json(found: "Tuning") -> dict[str, object]:
    return {
        "crf": None if found.setting is None else found.setting.model_dump(),
        "gain": found.gain.model_dump(),
        "searched": [{"miou": trial.miou, **trial.setting.model_dump()} for trial in found.trials],
        "confirmed": [
            {
                "setting": None if one.setting is None else one.setting.model_dump(),
                "miou": one.scores.miou,
                "trimap_miou_at_px": {str(width): value for width, value in one.scores.trimap_miou.items()},
                "boundary_f": one.scores.mean_boundary_f,
                "ms": one.ms,
            }
            for one in found.confirmed
        ],
    }
