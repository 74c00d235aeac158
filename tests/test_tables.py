"""Every table that a person can add a line to: each line leads somewhere, explains itself, survives YAML.

The examples below are what a person types; a new effect, source or sink with a required value gets one.
"""

import importlib
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from configs import Options
from engines.runtime import BACKENDS
from pipeline.effects import EFFECTS, effect_from_text
from pipeline.sinks import SINKS, sink_from_text
from pipeline.sources import SOURCES
from pipeline.stages import STAGES

EXAMPLES = {"file": "file:out.mp4", "frames": "frames:folder", "jsonl": "jsonl:out.jsonl", "masks": "masks:folder"}
"""What to type for the sinks that need a value; the others are typed by their name alone."""

OPTIONS = {**EFFECTS, **SOURCES, **SINKS}


def _class_at(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_choice_explains_itself(name: str) -> None:
    """`list` prints the first line of an effect's, a source's or a sink's docstring: it is a sentence."""
    kind = OPTIONS[name]

    assert issubclass(kind, Options)
    assert (kind.__doc__ or "").strip().splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_option_explains_itself(name: str) -> None:
    """Each field of a choice has a docstring, which is its help in an editor."""
    silent = [field for field, about in OPTIONS[name].model_fields.items() if not about.description]

    assert not silent


@pytest.mark.parametrize("name", sorted(EFFECTS))
def test_effects_survive_yaml(name: str) -> None:
    """What is written to a file and read again is the same effect."""
    effect = effect_from_text(name)

    assert _through_yaml(effect) == effect


@pytest.mark.parametrize("name", sorted(SINKS))
def test_sinks_survive_yaml(name: str) -> None:
    """What is written to a file and read again is the same sink."""
    sink = sink_from_text(EXAMPLES.get(name, name))

    assert isinstance(sink, SINKS[name])
    assert _through_yaml(sink) == sink


@pytest.mark.parametrize("name", sorted(STAGES))
def test_every_stage_is_where_the_table_says(name: str) -> None:
    """A stage's class exists and says which planes it reads and writes."""
    stage = _class_at(STAGES[name])

    assert isinstance(stage.reads, frozenset)
    assert isinstance(stage.writes, frozenset)
    assert stage.__doc__


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_every_backend_says_whether_it_can_work_here(name: str) -> None:
    """A backend whose library is missing gives a reason instead of an ImportError."""
    reason = _class_at(BACKENDS[name]).unavailable_reason()

    assert reason is None or len(reason) > 10


def _through_yaml(options: BaseModel) -> BaseModel:
    return type(options).model_validate(yaml.safe_load(yaml.safe_dump(options.model_dump(mode="json"))))
