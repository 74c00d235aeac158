"""`python -m engines models`: one line for each network that can be built."""

import pytest
from click.testing import CliRunner

from engines.__main__ import cli

pytestmark = pytest.mark.torch


@pytest.mark.slow
def test_models_lists_version_by_backbone() -> None:
    """Four versions on eight backbones and the published VOC network."""
    result = CliRunner().invoke(cli, ["models", "--size", "64x64"])

    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 2 + 4 * 8 + 1 + 1


def test_a_row_says_what_a_network_weighs() -> None:
    """The published VOC network has 2.75 GMAC at 513x513 in its authors' table."""
    result = CliRunner().invoke(cli, ["models", "--backbone", "mobilenet_v2", "--version", "voc"])

    assert result.exit_code == 0, result.output
    row = result.output.splitlines()[2].split()
    assert row == ["voc", "mobilenet_v2", "16", "2.11", "M", "2.74", "491", "px", "+", "all"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", "big"], "expected WIDTHxHEIGHT"),
        (["--version", "v4"], "v4: expected v1, v2, v3, v3plus, voc"),
        (["--backbone", "resnet34"], "resnet34: expected vgg16, resnet18"),
    ],
)
def test_what_cannot_be_listed_is_refused(words: list[str], said: str) -> None:
    """Wrong use, with what would be right."""
    result = CliRunner().invoke(cli, ["models", *words])

    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
