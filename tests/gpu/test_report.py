"""The GPU report, without a GPU: what it compares, what it says, and how it would tell the time."""

import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

# The kernels too: they must be defined before a test turns their interpreter off.
from tests.gpu import clock, crf_rows, kernel_rows  # noqa: F401
from tests.gpu.packages import add_packages
from tests.gpu.report import main
from tests.gpu.rows import Row, table


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_kernel_stands_beside_its_twin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Interpreted and tiny, it runs to its end; all agree, and no time is told."""
    code = main(
        ["--device", "cpu", "--quick", "--only", "kernels", "--only", "crf", "--json", str(tmp_path / "r.json")]
    )

    told = json.loads((tmp_path / "r.json").read_text())
    assert code == 0
    assert all(row["is_right"] for row in told["rows"])
    assert {row["ms"] for row in told["rows"]} == {None}
    assert len(told["rows"]) >= 12
    assert "nothing here was run on a GPU" in capsys.readouterr().out


def test_without_a_gpu_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No GPU is no failure of the kernels: one line, and the way to run it anyway."""
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert main([]) == 1

    assert "--device cpu --quick runs the checks" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--device", "cpu"])


def test_the_table_tells_what_is_wrong_and_what_is_slow() -> None:
    """A difference beyond its bound, NaN too, is wrong; a missed goal is another matter."""
    rows = [
        Row("good", "torch", 0.1, 1, "levels", ms=0.02, goal_ms=0.03),
        Row("slow", "torch", 0.1, 1, "levels", ms=4.0, goal_ms=3.0),
        Row("bad", "torch", float("nan"), 1, "levels"),
    ]

    lines = table(rows).splitlines()

    assert lines[1].endswith("reached")
    assert lines[2].endswith("MISSED")
    assert lines[3].endswith("WRONG")
    assert [row.as_json()["is_right"] for row in rows] == [True, True, False]


def test_wheels_are_added_behind_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of a wheel can be imported; one that is installed already stays the one that is used."""
    with zipfile.ZipFile(tmp_path / "only_here-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("segstream_only_here.py", "answer = 42\n")
        wheel.writestr("numpy/__init__.py", "raise RuntimeError('the wrong numpy')\n")
    monkeypatch.setattr(sys, "path", list(sys.path))

    assert add_packages(tmp_path) == ["only_here-1-py3-none-any.whl"]

    import segstream_only_here  # type: ignore[import-not-found]

    assert segstream_only_here.answer == 42
    with pytest.raises(FileNotFoundError, match="no such folder"):
        add_packages(tmp_path / "nowhere")


def test_the_clock_divides_a_graph_by_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph of twenty calls that takes 2 ms is 0.1 ms a call; the median leaves a slow first one out."""
    now = [0.0]

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = now[0]

        def elapsed_time(self, end: "Event") -> float:
            return end.at - self.at

    class Context:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

        def wait_stream(self, other: object) -> None:
            pass

        def replay(self) -> None:
            now[0] += 2.0

    for name in ("Stream", "stream", "CUDAGraph", "graph", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Context)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    calls = SimpleNamespace(n=0)

    def run() -> None:
        calls.n += 1
        now[0] += 50.0 if calls.n == clock.WARM_UP + 1 else 1.0

    assert clock.graphed(lambda: None, repeats=10).median == pytest.approx(0.1)
    time = clock.launched(run, repeats=10)
    assert (time.median, time.p95) == (1.0, 50.0)
