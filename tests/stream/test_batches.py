"""Several streams share one segment worker that takes their frames in batches: real processes."""

import json
import os
import signal
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from configs import load
from pipeline.config import RunConfig
from pipeline.frame import StreamFormat
from pipeline.report import report_of
from pipeline.run import prepare
from pipeline.supervisor import Supervisor
from tests.stream.playing import PLAINLY, assert_own_masks, pictures

ENGINE = "fake@320x180?work_ms=8&max_batch=8"
"""A call costs the same whatever is in it, as on a GPU."""
GROUPS = [["capture"], ["preprocess", "segment"], ["render"]]


def play(
    sources: list[str], *sinks: str, watch: Callable[[Supervisor], None] | None = None, **options: Any
) -> tuple[dict[str, Any], list[list[int]]]:
    """Run the streams to their end; the report, and for each stream the slots that came home."""
    streams = [{"source": source, "sinks": list(sinks or ("null",))} for source in sources]
    tree = {
        "engine": ENGINE,
        "effect": "cutout:black",
        "workers": GROUPS,
        "streams": streams,
        "matte": PLAINLY,
        **options,
    }
    config = load(RunConfig, None, [f"{key}={json.dumps(value)}" for key, value in tree.items()])
    supervisor = Supervisor(prepare(config), watch or (lambda _: None))
    try:
        supervisor.run()
        captures = {w.index + 1 for w in supervisor.run_plan.topology.workers if "capture" in w.stages}
        home = [
            [slot for slot in range(pool.n_slots) if pool.owner(slot) >> 16 in captures]
            for _, pool in sorted(supervisor.pools.items())
        ]
        return report_of(supervisor, None), home
    finally:
        supervisor.close()


def batches_of(report: dict[str, Any]) -> dict[int, int]:
    """How often so many frames were taken at once by the worker that runs segment."""
    return {int(size): n for size, n in report["batches"].get("preprocess+segment", {}).items()}


def test_three_streams_share_calls_and_keep_apart(tmp_path) -> None:
    """Nothing is lost or changes places, each frame has its own mask, and calls that wait for all three have three."""
    n = 30
    sizes = ((320, 180), (480, 360), (320, 180))
    sources = [f"synthetic:{w}x{h}@60?frames={n}&speed={400 * k + 200}" for k, (w, h) in enumerate(sizes)]

    report, _ = play(sources, f"frames:{tmp_path}/{{stream}}", pacing="lossless", batch={"wait_ms": 1000.0})

    for number, (stream, (width, height)) in enumerate(zip(report["streams"], sizes, strict=True)):
        assert stream["frames"] == {"captured": n, "shown": n, "dropped": {}}
        assert stream["stages"]["segment"]["work_ms"]["p50"] >= 8
        shown = pictures(tmp_path / str(number))
        assert sorted(shown) == list(range(n))
        format = StreamFormat(width, height, Fraction(60), False, "synthetic")
        if (width, height) == (320, 180):  # the engine's own size: masks are exact
            assert_own_masks(shown, format, 400 * number + 200)
    counts = batches_of(report)
    assert sum(size * count for size, count in counts.items()) == 3 * n
    assert max(counts, key=lambda size: counts[size]) == 3
    assert sum(counts.values()) < 2 * n  # n, unless this machine stood still for a second


def test_a_batch_is_no_larger_than_asked_for_and_no_stream_starves(tmp_path) -> None:
    """Three cameras, faster than the engine can serve in pairs: sequence numbers only rise, shares are equal."""
    path = f"{tmp_path}/{{stream}}.jsonl"
    engine = "fake@320x180?work_ms=30&max_batch=8"
    sources = ["synthetic:160x120@60"] * 3

    report, _ = play(
        sources, f"jsonl:{path}", pacing="live", seconds=1.5, engine=engine, batch={"max": 2, "wait_ms": 5.0}
    )

    assert max(batches_of(report)) == 2
    shares = []
    for number in range(3):
        lines = Path(path.format(stream=number)).read_text(encoding="utf-8").splitlines()
        sequences = [json.loads(line)["sequence"] for line in lines]
        assert sequences == sorted(set(sequences))
        shares.append(len(sequences))
    # A pair takes 30 ms: at most 100 of 270 frames; by turns each stream gets the same but for the start and the end.
    assert 5 < min(shares) <= max(shares) <= min(shares) + 6, shares
    assert max(shares) < 60


def test_a_batch_that_dies_with_its_worker_loses_one_frame_a_stream_and_the_queue(tmp_path) -> None:
    """SIGKILL in the middle: what was with the worker is lost, every slot comes home, and the others go on."""
    killed = []

    def watch(supervisor: Supervisor) -> None:
        if supervisor.ledgers and supervisor.ledgers[1].shown > 20 and not killed:
            killed.append(supervisor.crew["preprocess+segment"].popen.pid)
            os.kill(killed[0], signal.SIGKILL)

    n = 120
    sources = [f"synthetic:160x120@60?frames={n}"] * 2
    report, home = play(sources, pacing="lossless", watch=watch, batch={"wait_ms": 100.0})

    assert killed
    assert report["restarts"] == 1
    for number, stream in enumerate(report["streams"]):
        frames, n_slots = stream["frames"], report["slots"][str(number)]
        assert frames["captured"] == n == frames["shown"] + sum(frames["dropped"].values())
        assert set(frames["dropped"]) <= {"lost", "stale"}
        assert sum(frames["dropped"].values()) <= n_slots
        assert home[number] == list(range(n_slots))
    assert max(batches_of(report)) == 2


def test_one_stream_is_never_batched() -> None:
    """Whatever the engine could take and the options say: a frame is shown as soon as it is done."""
    report, _ = play(
        ["synthetic:160x120@60?frames=20"], pacing="lossless", batch={"max": 4, "wait_ms": 500.0}, engine=ENGINE
    )

    assert report["batches"] == {}
    assert report["frames"]["shown"] == 20
