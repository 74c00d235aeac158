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


def test_a_swap_of_sizes_in_one_worker_paints_every_frame_by_its_own_settings(tmp_path) -> None:
    """Frames of the engine before, still under way, reach refine and render before these follow the other engine."""
    one = str(write_engine(tmp_path / "one", sizes=((64, 32),)))
    other = str(write_engine(tmp_path / "other", sizes=((32, 32),)))
    asked: list[int] = []

    def watch(supervisor) -> None:
        shown = supervisor.ledgers[0].shown if supervisor.ledgers else 0
        if shown > 20 * (len(asked) + 1) and len(asked) < 6:
            asked.append(shown)
            supervisor.change(engine=one if len(asked) % 2 == 0 else other)

    played = play(
        "synthetic:320x180@60?frames=200", f"frames:{tmp_path / 'shown'}", engine=one, engines=[other], threads=1,
        pacing="lossless", watch=watch, effect="cutout:black",
        workers=[["capture"], ["preprocess", "tests.stream.overlapping:OverlappingSegment", "render"]],
    )  # fmt: skip

    assert len(asked) >= 3
    assert set(played.events) <= {"slots not page-locked"}
    assert played.report["restarts"] == 0
    assert played.frames["shown"] == played.frames["captured"] == 200


def test_a_gpu_that_hangs_without_an_error_is_lost(tmp_path) -> None:
    """Nothing fails and the worker beats on; its oldest call is too old, so it ends with 70 and another goes on."""
    engine = str(write_engine(tmp_path / "tiny", sizes=((64, 32),)))
    stages = ("capture", "preprocess", "tests.stream.overlapping:HangingSegment", "render")

    played = play(
        "synthetic:320x180@60?frames=30", engine=engine, stages=stages, pacing="lossless", threads=1,
        restart={"work_timeout_s": 0.5, "device_losses": 1},
    )  # fmt: skip

    (why,) = [event["why"] for event in played.report["events"] if event["what"] == "restarted"]
    assert "exit 70, DeviceLost: tiny 64x32 fp32: the GPU hangs" in why
    assert played.events.count("backend given up") == 1
    assert played.report["backend"].startswith("ONNX Runtime")
    frames = played.frames
    assert frames["captured"] == 30 == frames["shown"] + sum(frames["dropped"].values())
    assert frames["shown"] > 0
