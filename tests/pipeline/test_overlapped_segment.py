"""Segment with an engine on a GPU: two frames under way at once, in order, whatever is swapped in meanwhile."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from engines.errors import DeviceLost, EngineError
from engines.runtime import BACKENDS
from engines.runtime.host_device import HostDevice
from engines.runtime.overlap import IN_FLIGHT
from pipeline.frame import Frame, Ticket
from pipeline.settings import Settings
from pipeline.stages import StageContext
from pipeline.stages.segment import Segment
from tests.engines.runtime.graphs import analytic_alpha, write_engine
from tests.stream.overlapping import OverlappingEngine

WIDTH, HEIGHT = 64, 32


class Gate:
    """What the device waits for before it says that something is done."""

    is_open = threading.Event()
    error: ClassVar[Exception | None] = None

    def record(self) -> None:
        """Here."""

    def wait(self) -> None:
        self.is_open.wait()
        if Gate.error is not None:
            raise Gate.error

    def free(self) -> None:
        """Nothing is held."""


class GatedDevice(HostDevice):
    """Host memory, done when the gate is open."""

    def mark(self) -> Any:
        return Gate()

    def another(self) -> "GatedDevice":
        return self


class Gpu(OverlappingEngine):
    """An engine on a GPU as far as segment can see."""

    title: ClassVar[str] = "Gpu"

    def _opened_device(self) -> HostDevice:
        return GatedDevice()


Make = Callable[[], tuple[Segment, threading.Event]]


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """A graph of 64x32."""
    return str(write_engine(tmp_path / "tiny", sizes=((WIDTH, HEIGHT),)))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Segment, threading.Event]]:
    """A stage whose best backend is on a GPU, and what is set when it wakes its worker."""
    monkeypatch.setattr(Gate, "is_open", threading.Event())
    monkeypatch.setattr(Gate, "error", None)
    before = dict(BACKENDS)
    BACKENDS.clear()
    BACKENDS.update({"gpu": f"{__name__}:Gpu", "onnxruntime": before["onnxruntime"]})
    woken = threading.Event()
    segment = Segment(
        StageContext(
            streams=(0,),
            pacing="live",
            n_threads=1,
            backend="auto",
            options={},
            tell=lambda message: None,
            wake=woken.set,
            beat=lambda: None,
        )
    )
    yield segment, woken
    Gate.is_open.set()
    segment.close()
    BACKENDS.clear()
    BACKENDS.update(before)


def _frames(n: int) -> list[Frame]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(n):
        planes = {"tensor_bgr": rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)}
        planes["alpha"] = np.full((HEIGHT, WIDTH), 77, np.uint8)
        made.append(Frame(Ticket(number, 1, number, 0), planes.__getitem__))
    return made


def _is_right(frame: Frame) -> bool:
    return np.array_equal(frame.plane("alpha"), analytic_alpha(frame.plane("tensor_bgr")[None])[0])


def test_two_frames_are_under_way_and_come_back_in_order(stage: Any, engine: str) -> None:
    """None is handed on before the device is done with it; the worker is woken when it is."""
    segment, woken = stage
    segment.use(segment.prepare(Settings(0, engine, ("blur",))))
    first, second = _frames(2)

    segment.submit([first])
    segment.submit([second])
    early = list(segment.finished())
    Gate.is_open.set()
    done: list[Frame] = []
    while len(done) < 2 and woken.wait(10):
        woken.clear()
        done += segment.finished()

    assert (segment.in_flight, early) == (IN_FLIGHT, [])
    assert done == [first, second]
    assert all(_is_right(frame) for frame in done)


def test_frames_of_the_engine_before_go_first(stage: Any, engine: str) -> None:
    """A backend without overlap answers at once; it must not overtake what is still under way."""
    segment, _ = stage
    on_gpu = segment.prepare(Settings(0, engine, ("blur",)))
    segment.use(on_gpu)
    frames = _frames(3)
    segment.submit(frames[:2])

    on_processor = segment.prepare(Settings(1, engine, ("blur",), backends={engine: "onnxruntime"}))
    segment.use(on_processor)
    threading.Timer(0.05, Gate.is_open.set).start()
    segment.submit(frames[2:])
    segment.keep([on_processor])

    assert segment.in_flight == 1
    assert list(segment.finished()) == frames
    assert all(_is_right(frame) for frame in frames)


def test_an_engine_is_closed_when_its_frames_are_done(stage: Any, engine: str) -> None:
    """Closing waits for them; they are handed on after it as if nothing had been."""
    segment, _ = stage
    segment.use(segment.prepare(Settings(0, engine, ("blur",))))
    (frame,) = _frames(1)
    segment.submit([frame])

    threading.Timer(0.05, Gate.is_open.set).start()
    segment.close()

    assert list(segment.finished()) == [frame]
    assert _is_right(frame)


def test_what_failed_on_the_way_is_raised_where_frames_are_handed_on(stage: Any, engine: str) -> None:
    """In the worker's own thread, which ends by it as by any other failure."""
    segment, woken = stage
    segment.use(segment.prepare(Settings(0, engine, ("blur",))))
    Gate.error = EngineError("cudaEventSynchronize: CUDA error 2")
    segment.submit(_frames(1))

    Gate.is_open.set()
    woken.wait(10)

    with pytest.raises(EngineError, match="CUDA error 2"):
        list(segment.finished())


def test_settling_waits_for_what_is_under_way(stage: Any, engine: str) -> None:
    """Before other settings hold, every frame of the ones before is done."""
    segment, _ = stage
    segment.use(segment.prepare(Settings(0, engine, ("blur",))))
    frames = _frames(2)
    segment.submit(frames)

    threading.Timer(0.05, Gate.is_open.set).start()
    segment.settle()

    assert list(segment.finished()) == frames
    assert all(_is_right(frame) for frame in frames)


@pytest.mark.parametrize("waits", [False, True])
def test_a_call_that_never_comes_back_is_a_lost_gpu(stage: Any, engine: str, *, waits: bool) -> None:
    """Also while it is waited for, and the worker says meanwhile that it lives; closing waits for nobody."""
    segment, _ = stage
    beats: list[None] = []
    segment.context.work_timeout_s, segment.context.beat = 0.3, lambda: beats.append(None)
    segment.use(segment.prepare(Settings(0, engine, ("blur",))))
    segment.submit(_frames(2))
    assert list(segment.finished()) == []

    with pytest.raises(DeviceLost, match=r"the GPU hangs.*within 0\.3 s") as caught:
        segment.settle() if waits else _look_until_lost(segment)
    segment.context.is_device_lost = True
    segment.close()

    assert caught.value.backend == "gpu"
    assert bool(beats) == waits
    assert not Gate.is_open.is_set()


def _look_until_lost(segment: Segment) -> None:
    for _ in range(500):
        assert list(segment.finished()) == []
        threading.Event().wait(0.02)
