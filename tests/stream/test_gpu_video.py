"""Whole streams that want a GPU for their video on a machine without one."""

from pathlib import Path

import pytest

from engines.machine import nvidia_reason
from tests.pipeline.sinks import feed
from tests.pipeline.sources.clips import write_clip
from tests.stream.playing import play


@pytest.mark.skipif(nvidia_reason() is None, reason="needs a machine without an NVIDIA driver")
def test_a_run_that_asks_for_nvdec_and_nvenc_is_done_by_the_processor(tmp_path: Path) -> None:
    """No worker dies; every frame is read and written; the report says of both why not."""
    clip = write_clip(tmp_path / "clip.mp4", 20)
    out = tmp_path / "out.mp4"

    played = play(
        str(clip), f"file:{out}", pacing="lossless", effect="none", hwaccel="cuda", codec="h264_nvenc", threads=1
    )

    assert played.frames["shown"] == 20
    assert feed.numbers_in(out) == list(range(1, 21))
    assert played.events == ["decoded by the processor"]
    assert "hwaccel cuda was wanted; no NVIDIA driver" in played.report["events"][0]["why"]
