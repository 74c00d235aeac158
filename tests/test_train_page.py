"""docs/train.md can be believed: its keys are the options' own, its formats and commands exist."""

import importlib.util
import re

import pytest
import torch  # noqa: F401  # marks the module: the options of a training live beside the trainer

from engines.__main__ import COMMANDS
from engines.data.datasets import FORMATS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")


@pytest.fixture
def config_keys():
    """The script that makes the tables."""
    spec = importlib.util.spec_from_file_location("config_keys", ROOT / "docs" / "config_keys.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_keys_are_those_of_the_options(config_keys) -> None:
    """A key that was added, renamed or given another default is in the page: `python docs/config_keys.py`."""
    assert config_keys.rewritten(PAGE) == PAGE


def test_every_format_is_described() -> None:
    """Whoever has data finds its format in the table, and nothing that is not there."""
    table = PAGE.split("| format | what it is |")[1].split("\n\n")[0]

    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(FORMATS)


def test_commands_of_the_page_exist() -> None:
    """Every `python -m engines COMMAND` can be called."""
    named = set(re.findall(r"-m engines ([\w-]+)", PAGE))

    assert named <= {command.name for command in COMMANDS}


def test_links_of_the_page_lead_somewhere() -> None:
    """Every file that the page points at is there."""
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)

    assert links
    assert all((ROOT / "docs" / link).exists() for link in links)
