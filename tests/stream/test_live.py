"""Live: the newest frame, nothing torn, nothing older after something newer."""

import json

import pytest

from pipeline.sources import source_from_uri
from tests.stream.playing import CHAIN, FAULTS, assert_own_masks, pictures, play

URI = "synthetic:320x180@60?speed=2000"


@pytest.mark.parametrize("fault", ["Slow", "DieWorking", "DieBetween"])
def test_drops_and_restarts_never_tear(tmp_path, fault) -> None:
    """Frames come too late, or a worker is killed: each that is shown is whole and has its own mask."""
    format = source_from_uri(URI).open().format
    stages = (*CHAIN[:3], f"{FAULTS}:{fault}", "render")

    played = play(URI, f"frames:{tmp_path}", stages=stages, pacing="live", max_frames=240, effect="cutout:black")

    shown = pictures(tmp_path)
    frames = played.frames
    assert frames["captured"] == frames["shown"] + sum(frames["dropped"].values()) == 240
    assert frames["dropped"].get("lost", 0) <= (0 if fault == "Slow" else played.report["slots"]["0"])
    assert 0 < frames["shown"] < (200 if fault == "Slow" else 240)
    assert len(shown) == frames["shown"]
    assert_own_masks(shown, format, 2000)


def test_nothing_older_after_something_newer(tmp_path) -> None:
    """Sequence numbers only rise, with drops and over a restart."""
    stages = (*CHAIN[:3], f"{FAULTS}:DieWorking", "render")
    path = tmp_path / "a.jsonl"

    played = play(URI, f"jsonl:{path}", stages=stages, pacing="live", max_frames=180)

    sequences = [json.loads(line)["sequence"] for line in path.read_text().splitlines()]
    assert sequences == sorted(set(sequences))
    assert len(sequences) == played.frames["shown"]
    assert played.report["restarts"] == 1
    assert max(sequences) > 100


def test_a_change_of_settings_happens_at_a_frame_boundary(tmp_path) -> None:
    """Effect and engine change while running: every frame is wholly the old or wholly the new, and none is lost."""
    asked = []

    def watch(supervisor) -> None:
        shown = supervisor.ledgers[0].shown if supervisor.ledgers else 0
        if shown > 40 and not asked:
            asked.append("effect")
            supervisor.change(effects=("cutout:black",))
        if shown > 90 and len(asked) == 1:
            asked.append("engine")
            supervisor.change(engine="fake@640x360")

    played = play(
        URI,
        f"frames:{tmp_path}",
        pacing="live",
        max_frames=240,
        watch=watch,
        effect="cutout:green",
        engines=["fake@640x360"],
    )

    corners = {n: tuple(int(v) for v in picture[-1, -1]) for n, picture in sorted(pictures(tmp_path).items())}
    kinds = list(corners.values())
    changed = kinds.index((0, 0, 0))
    assert changed > 0
    assert set(kinds[changed:]) == {(0, 0, 0)}
    assert len(set(kinds[:changed])) == 1
    assert played.report["engine"].startswith("fake 640x360")
    assert "lost" not in played.frames["dropped"]
    assert "settings refused" not in played.events


def test_refused_settings_leave_the_old_ones_serving(tmp_path) -> None:
    """An effect that cannot be opened is told of, and the stream goes on as before."""
    asked = []

    def watch(supervisor) -> None:
        if supervisor.ledgers and supervisor.ledgers[0].shown > 10 and not asked:
            asked.append(1)
            supervisor.change(effects=("replace:/no/such/picture.png",))

    played = play(URI, "null", pacing="live", max_frames=90, watch=watch)

    assert "settings refused" in played.events
    assert played.report["restarts"] == 0
    assert played.frames["shown"] > 60


def test_an_engine_that_fails_its_trial_leaves_the_old_one_serving() -> None:
    """It opens and fails at its first picture, which is no frame's: an event, and the worker lives."""
    asked = []

    def watch(supervisor) -> None:
        if supervisor.ledgers and supervisor.ledgers[0].shown > 10 and not asked:
            asked.append(1)
            supervisor.change(engine="fake@640x360?fail_at=0")

    played = play(URI, "null", pacing="live", max_frames=90, watch=watch, engines=["fake@640x360?fail_at=0"])

    assert played.events == ["settings refused"]
    assert "fails at inference 0" in played.report["events"][0]["why"]
    assert played.report["engine"].startswith("fake 320x180")
    assert played.report["restarts"] == 0


def test_a_change_survives_a_death_in_the_middle_of_it(tmp_path) -> None:
    """The engine is changed and its worker killed at once: the picture goes on, with the new engine in the end."""
    asked = []

    def watch(supervisor) -> None:
        if supervisor.ledgers and supervisor.ledgers[0].shown > 20 and not asked:
            asked.append(1)
            supervisor.change(engine="fake@640x360")
            supervisor.crew["segment"].popen.kill()

    played = play(URI, "null", pacing="live", max_frames=300, watch=watch, engines=["fake@640x360"])

    assert played.report["restarts"] == 1
    assert played.report["engine"].startswith("fake 640x360")
    assert played.frames["shown"] > 100


def test_settings_changed_all_the_time_do_no_harm() -> None:
    """Engine to and fro and a moving slider at every look: no death, no refusal, frames go on."""
    n = []

    def watch(supervisor) -> None:
        if supervisor.ledgers and supervisor.ledgers[0].shown > 10:
            n.append(1)
            supervisor.change(engine="fake@640x360" if len(n) % 2 else "fake@320x180")
            supervisor.change(strength=len(n) % 20 / 10)

    played = play(URI, "null", pacing="live", max_frames=300, watch=watch, engines=["fake@640x360"])

    assert played.report["restarts"] == 0
    assert "settings refused" not in played.events
    assert played.frames["shown"] > 150
    assert "lost" not in played.frames["dropped"]
