"""What a page may ask for, and what not."""

from typing import Any

import pytest

from pipeline.sinks.asked import Asked, CommandRefused
from tests.pipeline.sinks.watched import NUMBERS


@pytest.fixture
def asked() -> Asked:
    """Knows the effects and engines of a run."""
    asked = Asked()
    asked.learn(NUMBERS)
    return asked


@pytest.mark.parametrize(
    "command",
    [
        {"do": "quit"},
        {"do": "snapshot"},
        {"set": "effect", "value": "pixelate"},
        {"set": "effect", "value": "pixelate:24"},
        {"set": "effect", "value": "cutout:black"},
        {"set": "engine", "value": "person@256x256"},
        {"set": "strength", "value": 0.0},
        {"set": "strength", "value": 2.0},
        {"set": "mask", "value": False},
    ],
)
def test_what_a_person_may_want_is_kept(asked: Asked, command: dict[str, Any]) -> None:
    """Commands come out as they went in."""
    asked.ask(command)

    assert asked.take() == [command]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (None, "expected"),
        ([], "expected"),
        ({}, "expected"),
        ({"do": "reboot"}, "quit"),
        ({"do": "quit", "now": True}, "expected"),
        ({"set": "effect"}, "expected"),
        ({"set": "effect", "value": 3}, "expected"),
        ({"set": "effect", "value": "blurr"}, "one of blur, cutout"),
        ({"set": "effect", "value": "blur:many"}, "blur"),
        ({"set": "engine", "value": "person@9x9"}, "person@256x256"),
        ({"set": "strength", "value": 2.1}, "from 0 to 2"),
        ({"set": "strength", "value": -1}, "from 0 to 2"),
        ({"set": "strength", "value": float("nan")}, "from 0 to 2"),
        ({"set": "strength", "value": 10**4000}, "from 0 to 2"),
        ({"set": "strength", "value": True}, "a number"),
        ({"set": "strength", "value": "1"}, "a number"),
        ({"set": "mask", "value": 1}, "true or false"),
        ({"set": "slots", "value": 1}, "effect or engine"),
    ],
)
def test_what_is_not_ours_is_refused_with_what_was_expected(asked: Asked, command: Any, why: str) -> None:
    """Nothing of a refused command is kept."""
    with pytest.raises(CommandRefused, match=why):
        asked.ask(command)

    assert asked.take() == []


@pytest.mark.parametrize("value", ["/etc/passwd", "../photo.png", "photo.png", "C:photo", ""])
def test_a_page_names_no_files(asked: Asked, value: str) -> None:
    """An effect may show a file of this machine; which one is for the person at the terminal to say."""
    asked.learn({**NUMBERS, "effects": ["replace"]})

    with pytest.raises(CommandRefused, match="a page may set"):
        asked.ask({"set": "effect", "value": f"replace:{value}"})


def test_the_effect_the_run_began_with_can_be_returned_to(asked: Asked) -> None:
    """A background that was named at the terminal stays within reach of the page."""
    asked.learn({**NUMBERS, "effect": "replace:beach.jpg"})
    asked.learn({**NUMBERS, "effect": "blur"})

    asked.ask({"set": "effect", "value": "replace:beach.jpg"})

    assert asked.take() == [{"set": "effect", "value": "replace:beach.jpg"}]


def test_of_two_for_the_same_thing_the_later_holds(asked: Asked) -> None:
    """A slider that was dragged leaves one command, behind those that were asked before it stopped."""
    for step in range(20):
        asked.ask({"set": "strength", "value": step / 10})
        asked.ask({"set": "mask", "value": step % 2 == 0})
    asked.ask({"set": "strength", "value": 2})

    assert asked.take() == [{"set": "mask", "value": False}, {"set": "strength", "value": 2.0}]
