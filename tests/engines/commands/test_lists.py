"""Several values behind one option name."""

import click
import pytest
from click.testing import CliRunner

from engines.commands.lists import Lists


@click.command(cls=Lists)
@click.argument("target")
@click.option("--scales", type=float, multiple=True, default=(1.0,))
@click.option("--metrics", type=click.Choice(["a", "b"]), multiple=True)
@click.option("--flip", is_flag=True)
@click.option("--name")
def _command(target: str, scales: tuple[float, ...], metrics: tuple[str, ...], flip: bool, name: str | None) -> None:
    click.echo(f"{target} {scales} {metrics} {flip} {name}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("x", "x (1.0,) () False None"),
        ("x --scales 0.5 1 1.25 --flip", "x (0.5, 1.0, 1.25) () True None"),
        ("--scales 0.5 1 x", "x (0.5, 1.0) () False None"),
        ("--scales 0.5 --scales 2 x", "x (0.5, 2.0) () False None"),
        ("x --scales=0.5", "x (0.5,) () False None"),
        ("--metrics a b x --name b", "x (1.0,) ('a', 'b') False b"),
    ],
)
def test_values_follow_one_name(words: str, told: str) -> None:
    """A list ends at the next option, or at a word that cannot belong to it."""
    assert CliRunner().invoke(_command, words.split()).output.strip() == told


def test_a_wrong_first_value_is_refused_as_always() -> None:
    """click says which option it was."""
    result = CliRunner().invoke(_command, ["x", "--scales", "wide"])

    assert result.exit_code == 2
    assert "--scales" in result.output
