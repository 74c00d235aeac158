"""The bench of steady masks gives the figures that it promises."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from engines.errors import EngineError
from engines.runtime import backend_reason
from pipeline.bench import temporal
from tests.pipeline.effects.scenes import STREET, spec_of
from tests.pipeline.sources.clips import write_clip

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(backend_reason("openvino") is not None, reason="needs openvino")
def test_every_figure_is_there(tmp_path, monkeypatch) -> None:
    """One short clip, one sequence of two pictures, one speed."""
    monkeypatch.setattr(temporal, "SPEEDS_PX_S", (1000,))
    monkeypatch.setattr(temporal, "MOVER_FRAMES", 3)
    clip = tmp_path / "clip.mp4"
    write_clip(clip)
    portrait_bgr = cv2.imread(str(temporal.PORTRAIT))[:256, :256]
    for folder, drawn in (("images", portrait_bgr), ("masks", portrait_bgr[..., 1] // 128)):
        (tmp_path / folder).mkdir()
        for index in range(2):
            cv2.imwrite(str(tmp_path / folder / f"{index:05d}.png"), drawn)

    figures, table = temporal.bench_temporal(
        [str(clip)], labelled=tmp_path, engine="person@256x256", stability=0.7, max_frames=3
    )

    assert figures["flicker"]["clip.mp4"]["n_pairs"] == 2
    assert figures["miou"]["n"] == 2
    assert figures["lag"]["px_p95"]["n"] > 0
    assert set(figures["ms"]) == {"wall", "cpu"}
    assert json.dumps(figures)
    assert "1000 px/s" in table


def test_an_engine_without_a_subject_is_refused(monkeypatch) -> None:
    """There is nothing that could lag."""

    class Open:
        spec = spec_of(STREET, 64, 32)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(temporal, "open_engine", lambda *_, **__: Open())

    with pytest.raises(EngineError, match="name such an engine"):
        temporal.bench_temporal([], labelled=None, engine="street", stability=0.7, max_frames=3)


def test_stability_0_is_refused_at_the_command_line(tmp_path) -> None:
    """Raw against raw would say nothing."""
    command = [sys.executable, str(ROOT / "run_stream.py"), "bench", "temporal", "--stability", "0"]

    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)

    assert done.returncode == 2
    assert b"0<x<=1" in done.stderr
