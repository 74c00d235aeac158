"""Settings change for all or for none."""

import pytest

from pipeline.changes import Changes
from pipeline.settings import Settings

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
    return Changes(settings, ("person", "other"), sent.append, lambda *event: noted.append(event))


def test_an_epoch_begins_when_the_last_worker_is_prepared(changes, sent) -> None:
    """Until then the old settings hold."""
    changes.propose(WORKERS, strength=0.5)
    changes.answered("a", 1, "")
    assert changes.settings.epoch == 0

    changes.answered("b", 1, "")

    assert changes.settings == Settings(1, "person", ("blur",), 0.5)
    assert [message["type"] for message in sent] == ["prepare", "epoch"]


def test_one_refusal_keeps_the_old_settings(changes, sent, noted) -> None:
    """The reason is noted, and nothing is stamped."""
    changes.propose(WORKERS, effects=("nonsense",))
    changes.answered("a", 1, "no effect 'nonsense'")
    changes.answered("b", 1, "")

    assert changes.settings.epoch == 0
    assert [message["type"] for message in sent] == ["prepare"]
    assert noted == [("a", "settings refused", "no effect 'nonsense'")]


def test_changes_in_a_row_add_up(changes) -> None:
    """The second is made from the first, though that is still on its way."""
    changes.propose(WORKERS, strength=0.5)
    changes.propose(WORKERS, mask=False)
    for epoch in (1, 2):
        for worker in WORKERS:
            changes.answered(worker, epoch, "")

    assert changes.settings == Settings(2, "person", ("blur",), 0.5, False)


def test_nobody_waits_for_the_dead(changes) -> None:
    """A worker that died while preparing is not waited for."""
    changes.propose(WORKERS, strength=0.5)
    changes.answered("a", 1, "")

    changes.forget("b")

    assert changes.settings.epoch == 1


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
    changes.wish(wish, WORKERS)
    for worker in WORKERS:
        changes.answered(worker, 1, "")

    assert changes.settings == Settings(0, "person", ("blur",)).changed(**made)


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
    changes.wish(wish, WORKERS)

    assert not sent
    assert noted[0][1] == "wish refused"
