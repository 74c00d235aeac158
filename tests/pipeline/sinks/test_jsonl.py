"""Lines of JSON: what they say of a frame, and that whole lines are what is left after every accident."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.sinks import Shown, sink_from_text
from pipeline.sinks.jsonl import JsonLinesOptions
from tests.pipeline.sinks import feed
from tests.pipeline.sinks.limit import files_of_at_most


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _with_labels(labels: np.ndarray, *classes: str) -> Any:
    return feed.FakeMatte(labels.astype(np.uint8), classes or ("background", "person"))


def test_a_line_says_when_how_late_and_what(tmp_path: Path) -> None:
    """Sequence, time, latency, and share and box of each class that is there."""
    labels = np.zeros((100, 200))
    labels[20:60, 50:100] = 1
    sink = sink_from_text(f"jsonl:{tmp_path / 'out.jsonl'}").open(
        feed.stream_format(), pacing="lossless", announce=feed.ignore
    )

    captured_ns = time.monotonic_ns() - 5_000_000
    sink.accept(Shown(feed.picture(1), _with_labels(labels), 7, 1_234_567_890, captured_ns, 0))
    sink.close()

    (line,) = _lines(tmp_path / "out.jsonl")
    assert sink.needs_matte
    assert (line["sequence"], line["pts_s"]) == (7, 1.234568)
    assert line["latency_ms"] >= 5
    assert line["classes"] == {
        "background": {"area_share": 0.9, "box_px": [0, 0, 200, 100]},
        "person": {"area_share": 0.1, "box_px": [50, 20, 50, 40]},
    }


def test_many_classes_and_the_ignore_index(tmp_path: Path) -> None:
    """A class that is not in the picture is not in the line, nor is 255, which is no class."""
    labels = np.full((10, 10), 2)
    labels[0] = 255
    sink = sink_from_text(f"jsonl:{tmp_path / 'out.jsonl'}").open(
        feed.stream_format(), pacing="lossless", announce=feed.ignore
    )

    sink.accept(feed.shown(1, matte=_with_labels(labels, "sky", "road", "car")))
    sink.close()

    assert _lines(tmp_path / "out.jsonl")[0]["classes"] == {"car": {"area_share": 0.9, "box_px": [0, 1, 10, 9]}}


def test_a_line_can_be_read_as_soon_as_its_frame_is_accepted(tmp_path: Path) -> None:
    """Nothing waits in a buffer: a killed run leaves every line it wrote."""
    path = tmp_path / "out.jsonl"
    sink = sink_from_text(f"jsonl:{path}").open(feed.stream_format(), pacing="live", announce=feed.ignore)

    for number in (1, 2, 3):
        sink.accept(feed.shown(number))

        assert [line["sequence"] for line in _lines(path)] == list(range(number))
    sink.close()


def test_a_restarted_worker_adds_to_the_lines(tmp_path: Path) -> None:
    """It goes on in the same file, on a new line even if the old worker was killed in the middle of one."""
    path = tmp_path / "out.jsonl"
    path.write_text('{"sequence": 0}\n{"sequ')

    options = JsonLinesOptions(path=str(path), part=1)
    sink = options.open(feed.stream_format(), pacing="live", announce=feed.ignore)
    sink.accept(feed.shown(6))
    sink.close()

    first, torn, last = path.read_text().splitlines()
    assert (json.loads(first)["sequence"], torn, json.loads(last)["sequence"]) == (0, '{"sequ', 5)


def test_a_new_run_replaces_the_lines(tmp_path: Path) -> None:
    """What an earlier run left is gone with the first line."""
    path = tmp_path / "out.jsonl"
    path.write_text('{"sequence": 99}\n' * 50)

    sink = sink_from_text(f"jsonl:{path}").open(feed.stream_format(), pacing="live", announce=feed.ignore)
    sink.accept(feed.shown(1))
    sink.close()

    assert [line["sequence"] for line in _lines(path)] == [0]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """The line that does not fit is not there at all, and the error says what is kept."""
    path = tmp_path / "out.jsonl"
    sink = sink_from_text(f"jsonl:{path}").open(feed.stream_format(), pacing="live", announce=feed.ignore)

    sink.accept(feed.shown(1))
    n_bytes = path.stat().st_size

    with (
        files_of_at_most(n_bytes + 10),
        pytest.raises(SinkError, match=r"out\.jsonl: File too large; the lines before"),
    ):
        sink.accept(feed.shown(2))
    sink.close()

    assert [line["sequence"] for line in _lines(path)] == [0]
    assert path.stat().st_size == n_bytes
