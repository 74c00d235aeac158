"""Every frame, in order, with its own mask."""

import json

import av
import cv2
import numpy as np
import pytest

from pipeline.sources import source_from_uri
from pipeline.sources.synthetic import read_number
from tests.stream.playing import CHAIN, FAULTS, assert_own_masks, pictures, play

SIZE = "320x180"


def test_a_file_keeps_every_frame_in_order(tmp_path) -> None:
    """File to file, lossless: the painted numbers come out 0, 1, 2, ... as cv2 and PyAV read them."""
    clip, out = tmp_path / "in.mkv", tmp_path / "out.mp4"
    play("synthetic:640x360@30?frames=90", f"file:{clip}", effect="none")
    played = play(str(clip), f"file:{out}", effect="none")

    assert played.frames == {"captured": 90, "shown": 90, "dropped": {}}
    capture = cv2.VideoCapture(str(out))
    by_cv2 = []
    while (read := capture.read())[0]:
        by_cv2.append(read_number(read[1]))
    with av.open(str(out)) as container:
        decoded = list(container.decode(video=0))
    by_av = [read_number(frame.to_ndarray(format="bgr24")) for frame in decoded]
    assert by_cv2 == by_av == list(range(90))
    steps = np.diff([float(frame.time) for frame in decoded])
    assert steps == pytest.approx(1 / 30, abs=1e-3)


def test_the_mask_is_the_frames_own(tmp_path) -> None:
    """A mover at 2000 px/s, 1000 frames: each composite equals the one computed from its number."""
    uri = f"synthetic:{SIZE}@30?speed=2000&frames=1000"
    format = source_from_uri(uri).open().format

    played = play(uri, f"frames:{tmp_path}", effect="cutout:black")

    shown = pictures(tmp_path)
    assert played.frames["shown"] == 1000
    assert sorted(shown) == list(range(1000))
    assert_own_masks(shown, format, 2000)


def test_a_slow_stage_slows_the_stream_and_loses_nothing(tmp_path) -> None:
    """Frames wait for a free slot instead of being dropped."""
    stages = (*CHAIN[:3], f"{FAULTS}:Slow", "render")

    played = play(f"synthetic:{SIZE}@30?frames=40", f"jsonl:{tmp_path / 'a.jsonl'}", stages=stages)

    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["sequence"] for line in lines] == list(range(40))
    assert played.frames == {"captured": 40, "shown": 40, "dropped": {}}
    assert played.report["stages"]["slow"]["work_ms"]["p50"] >= 40


def test_neighbours_share_a_process_when_asked(tmp_path) -> None:
    """Grouped stages give the same pictures as one process each."""
    uri = f"synthetic:{SIZE}@30?frames=30"
    play(uri, f"frames:{tmp_path / 'a'}")
    workers = [["capture", "preprocess"], ["segment", "render"]]
    grouped = play(uri, f"frames:{tmp_path / 'b'}", workers=workers)

    assert grouped.frames["shown"] == 30
    one, other = pictures(tmp_path / "a"), pictures(tmp_path / "b")
    assert all(np.array_equal(one[n], other[n]) for n in range(30))


def test_end_by_count_and_by_time(tmp_path) -> None:
    """`max_frames` counts captured frames, `seconds` runs on the source's own clock."""
    assert play(f"synthetic:{SIZE}@30", max_frames=17).frames["shown"] == 17
    assert play(f"synthetic:{SIZE}@10", seconds=2.0).frames["shown"] == 20


def test_the_mirror_is_a_mirror(tmp_path) -> None:
    """Left and right are exchanged, the mask with them."""
    uri = f"synthetic:{SIZE}@30?frames=8"
    play(uri, f"frames:{tmp_path / 'a'}", effect="cutout:black")
    play(uri, f"frames:{tmp_path / 'b'}", effect="cutout:black", mirror=True)

    plain, mirrored = pictures(tmp_path / "a"), pictures(tmp_path / "b")
    for n in range(8):
        assert np.array_equal(plain[n][:, ::-1], mirrored[n])
