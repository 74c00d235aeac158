"""A fused worker's stages with planes that stay on a device, against the same stages on the host.

torch on the CPU stands for the GPU, and triton interprets the kernels. Pictures are compared with those of the host's
painter over the very same mask.
"""

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import DeviceLost
from engines.names import resolve
from pipeline.effects import effect_from_text
from pipeline.frame import Frame, StreamFormat, Ticket
from pipeline.layout import planes_of
from pipeline.matte import MatteUpsampler
from pipeline.on_device import OnDevice, on_device_of
from pipeline.settings import MatteOptions, Settings
from pipeline.sinks import Shown
from pipeline.stages import Stage, StageContext, open_stage
from pipeline.timing import Ledger
from tests.engines.runtime.graphs import write_engine

pytestmark = pytest.mark.torch

FORMAT = StreamFormat(90, 62, Fraction(30), False, "drawn")
STAGES = ("preprocess", "segment", "render")


class Kept:
    """A sink that keeps copies of what it gets."""

    inline = True

    def __init__(self, *, matte: bool, picture: bool) -> None:
        self.needs_matte, self.needs_picture = matte, picture
        self.shown: list[tuple[int, np.ndarray, np.ndarray | None]] = []

    def accept(self, shown: Shown) -> None:
        matte = None if shown.matte is None else shown.matte.alpha.copy()
        self.shown.append((shown.sequence, shown.composite_bgr.copy(), matte))

    def commands(self) -> list[dict[str, Any]]:
        return []

    def update(self, numbers: dict[str, Any]) -> None:
        """Nobody looks."""

    def close(self) -> None:
        """Nothing to finish."""


class Corridor:
    """The stages of one worker, fed frame by frame."""

    def __init__(
        self, engine: str, sink: Kept, monkeypatch: pytest.MonkeyPatch, stages: tuple[str, ...] = STAGES, **options: Any
    ) -> None:
        self.told: list[dict[str, Any]] = []
        self.context = StageContext(
            streams=(0,), pacing="lossless", n_threads=1, backend="torch_cpu", tell=self.told.append,
            wake=lambda: None, beat=lambda: None, on_device=on_device_of(stages, (0,), lambda: None, self.told.append),
            options={"sinks": [["kept"]], "engines": [engine], "effects": [], **options},
        )  # fmt: skip
        self.ledger = Ledger.create(STAGES)
        self.context.ledgers[0] = self.ledger
        opened = type("Options", (), {"model_fields": {}, "open": lambda self, stream_format, **more: sink})()
        monkeypatch.setattr("pipeline.stages.render.sink_from_text", lambda text: opened)
        self.stages: list[Stage] = [open_stage(name, self.context) for name in stages]
        self._planes = planes_of(FORMAT, resolve(engine))
        for stage in self.stages:
            stage.begin({0: FORMAT})

    def use(self, settings: Settings) -> None:
        """As the worker does at a frame boundary."""
        for stage, made in [(stage, stage.prepare(settings)) for stage in self.stages]:
            stage.use(made)

    def submit(self, sequence: int) -> list[int]:
        """Push one frame in; the numbers of those that come out."""
        return [frame.ticket.sequence for frame in self._push(sequence, _picture())[1]]

    def feed(self, sequence: int, image_bgr: np.ndarray) -> dict[str, np.ndarray]:
        """One frame through all stages; its slot."""
        slot, frames = self._push(sequence, image_bgr)
        assert [frame.ticket.sequence for frame in frames] == [sequence]
        assert frames[0].seat is None
        return slot

    def _push(self, sequence: int, image_bgr: np.ndarray) -> tuple[dict[str, np.ndarray], list[Frame]]:
        slot = {name: np.full(plane.shape, 77, plane.dtype) for name, plane in self._planes.items()}
        slot["image_bgr"][:] = image_bgr
        frames = [Frame(Ticket(0, 0, sequence, sequence * 33_000_000), slot.__getitem__)]
        for stage in self.stages:
            stage.submit(frames)
            frames = list(stage.finished())
        return slot, frames

    def close(self) -> None:
        """As the worker ends."""
        for stage in reversed(self.stages):
            stage.close()
        self.ledger.close()


@pytest.fixture
def corridor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Corridor]]:
    """Makes corridors with an engine of 64x32."""
    engine = str(write_engine(tmp_path / "tiny"))
    made: list[Corridor] = []

    def make(sink: Kept, **options: Any) -> Corridor:
        made.append(Corridor(engine, sink, monkeypatch, **options))
        return made[-1]

    make.engine = engine
    yield make
    for one in made:
        one.close()


def _picture() -> np.ndarray:
    """Soft shapes: the subject blue, the rest not."""
    noise = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (62, 90, 3)).astype(np.uint8), (9, 9), 3)
    cv2.ellipse(noise, (45, 36), (20, 22), 0, 0, 360, (230, 90, 60), -1)
    noise[:, :15, 0] = 20
    return noise


@pytest.mark.parametrize(("effect", "bound"), [("blur:12", 3), ("cutout", 3), ("replace", 3), ("blur:3", 12)])
def test_pictures_are_the_hosts(corridor: Callable[..., Corridor], effect: str, bound: int) -> None:
    """The composite lies in the slot, and is the host painter's over the mask that the sink got.

    Three levels: the host rounds small pictures and blends to two. A narrow blur is exact here, and there an
    approximation by half-size pictures, which at the subject's filled-in edge is off by more.
    """
    sink = Kept(matte=True, picture=True)
    run = corridor(sink)
    run.use(Settings(0, corridor.engine, (effect,)))
    image_bgr = _picture()

    slot = run.feed(0, image_bgr)

    assert not [one for one in run.told if one["type"] == "event"]
    ((_, composite, alpha),) = sink.shown
    assert np.array_equal(composite, slot["composite"])
    assert 0.1 < (slot["alpha"] > 127).mean() < 0.9
    plainly = MatteOptions(edges="linear")
    matte = MatteUpsampler(FORMAT, resolve(corridor.engine), plainly).matte(slot["alpha"], None, image_bgr)
    assert np.array_equal(alpha, matte.alpha)
    wanted = np.empty_like(image_bgr)
    effect_from_text(effect).open(FORMAT).paint(image_bgr, matte, 0, wanted)
    difference = np.abs(composite.astype(int) - wanted)
    assert difference.max() <= bound
    assert difference.mean() < 0.6


def test_only_what_is_asked_for_comes_down(corridor: Callable[..., Corridor]) -> None:
    """A sink that looks at nothing leaves composite and mask on the device, but for frames that tell of steadiness."""
    run = corridor(Kept(matte=False, picture=False))
    run.use(Settings(0, corridor.engine, ("blur:12",)))

    slots = [run.feed(sequence, _picture()) for sequence in range(3)]

    assert all((slot["composite"] == 77).all() for slot in slots)
    assert [(slot["alpha"] == 77).all() for slot in slots] == [False, False, True]
    assert (slots[0]["tensor_bgr"] != 77).any()
    assert run.ledger.numbers() is not None


@pytest.mark.parametrize(
    ("effect", "matte", "why"),
    [
        ("overlay", MatteOptions(), "effect overlay has no kernel"),
        ("blur:12", MatteOptions(feather_px=2), "shrink and feather"),
        ("blur:12", MatteOptions(edges="guided"), "guided edges"),
        ("none", MatteOptions(), ""),
    ],
)
def test_what_has_no_kernel_is_painted_on_the_host(
    corridor: Callable[..., Corridor], effect: str, matte: MatteOptions, why: str
) -> None:
    """The mask comes down, the picture is the host's to the byte, and it is said once."""
    sink = Kept(matte=False, picture=True)
    run = corridor(sink)
    image_bgr = _picture()
    for epoch in (0, 1):
        run.use(Settings(epoch, corridor.engine, (effect,), matte=matte))
        slot = run.feed(epoch, image_bgr)

    upsampler = MatteUpsampler(FORMAT, resolve(corridor.engine), matte)
    wanted = np.empty_like(image_bgr)
    effect_from_text(effect).open(FORMAT).paint(
        image_bgr, upsampler.matte(slot["alpha"], None, image_bgr), 33_000_000, wanted
    )
    assert np.array_equal(sink.shown[1][1], wanted)
    said = [one["why"] for one in run.told if one["type"] == "event"]
    assert len(said) == bool(why)
    assert all(why in one for one in said)


def test_masks_that_the_host_makes_are_composed_there(corridor: Callable[..., Corridor]) -> None:
    """With a CRF or temporal fusion the engine's logits come down for it, and the device has no mask."""
    sink = Kept(matte=False, picture=True)
    run = corridor(sink, stages=("preprocess", "segment", "refine", "render"), stability=0.5)
    run.use(Settings(0, corridor.engine, ("cutout",)))
    image_bgr = _picture()

    slot = run.feed(0, image_bgr)

    assert np.isfinite(slot["logits"]).all()
    assert 0.1 < (slot["alpha"] > 127).mean() < 0.9
    plainly = MatteOptions(edges="linear")
    matte = MatteUpsampler(FORMAT, resolve(corridor.engine), plainly).matte(slot["alpha"], None, image_bgr)
    wanted = np.empty_like(image_bgr)
    effect_from_text("cutout").open(FORMAT).paint(image_bgr, matte, 0, wanted)
    assert np.array_equal(sink.shown[0][1], wanted)
    assert [one["why"] for one in run.told if one["type"] == "event"] == ["refine makes the masks there"]


def test_only_a_worker_with_all_of_it_keeps_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stream, the three stages, no stage of unknown habits, and kernels that can run."""

    def made(*stages: str, streams: tuple[int, ...] = (0,)) -> bool:
        return isinstance(on_device_of(stages, streams, lambda: None, lambda _: None), OnDevice)

    assert made(*STAGES, "refine", "tap")
    assert not made("preprocess", "segment")
    assert not made(*STAGES, "tests.stream.faults:Slow")
    assert not made(*STAGES, streams=(0, 1))
    monkeypatch.setattr("pipeline.on_device.unavailable_reason", lambda: "no NVIDIA driver")
    assert not made(*STAGES)


def test_frames_are_shown_when_the_device_is_done_and_in_their_order(
    corridor: Callable[..., Corridor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is woken for a frame; one that the host paints waits for those that the device has."""
    from engines.on_device import planes as of_device

    done = [threading.Event() for _ in range(3)]
    made: list[Any] = []

    class Slow(of_device.HostLanes):
        """Marks after the first two (the painters are tried with those) are reached when the test says so."""

        def mark(self) -> Any:
            made.append(None)
            event = done[len(made) - 2] if 2 <= len(made) <= 3 else threading.Event()
            if event not in done:
                event.set()
            return SimpleNamespace(is_done=event.is_set, wait=event.wait)

    monkeypatch.setattr(of_device, "HostLanes", Slow)
    sink = Kept(matte=False, picture=True)
    run = corridor(sink)
    woken = threading.Event()
    run.context.on_device._wake = woken.set
    run.use(Settings(0, corridor.engine, ("cutout",)))
    assert len(made) == 1

    render = run.stages[-1]
    assert run.submit(0) == []
    assert run.submit(1) == []
    assert not sink.shown
    assert render.in_flight >= 2
    done[0].set()
    assert woken.wait(5)
    assert [frame.ticket.sequence for frame in render.finished()] == [0]

    threading.Timer(0.1, done[1].set).start()
    run.use(Settings(1, corridor.engine, ("none",)))
    assert run.submit(2) == [1, 2]
    assert [sequence for sequence, _, _ in sink.shown] == [0, 1, 2]


def test_a_device_that_never_comes_back_is_lost(
    corridor: Callable[..., Corridor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No error is told; a frame that is queued for too long is the sign, and closing asks the device for nothing."""
    from engines.on_device import planes as of_device

    never = threading.Event()
    made: list[Any] = []

    class Hanging(of_device.HostLanes):
        """Reaches the mark of the trial, and none after it."""

        def mark(self) -> Any:
            made.append(None)
            is_trial = len(made) == 1
            return SimpleNamespace(is_done=lambda: is_trial, wait=lambda: is_trial or never.wait())

    monkeypatch.setattr(of_device, "HostLanes", Hanging)
    run = corridor(Kept(matte=False, picture=True))
    run.context.work_timeout_s = 0.2
    run.use(Settings(0, corridor.engine, ("cutout",)))

    assert run.submit(0) == []
    time.sleep(0.25)
    with pytest.raises(DeviceLost, match="the GPU hangs"):
        list(run.stages[-1].finished())
    run.context.is_device_lost = True
    run.stages[1].close()
    assert len(made) == 2


def test_another_engine_takes_over_on_the_device(corridor: Callable[..., Corridor], tmp_path: Path) -> None:
    """Both have their planes while frames of either may come; the first one's go when it is closed."""
    sink = Kept(matte=False, picture=True)
    run = corridor(sink)
    other = str(write_engine(tmp_path / "other"))
    segment, on_device = run.stages[1], run.context.on_device
    first = Settings(0, corridor.engine, ("cutout",))
    second = Settings(1, other, ("cutout",))
    run.use(first)
    run.feed(0, _picture())

    run.use(second)
    run.feed(1, _picture())
    assert set(on_device._made) == {first.opening, second.opening}
    segment.keep([segment.prepare(second)])

    run.feed(2, _picture())
    assert set(on_device._made) == {second.opening}
    assert np.array_equal(sink.shown[0][1], sink.shown[2][1])
