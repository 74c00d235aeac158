"""Settings change for all or for none."""

import json

import pytest

from pipeline.changes import Changes
from pipeline.settings import MatteOptions, Settings

WORKERS = {"a", "b"}


@pytest.fixture
def sent():
    """What was published."""
    return []


@pytest.fixture
def noted():
    """Events."""
    return []


@pytest.fixture
def changes(sent, noted):
    """Changes of one stream with two engines."""
    settings = Settings(0, "person", ("blur",))
    changes = Changes(settings, ("person", "other"), sent.append, lambda *event: noted.append(event))
    changes.resume(frozenset(WORKERS))
    return changes


def test_an_epoch_begins_when_the_last_worker_is_prepared(changes, sent) -> None:
    """Until then the old settings hold."""
    changes.wish(strength=0.5)
    changes.answered("a", 1, "")
    assert changes.settings.epoch == 0

    changes.answered("b", 1, "")

    assert changes.settings == Settings(1, "person", ("blur",), 0.5)
    assert [message["type"] for message in sent] == ["prepare", "epoch"]


def test_one_refusal_keeps_the_old_settings(changes, sent, noted) -> None:
    """The reason is noted, and nothing is stamped."""
    changes.wish(effects=("nonsense",))
    changes.answered("a", 1, "no effect 'nonsense'")
    changes.answered("b", 1, "")

    assert changes.settings.epoch == 0
    assert [message["type"] for message in sent] == ["prepare"]
    assert noted == [("a", "settings refused", "no effect 'nonsense'")]


def test_what_is_wished_meanwhile_goes_into_the_next_epoch(changes, sent) -> None:
    """One proposal at a time: a slider that is moved makes few epochs, and they come in order."""
    changes.wish(strength=0.5)
    changes.wish(strength=0.7)
    changes.wish(mask=False)
    for epoch in (1, 2):
        for worker in WORKERS:
            changes.answered(worker, epoch, "")

    assert changes.settings == Settings(2, "person", ("blur",), 0.7, False)
    assert [m["settings"]["epoch"] if "settings" in m else m["epoch"] for m in sent] == [1, 1, 2, 2]


def test_a_death_puts_the_proposal_back(changes, sent) -> None:
    """Whoever comes after the dead starts with what holds; the wish is proposed anew when all are there."""
    changes.wish(strength=0.5)
    changes.answered("a", 1, "")

    changes.suspend()
    changes.answered("b", 1, "")
    changes.wish(mask=False)
    assert changes.settings.epoch == 0
    assert len(sent) == 1
    changes.resume(frozenset(WORKERS))
    for worker in WORKERS:
        changes.answered(worker, 2, "")

    assert changes.settings == Settings(2, "person", ("blur",), 0.5, False)


def test_a_refusal_does_not_hold_up_what_comes_next(changes) -> None:
    """A wish made while a bad one was prepared is proposed without it."""
    changes.wish(effects=("nonsense",))
    changes.wish(strength=0.5)
    changes.answered("a", 1, "no effect 'nonsense'")
    for worker in WORKERS:
        changes.answered(worker, 2, "")

    assert changes.settings == Settings(2, "person", ("blur",), 0.5)


@pytest.mark.parametrize(
    ("wish", "made"),
    [
        ({"set": "effect", "value": "none", "stream": 0}, {"effects": ("none",)}),
        ({"set": "strength", "value": "9"}, {"strength": 2.0}),
        ({"set": "mask", "value": False}, {"mask": False}),
        ({"set": "engine", "value": "other"}, {"engine": "other"}),
    ],
)
def test_wishes_are_followed(changes, wish, made) -> None:
    """Each control of window and page."""
    changes.follow(wish)
    for worker in WORKERS:
        changes.answered(worker, 1, "")

    assert changes.settings == Settings(0, "person", ("blur",)).changed(1, **made)


@pytest.mark.parametrize(
    "wish",
    [
        {"set": "engine", "value": "/etc/passwd"},
        {"set": "strength", "value": "wide"},
        {"set": "effect", "value": "none", "stream": 7},
        {"set": "weather", "value": "fine"},
        {},
    ],
)
def test_wishes_that_make_no_sense_are_noted_and_ignored(changes, sent, noted, wish) -> None:
    """Nothing a page sends can stop the supervisor."""
    changes.follow(wish)

    assert not sent
    assert noted[0][1] == "wish refused"


def test_options_of_the_matte_change_one_by_one(changes, noted) -> None:
    """Two sliders moved before the first epoch begins both hold in the end; an impossible value changes nothing."""
    changes.follow({"set": "matte.feather_px", "value": 4})
    changes.follow({"set": "matte.shrink_px", "value": 2})
    changes.follow({"set": "matte.shrink_px", "value": 1000})
    for epoch in (1, 2):
        for worker in WORKERS:
            changes.answered(worker, epoch, "")

    assert changes.settings.matte == MatteOptions(feather_px=4, shrink_px=2)
    assert [what for _, what, _ in noted] == ["wish refused"]


def test_settings_travel_as_plain_values() -> None:
    """What a worker reads from the control link is what was sent, the matte's options too."""
    settings = Settings(3, "person", ("blur", "none"), 0.5, matte=MatteOptions(edges="linear", shrink_px=-2))

    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_a_new_backend_is_proposed_by_itself(changes, sent, noted) -> None:
    """Nobody asked for it: when it is refused, what somebody did ask for meanwhile still comes true."""
    changes.wish(mask=False)
    changes.open_with("person", "tensorrt")
    changes.wish(strength=0.5)
    for worker in WORKERS:
        changes.answered(worker, 1, "")
    changes.answered("a", 2, "the plan does not open")
    for worker in WORKERS:
        changes.answered(worker, 3, "")

    assert changes.settings == Settings(3, "person", ("blur",), 0.5, False)
    assert [m["settings"]["backends"] for m in sent if "settings" in m] == [{}, {"person": "tensorrt"}, {}]
    assert noted == [("a", "settings refused", "the plan does not open")]


def test_another_engine_keeps_the_backend_of_the_run(changes) -> None:
    """The plan is one engine's; whoever swaps to another and back finds both as they were."""
    changes.open_with("person", "tensorrt")
    changes.follow({"set": "engine", "value": "other"})
    openings = []
    for epoch in (1, 2):
        for worker in WORKERS:
            changes.answered(worker, epoch, "")
        openings.append(changes.settings.opening)

    assert openings == [("person", "tensorrt"), ("other", "")]
    assert changes.settings.changed(3, engine="person").opening == ("person", "tensorrt")


def test_an_engine_whose_plan_no_longer_opens_is_swapped_in_without_it(changes, sent, noted) -> None:
    """Built while another engine served, and the GPU has no room for it: a person still gets the engine."""
    changes.open_with("other", "tensorrt")
    for worker in WORKERS:
        changes.answered(worker, 1, "")

    changes.follow({"set": "engine", "value": "other"})
    changes.answered("a", 2, "too little device memory")
    for epoch in (3, 4):
        for worker in WORKERS:
            changes.answered(worker, epoch, "")

    assert changes.settings.opening == ("other", "")
    assert noted == [("a", "settings refused", "too little device memory")]


def test_what_kills_its_worker_twice_is_given_up(changes, sent, noted) -> None:
    """A run must not spend all its restarts on one wish; what is wished afterwards is proposed as ever."""
    changes.open_with("person", "tensorrt")
    for _ in range(2):
        changes.suspend()
        changes.resume(frozenset(WORKERS))
    changes.wish(strength=0.5)
    for worker in WORKERS:
        changes.answered(worker, 3, "")

    assert changes.settings == Settings(3, "person", ("blur",), 0.5)
    assert [what for _, what, _ in noted] == ["settings refused"]
    assert "died twice while preparing backends" in noted[0][2]
