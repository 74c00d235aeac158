"""Benchmarks run, and give the figures that they promise; how large these are is not tested."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.bench import transport
from pipeline.bench.memory import PssWatch
from pipeline.bench.stream import interval_of
from tests.pipeline.sources.clips import write_clip

ROOT = Path(__file__).resolve().parents[3]


def test_transport_measures_every_way_at_every_size(monkeypatch) -> None:
    """One small size, each way once: frames went through all of them."""
    monkeypatch.setattr(transport, "SIZES", ((320, 180),))
    monkeypatch.setattr(transport, "_ROUNDS", 1)

    figures, table = transport.bench_transport(seconds=0.05)

    assert set(figures) == {"320x180"}
    assert set(figures["320x180"]) == set(transport.WAYS)
    assert all(rate > 0 for rate in figures["320x180"].values())
    assert "320x180" in table


def test_stream_is_compared_with_one_process(tmp_path) -> None:
    """Pipeline, naive and tuned play the same clip; the ratios are theirs."""
    clip, out = tmp_path / "clip.mp4", tmp_path / "figures.json"
    write_clip(clip)
    command = [sys.executable, str(ROOT / "run_stream.py"), "bench", "stream", str(clip), "--rounds", "1"]
    command += ["--rate", "30", "--seconds", "1", "--engine", "person@256x256", "--json", str(out)]
    done = subprocess.run(
        [*command, "--baseline", "naive", "--baseline", "tuned"], capture_output=True, cwd=tmp_path, check=False
    )

    assert done.returncode == 0, done.stderr.decode()
    figures = json.loads(out.read_text())
    assert figures["pipeline"]["frames"]["captured"] == 30
    for name in ("naive", "tuned"):
        assert figures["ratio"][name] == pytest.approx(figures["pipeline"]["fps"] / figures[name]["fps"], rel=1e-2)
    assert figures["pipeline"]["pss_mib"]["max"] > 50


def test_an_interval_covers_the_ratio() -> None:
    """Equal rounds give a ratio of one and no width; scattered rounds give a width around their mean."""
    assert interval_of([10.0, 20.0], [10.0, 20.0])["ratio"] == 1.0
    told = interval_of([10.0, 11.0, 9.0, 10.0], [10.0, 10.0, 10.0, 10.0])

    assert told["low"] < told["ratio"] == 1.0 < told["high"]


def test_memory_counts_children() -> None:
    """A child that holds 64 MiB is seen from outside."""
    held = "x = bytearray(64 << 20); import time; time.sleep(3)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {held!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent])
    watch = PssWatch(process.pid)

    import threading

    thread = threading.Thread(target=watch.run)
    thread.start()
    process.wait(10)
    watch.stop()
    thread.join()

    assert watch.summary()["max"] > 64
