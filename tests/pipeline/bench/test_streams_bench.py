"""What `bench streams` makes of reports, and one real run of it; how fast anything is, is not tested."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.bench.streams import GOALS, bench_streams, figures_of, table_of, total_of
from pipeline.errors import StreamError

SECOND = 1_000_000_000


def stream(n: int, first_s: float, last_s: float, **dropped: int) -> dict[str, Any]:
    """One stream's part of a report."""
    return {
        "frames": {"captured": n + sum(dropped.values()), "shown": n, "dropped": dropped},
        "shown_ns": [int(first_s * SECOND), int(last_s * SECOND)],
        "fps": (n - 1) / (last_s - first_s),
        "latency_ms": {"p95": 20.0},
    }


def report(*streams: dict[str, Any], batches: dict[str, dict[str, int]] | None = None) -> dict[str, Any]:
    """Of a run; a single stream stands at the top."""
    told = {"engine": "fake", "backend": "fake", "batches": batches or {}}
    return {**told, **streams[0]} if len(streams) == 1 else {**told, **streams[0], "streams": list(streams)}


def test_a_total_counts_intervals_over_the_time_of_all_streams() -> None:
    """Flat out n frames span n - 1 intervals; paced every stream's first frame only starts its clock."""
    one, two = stream(101, 0.0, 10.0), [stream(51, 0.0, 10.0), stream(51, 0.0, 10.0)]

    assert total_of(report(one), is_paced=False) == pytest.approx(10.0)
    assert total_of(report(*two), is_paced=True) == pytest.approx(10.0)
    assert total_of(report(*two), is_paced=False) == pytest.approx(10.1)
    assert total_of(report(two[0], stream(26, 5.0, 10.0)), is_paced=True) == pytest.approx(7.5)
    with pytest.raises(StreamError, match="none of 1 streams showed a frame"):
        total_of(report({**one, "frames": {"shown": 0}}), is_paced=True)


def test_what_is_possible_is_the_smaller_of_asked_and_one_stream() -> None:
    """An engine faster than what is asked is no reason to miss the goal, nor is a slower one."""
    fast, slow = report(stream(201, 0.0, 5.0)), report(stream(101, 0.0, 5.0))
    paced = report(*[stream(51, 0.0, 10.0)] * 6, batches={"segment": {"1": 10, "2": 20}})
    flat = report(*[stream(51, 0.0, 10.0, stale=1)] * 6)

    for one, ratio in ((fast, 1.0), (slow, 1.5)):
        figures = figures_of({"one": [one], "paced": [paced], "flat_out": [flat]}, 30.0)
        figures.update(
            {"asked": {"streams": 6, "fps": 5.0, "size": "1x1", "effect": "none", "threads": 1}, "rounds": 1}
        )

        assert figures["ratio"]["paced"]["ratio"] == pytest.approx(ratio)
        assert figures["paced"]["at_once"] == pytest.approx(5 / 3, abs=0.01)
        assert figures["goals"] == GOALS
        assert figures["flat_out"]["out_of_order"] == 6
        table = table_of(figures)
        assert "goal 0.9: met" in table
        assert "6 frames came after a newer one" in table


@pytest.mark.stream
@pytest.mark.slow
def test_two_streams_are_measured_against_one(tmp_path: Path) -> None:
    """Real runs of the command line: every frame is counted, nothing came out of order."""
    figures, table = bench_streams(
        streams=2,
        fps=10.0,
        seconds=1.0,
        engine="fake@320x180?work_ms=5",
        effect="none",
        size="160x120",
        rounds=1,
        threads=1,
        overrides=('workers=[["capture"],["preprocess","segment"],["render"]]',),
    )

    json.dumps(figures)
    assert figures["one"]["dropped"] == figures["flat_out"]["dropped"] == {}
    assert figures["paced"]["out_of_order"] == 0
    assert all(figures["ratio"][kind]["ratio"] > 0 for kind in ("paced", "flat_out"))
    assert "kept in every stream" in table
