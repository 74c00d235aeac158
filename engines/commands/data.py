"""`check-data`: is a data set fit to train on?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engines.errors import DataError

if TYPE_CHECKING:
    from engines.data.check import DataReport

__all__ = ["check_data"]

SHOWN = 10
"""Faults of a kind that are printed; --json has all."""
FORMATS = ("folder", "voc", "cityscapes", "camvid", "coco", "clip", "frames")


@click.command("check-data")
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--format", "data_format", type=click.Choice(FORMATS), help="Default: clip for a file, else folder.")
@click.option("--split", default="", help="Part of the data set, such as val.")
@click.option("--prefix", default="", help="Only pictures whose name begins so.")
@click.option("--classes", "classes_text", metavar="N|NAME,...", help="How many classes there are, or their names.")
@click.option("--category", "categories", multiple=True, default=["person"], help="Of COCO; repeat for several.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write everything found here.")
def check_data(
    path: Path,
    data_format: str | None,
    split: str,
    prefix: str,
    classes_text: str | None,
    categories: tuple[str, ...],
    json_path: Path | None,
) -> None:
    """Find what is wrong with the pictures and labels in DIR, and print the shares of the classes."""
    from engines.data.check import check
    from engines.data.datasets import DatasetOptions, Format

    options = DatasetOptions(
        path=path,
        format=None if data_format is None else Format(data_format),
        split=split,
        prefix=prefix,
        categories=categories,
    )
    report = check(options, _classes(classes_text))
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    _tell(report, path)
    if not report.is_fit:
        n_faults = sum(len(told) for told in report.faults.values())
        raise DataError(f"{path}: {n_faults} faults in {report.n_pictures} pictures ({', '.join(report.faults)})")


def _classes(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    if text.isdigit():
        if not 1 <= int(text) <= 255:
            raise click.BadParameter(f"{text}: expected 1 to 255 classes", param_hint="--classes")
        return tuple(f"class {index}" for index in range(int(text)))
    return tuple(name.strip() for name in text.split(","))


def _tell(report: "DataReport", path: Path) -> None:
    sizes = ", ".join(f"{n} of {size}" for size, n in report.sizes.most_common(3))
    others = "" if len(report.sizes) <= 3 else f", and {len(report.sizes) - 3} more sizes"
    click.echo(f"{path}: {report.n_pictures} pictures; {sizes}{others}")
    wide = max(len(name) for _, name, _, _ in report.shares())
    click.echo(f"  {'class':>5}  {'':{wide}}  % of pixels  % of pictures")
    for index, name, of_pixels, of_pictures in report.shares():
        if index is None and not of_pixels:
            continue
        number = "" if index is None else str(index)
        click.echo(f"  {number:>5}  {name:{wide}}  {100 * of_pixels:11.2f}  {100 * of_pictures:13.1f}")
    for title, found in (("remark", report.remarks), ("FAULT", report.faults)):
        for kind, told in found.items():
            click.echo(f"{title}: {kind} ({len(told)})")
            for line in told[:SHOWN]:
                click.echo(f"  {line}")
            if len(told) > SHOWN:
                click.echo(f"  ... and {len(told) - SHOWN} more")
    if report.is_fit:
        click.echo("fit to train on: no fault found")
