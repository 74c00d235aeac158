"""A whole stream whose engine has two frames under way at once."""

import numpy as np

from tests.engines.runtime.graphs import analytic_alpha, write_engine
from tests.stream.playing import play


def test_every_frame_has_its_own_mask_and_comes_in_order(tmp_path) -> None:
    """Nobody waits for the engine inside the worker: it is woken; what it hands on is whole."""
    engine = write_engine(tmp_path / "tiny", sizes=((64, 32),))
    stages = ("capture", "preprocess", "tests.stream.overlapping:OverlappingSegment", "tap", "render")

    played = play(
        "synthetic:320x180@60?frames=60", engine=str(engine), stages=stages, pacing="lossless", threads=1,
        tap=str(tmp_path / "tap"),
    )  # fmt: skip

    assert played.report["backend"].startswith("Overlapping")
    assert played.frames["shown"] == played.frames["captured"] == 60
    tapped = sorted((tmp_path / "tap").glob("*.npz"))
    assert len(tapped) == 60
    for path in tapped:
        with np.load(path) as planes:
            assert np.array_equal(planes["alpha"], analytic_alpha(planes["tensor_bgr"][None])[0]), path.name
