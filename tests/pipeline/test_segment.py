"""Which engine the segment stage opens, tries out and keeps."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from engines.errors import BackendUnavailable, EngineError
from engines.runtime import BACKENDS
from engines.runtime.checked import CheckedEngine
from pipeline.settings import Settings
from pipeline.stages import StageContext
from pipeline.stages.segment import Segment
from tests.engines.runtime.graphs import write_engine


class Noted(CheckedEngine):
    """A backend that keeps a list of what is open."""

    title: ClassVar[str] = "Noted"
    open_now: ClassVar[list[str]] = []
    refuses: ClassVar[bool] = False
    lacks: ClassVar[str | None] = None

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return None

    @classmethod
    def missing_reason(cls, spec: Any, precision_hint: Any = "auto") -> str | None:
        return cls.lacks

    def _open(self) -> None:
        if type(self).refuses:
            raise BackendUnavailable("the GPU is gone")
        self.open_now.append(self.title)

    def _run(self, image_bgr: Any, outputs: Any) -> None:
        for buffer in outputs.values():
            buffer[...] = 0

    def _close(self) -> None:
        if self.title in self.open_now:
            self.open_now.remove(self.title)


class Plan(Noted):
    """Stands for TensorRT."""

    title = "Plan"


class Nan(Noted):
    """Answers with no numbers."""

    title = "Nan"

    def _run(self, image_bgr: Any, outputs: Any) -> None:
        for buffer in outputs.values():
            buffer[...] = np.nan if buffer.dtype.kind == "f" else 0


Make = Callable[..., tuple[Segment, list[dict[str, Any]]]]


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """A graph of 64x32."""
    return str(write_engine(tmp_path / "tiny"))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A segment stage on a machine with these backends, and what it told."""
    monkeypatch.setattr(Noted, "open_now", [])
    monkeypatch.setattr(Plan, "refuses", False)
    monkeypatch.setattr(Plan, "lacks", None)
    before = dict(BACKENDS)
    BACKENDS.clear()
    BACKENDS.update({"tensorrt": f"{__name__}:Plan", "openvino": f"{__name__}:Noted", "nan": f"{__name__}:Nan"})

    def make(**options: Any) -> tuple[Segment, list[dict[str, Any]]]:
        told: list[dict[str, Any]] = []
        context = StageContext(
            streams=(0,),
            pacing="live",
            n_threads=1,
            backend=options.pop("backend", "auto"),
            options=options,
            tell=told.append,
            wake=lambda: None,
            beat=lambda: None,
        )
        return Segment(context), told

    yield make
    BACKENDS.clear()  # so that their order is as it was
    BACKENDS.update(before)


def test_two_openings_of_one_engine_are_two_engines(stage: Make, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is opened beside what serves; only when no frame needs the first any more, it is closed."""
    monkeypatch.setattr(Plan, "lacks", "no plan")
    segment, told = stage()
    first = segment.prepare(Settings(0, engine, ("blur",)))
    segment.use(first)
    monkeypatch.setattr(Plan, "lacks", None)
    better = Settings(1, engine, ("blur",), backends={engine: "tensorrt"})

    second = segment.prepare(better)
    again = segment.prepare(better.changed(2, strength=0.5))
    segment.use(second)
    both = list(Noted.open_now)
    segment.keep([second])

    assert again is second is not first
    assert [message["backend"] for message in told] == ["Noted", "Plan"]
    assert (both, Noted.open_now) == (["Noted", "Plan"], ["Plan"])


def test_an_engine_that_answers_wrongly_is_closed_again(stage: Make, engine: str) -> None:
    """It opened, and what it says is no number: refused, and what serves is not touched."""
    segment, _ = stage(crf="fast")
    segment.use(segment.prepare(Settings(0, engine, ("blur",))))

    with pytest.raises(EngineError, match="are not finite"):
        segment.prepare(Settings(1, engine, ("blur",), backends={engine: "nan"}))

    assert Noted.open_now == ["Plan"]


def test_an_engine_that_is_exported_anew_meanwhile_is_refused(stage: Make, engine: str) -> None:
    """Frames are laid out for the one that serves; the file that is there now is another."""
    segment, _ = stage()
    segment.use(segment.prepare(Settings(0, engine, ("blur",))))
    write_engine(Path(engine).parent, sizes=((128, 32),))
    (Path(engine).parent / "tiny-64x32-fp32.onnx").unlink()

    with pytest.raises(EngineError, match=r"tiny-64x32-fp32\.onnx is missing"):
        segment.prepare(Settings(1, engine, ("blur",), backends={engine: "openvino"}))


def test_a_refusal_to_open_is_a_refusal_while_another_serves(
    stage: Make, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old engine is better than another copy of it."""
    monkeypatch.setattr(Plan, "lacks", "no plan")
    segment, _ = stage()
    segment.prepare(Settings(0, engine, ("blur",)))
    monkeypatch.setattr(Plan, "refuses", True)

    with pytest.raises(BackendUnavailable, match="the GPU is gone"):
        segment.prepare(Settings(1, engine, ("blur",), backends={engine: "tensorrt"}))

    assert Noted.open_now == ["Noted"]


def test_after_a_restart_whatever_opens_serves(stage: Make, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker died with its GPU: its successor takes the next backend, unless one was named for the run."""
    monkeypatch.setattr(Plan, "refuses", True)
    settings = Settings(1, engine, ("blur",), backends={engine: "tensorrt"})
    segment, _ = stage()
    named, _ = stage(backend="tensorrt")

    opened = segment.prepare(settings)

    assert segment.prepare(settings) is opened
    assert opened.engine.backend == "Noted"
    with pytest.raises(BackendUnavailable, match="the GPU is gone"):
        named.prepare(settings)


def test_a_missing_plan_is_told_where_one_is_to_be_built(
    stage: Make, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the stream only; before it, and never, are nothing for a worker."""
    monkeypatch.setattr(Plan, "lacks", "no plan of it")
    plans = {}
    for build in ("never", "wait", "background"):
        segment, told = stage(build=build)
        segment.use(segment.prepare(Settings(0, engine, ("blur",))))
        plans[build] = told[0]["plan"]
        segment.close()

    assert (plans["never"], plans["wait"]) == (None, None)
    assert plans["background"]["name"] == engine
    assert (plans["background"]["backend"], plans["background"]["why"]) == ("tensorrt", "no plan of it")
    assert Noted.open_now == []


def test_that_no_gpu_serves_is_said_once(stage: Make, engine: str) -> None:
    """A slider makes new settings many times a second; the engine is the same."""
    segment, told = stage(expects_gpu=True)
    for epoch in range(3):
        segment.use(segment.prepare(Settings(epoch, engine, ("blur",), strength=epoch / 2)))

    assert [message.get("what") for message in told if message["type"] == "event"] == ["no GPU serves"]
