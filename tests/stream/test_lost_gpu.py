"""Whole streams whose GPU fails for good in the middle: another process goes on, then another backend."""

from pipeline.errors import StreamError, WorkerFailed
from tests.engines.runtime.graphs import write_engine
from tests.stream.playing import play

URI = "synthetic:320x180@60?frames=120"


def test_a_worker_that_lost_its_gpu_ends_with_70_and_is_replaced(tmp_path) -> None:
    """It loses it twice; then `auto` goes on with the next backend, and says so; every frame is accounted for."""
    engine = write_engine(tmp_path, sizes=((64, 32),))
    stages = ("capture", "preprocess", "tests.stream.losing:LosingSegment", "render")

    played = play(URI, engine=str(engine), stages=stages, pacing="lossless", threads=1)

    whys = [event["why"] for event in played.report["events"] if event["what"] == "restarted"]
    assert len(whys) == 2
    assert all(
        "exit 70, DeviceLost: tiny 64x32 fp32: Losing lost the GPU: an illegal memory access" in why for why in whys
    )
    assert played.events.count("backend given up") == 1
    assert played.events.count("slots not page-locked") == 2, "by each process that had a GPU, and by no other"
    assert played.report["backend"].startswith("ONNX Runtime")
    assert [recovery["by"] for recovery in played.report["recoveries"]] == ["restart", "restart"]
    frames, n_slots = played.frames, played.report["slots"]["0"]
    assert frames["captured"] == 120 == frames["shown"] + sum(frames["dropped"].values())
    assert frames["shown"] >= 120 - 2 * n_slots
    assert played.free_slots == list(range(n_slots))


def test_a_backend_that_was_named_ends_the_run_with_the_remedy() -> None:
    """Deaths count as always; the last message says where to look, and what would go on."""
    played = play(
        URI, engine="fake@320x180?lose_at=5", backend="fake", raises=WorkerFailed, restart={"max_restarts": 1}
    )

    assert "(2 deaths in 60 s); look at nvidia-smi" in str(played.error)
    assert "--backend auto goes on" in str(played.error)


def test_without_another_backend_the_run_ends_with_all_reasons() -> None:
    """The fake has no other: the second loss gives it up, and there is nothing left."""
    played = play(URI, engine="fake@320x180?lose_at=5", raises=StreamError)

    assert "no backend is available: fake lost the GPU 2 times in 60 s" in str(played.error)


def test_a_gpu_that_is_lost_while_starting_costs_the_backend_and_not_the_run(tmp_path) -> None:
    """A loss before the first frame is no reason to try the same again: the next backend starts the stream."""
    engine = write_engine(tmp_path, sizes=((64, 32),))
    stages = ("capture", "preprocess", "tests.stream.losing:NeverOpens", "render")

    played = play("synthetic:320x180@60?frames=30", engine=str(engine), stages=stages, pacing="lossless", threads=1)

    assert played.frames["shown"] == 30
    assert played.events[:2] == ["backend given up", "restarted"]
    assert played.report["backend"].startswith("ONNX Runtime")
