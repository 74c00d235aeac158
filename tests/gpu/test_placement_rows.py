"""The report's streams, fused and split: on the CPU, and what a row says of a GPU."""

from types import SimpleNamespace

import pytest
import torch

from tests.gpu.placement_rows import SHARE, _row, placement_rows


@pytest.mark.slow
@pytest.mark.stream
def test_streams_are_played_fused_and_split() -> None:
    """Both show every frame; on a CPU nothing is timed."""
    rows = list(placement_rows(torch.device("cpu")))

    assert [row.work.rpartition(", ")[2] for row in rows] == ["128x72", "128x72", "fused", "split"]
    assert all(row.is_right and row.ms is None for row in rows)
    assert rows[2].facts["frames"]["shown"] == 20


@pytest.mark.parametrize(("fps", "reached"), [(905.0, True), (890.0, False)])
def test_a_stream_reaches_its_share_of_the_bare_engine(fps: float, reached: bool) -> None:
    """1 ms a picture is 1000 a second: nine tenths are wanted, and the share is among the facts."""
    report = {"fps": fps, "backend": "PyTorch"}
    played = SimpleNamespace(frames={"captured": 9, "shown": 9}, report=report, events=[])

    row = _row("stream", played, 1.0, 1.0 / SHARE, {"bare_fps": 1000.0})

    assert row.is_right
    assert row.is_fast is reached
    assert row.facts["share_of_bare"] == pytest.approx(fps / 1000, abs=1e-3)
