"""A stage counts as too slow only when it is, for long enough, and could help it. Times are told, not measured."""

import itertools

import pytest

from pipeline import step_down
from pipeline.step_down import Pace, TooSlow, rungs_of

MS = 1_000_000


def watched(
    pace: Pace, work_ms: float, interval_ms: float, seconds: float, *, wait_ms: float = 0.0, odd_ms: float = 0.0
) -> TooSlow | None:
    """What a stage hears that takes so long for a frame and gets the newest one, until it hears something.

    Args:
        wait_ms: between two frames, at least: what comes before the stage is slow.
        odd_ms: of every tenth frame instead.
    """
    now_ns, last = 0.0, -1
    for index in itertools.count():
        sequence = max(last + 1, int(now_ns / MS / interval_ms))  # the newest that there is, or the next that comes
        last = sequence
        began_ns = max(now_ns, sequence * interval_ms * MS)
        now_ns = began_ns + (odd_ms if odd_ms and index % 10 == 9 else work_ms) * MS
        seen = pace.look(0, sequence, int(sequence * interval_ms * MS), int(began_ns), int(now_ns))
        if seen is not None or now_ns > seconds * 1e9:
            return seen
        now_ns += wait_ms * MS
    raise AssertionError("never reached")


def test_work_that_outlasts_the_interval_is_too_slow() -> None:
    """With the figures that a person may read."""
    seen = watched(Pace(), 40, 16.7, 5)

    assert seen is not None
    assert seen.work_ms == pytest.approx(40)
    assert seen.interval_ms == pytest.approx(16.7, rel=0.02)


def test_nothing_is_said_in_the_first_three_seconds() -> None:
    """The first block is for warming up, and two more must agree."""
    assert watched(Pace(), 40, 16.7, 2.9) is None


def test_work_that_fits_is_not_too_slow() -> None:
    """Also when it fills nine tenths of the interval."""
    assert watched(Pace(), 30, 33.3, 60) is None


def test_slow_frames_now_and_then_are_no_reason() -> None:
    """Every tenth takes five times the interval: the rate suffers, a lighter method would not mend it."""
    assert watched(Pace(), 10, 16.7, 60, odd_ms=83) is None


def test_one_slow_second_is_no_reason() -> None:
    """Another program took the processor for a moment; blocks must be slow one after another."""
    pace = Pace()
    assert watched(pace, 10, 16.7, 3.5) is None
    assert watched(pace, 40, 16.7, 1.5) is None

    assert watched(pace, 10, 16.7, 30) is None


def test_a_stage_behind_a_slow_engine_is_not_too_slow() -> None:
    """It takes longer than the camera's interval and still waits for the engine: lighter work would change nothing."""
    assert watched(Pace(), 25, 16.7, 60, wait_ms=10) is None


def test_a_camera_that_gives_less_than_it_promised_is_taken_as_it_is() -> None:
    """In the dark a 30 fps camera gives 15; what takes 50 ms holds that."""
    assert watched(Pace(), 50, 66.7, 60) is None


def test_two_sources_share_the_stage() -> None:
    """20 ms hold one source of 30 fps, not two of them."""
    alone, pace = Pace(), Pace()
    interval_ms = 33.3
    together = None
    for sequence in range(300):
        for stream in (0, 1):
            # Each frame waits for the one before it, so the stage falls behind and is never idle.
            began_ns = (2 * sequence + stream) * 20 * MS
            together = together or pace.look(
                stream, sequence, int(sequence * interval_ms * MS), began_ns, began_ns + 20 * MS
            )

    assert watched(alone, 20, interval_ms, 20) is None
    assert together is not None
    assert together.interval_ms == pytest.approx(interval_ms / 2)


@pytest.mark.parametrize(("n_streams", "work_ms"), [(2, 600), (4, 260), (8, 126)])
def test_several_streams_that_are_very_slow_are_too_slow(n_streams: int, work_ms: float) -> None:
    """A second has one frame of each: how often they come is known from the second before."""
    pace, now_ns = Pace(), 0.0

    for index in range(60 * n_streams):
        sequence = int(now_ns / MS / 33.3)
        began_ns, now_ns = now_ns, now_ns + work_ms * MS
        seen = pace.look(index % n_streams, sequence, int(sequence * 33.3 * MS), int(began_ns), int(now_ns))
        if seen is not None:
            break

    assert seen is not None
    assert seen.interval_ms == pytest.approx(33.3 / n_streams, rel=0.1)
    assert now_ns < 10e9


def test_very_slow_work_is_judged_by_six_frames() -> None:
    """Four seconds a frame are bad enough; nobody waits for more of them than needed."""
    assert watched(Pace(), 4000, 33.3, 4.5 * 4) is None
    assert watched(Pace(), 4000, 33.3, 6.5 * 4) is not None


def test_a_frame_that_stands_still_for_seconds_is_no_reason() -> None:
    """One frame cannot make two blocks too slow."""
    pace = Pace()
    assert watched(pace, 10, 16.7, 3.5) is None
    assert watched(pace, 3000, 16.7, 2.9) is None

    assert watched(pace, 10, 16.7, 30) is None


def test_after_a_change_watching_starts_anew() -> None:
    """The lighter method has three seconds as well."""
    pace = Pace()
    assert watched(pace, 40, 16.7, 10) is not None

    assert watched(pace, 40, 16.7, 2.9) is None
    assert watched(pace, 40, 16.7, 10) is not None


def test_time_that_stands_still_is_no_reason() -> None:
    """A source that was reopened may begin its count again; nothing is divided by nothing."""
    pace = Pace()

    assert all(pace.look(0, 0, 0, index * 400 * MS, (index + 1) * 400 * MS) is None for index in range(40))


def test_lighter_methods_follow_only_where_frames_may_be_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lossless has time; what is not installed is passed over."""
    monkeypatch.setattr(step_down, "unavailable_reason", lambda method: None)
    assert rungs_of("exact", "live") == ("exact", "fast")
    assert rungs_of("reference", "live") == ("reference", "exact", "fast")
    assert rungs_of("exact", "lossless") == ("exact",)

    monkeypatch.setattr(step_down, "unavailable_reason", lambda method: f"{method} is not installed")
    assert rungs_of("reference", "live") == ("reference",)
