"""`certify`: may this graph replace that one, on this machine?"""

from pathlib import Path

import click

from engines.commands.labelled import FORMAT_NAMES

__all__ = ["certify"]


@click.command()
@click.argument("engine")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Pictures with labels.")
@click.option("--format", "data_format", type=click.Choice(FORMAT_NAMES), help="Of the data; default: folder.")
@click.option("--split", default="", help="Part of the data, such as val.")
@click.option("--prefix", default="", help="Only pictures whose name begins so.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many pictures.")
@click.option("--against", metavar="ENGINE", help="What it would replace; default: fp32 of the same size.")
@click.option("--max-miou-drop", type=click.FloatRange(0, 1), default=0.003, show_default=True)
def certify(
    engine: str,
    data: Path,
    data_format: str | None,
    split: str,
    prefix: str,
    limit: int | None,
    against: str | None,
    max_miou_drop: float,
) -> None:
    """Measure ENGINE (as NAME@WxH:int8) beside the graph it would replace, and note it in the manifest.

    A certified graph is what `run --engine NAME` takes on this kind of machine. A graph that costs too much mIoU, or
    is slower, is refused: exit code 1, nothing is noted, and an older certificate is taken back.
    """
    from engines.certify import certify as measured
    from engines.certify import reference_of
    from engines.data.datasets import DatasetOptions, Format, open_dataset
    from engines.data.views import Part
    from engines.errors import EngineMismatch
    from engines.machine import machine_kind
    from engines.names import resolve
    from engines.record import manifest_of, record_certificate, revoke_certificate

    spec = resolve(engine)
    manifest_of(spec)  # first: nothing is measured that could not be noted
    reference = reference_of(spec, against)
    options = DatasetOptions(
        path=data, format=None if data_format is None else Format(data_format), prefix=prefix, split=split
    )
    pairs = open_dataset(options, len(spec.output.classes))
    if limit is not None and limit < len(pairs):
        pairs = Part(pairs, range(limit))
    name = " ".join(word for word in (data.resolve().name, split, f"{prefix}*" if prefix else "") if word)
    verdict = measured(
        spec,
        reference,
        pairs,
        name,
        max_miou_drop=max_miou_drop,
        say=lambda line: click.echo(f"certify: {line}", err=True),
    )
    found = verdict.certificate
    click.echo(f"{spec.label} against {reference.label}, {found.backend}")
    click.echo(f"  {machine_kind()}")
    click.echo(
        f"  mIoU {100 * found.miou:.2f} against {100 * found.miou_against:.2f}, {found.images} pictures of {name}"
    )
    click.echo(f"  p50 {found.p50_ms:.1f} ms, p95 {found.p95_ms:.1f} ms; {found.speedup:.2f} times as fast")
    if verdict.objections:
        revoke_certificate(spec, machine_kind())
        raise EngineMismatch(f"{spec.label} is not certified: {'; '.join(verdict.objections)}")
    click.echo(f"certify: noted in {record_certificate(spec, machine_kind(), found)}")
