"""Refine keeps a memory a stream, ends it where frames stop following each other, and steps down when too slow."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engines.crf import stream as crf_stream
from engines.crf_gate import Gate
from engines.manifest import CrfSetting
from pipeline import step_down
from pipeline.frame import Frame, Ticket, TicketFlag
from pipeline.settings import Settings
from pipeline.stages import StageContext
from pipeline.stages.refine import Refine

ENGINE = "fake@64x32"


def stage(engine: str = ENGINE) -> Refine:
    """A refine stage that steadies as strongly as it can, without a CRF."""
    made = Refine(
        StageContext(
            streams=(0, 1),
            pacing="live",
            n_threads=1,
            backend="auto",
            options={"crf": "off", "stability": 1.0},
            tell=lambda _: None,
            wake=lambda: None,
            beat=lambda: None,
        )
    )
    made.use(made.prepare(settings(engine)))
    return made


def settings(engine: str) -> Settings:
    """Of a run with one stream."""
    return Settings(0, engine, ("none",))


def alpha_after(refine: Refine, margin: float, sequence: int, *, stream: int = 0, flags: Any = TicketFlag.NONE) -> int:
    """What a still grey picture shows whose subject has this margin everywhere."""
    planes: dict[str, np.ndarray] = {
        "tensor_bgr": np.full((32, 64, 3), 90, np.uint8),
        "logits": np.stack([np.full((8, 16), -margin / 2), np.full((8, 16), margin / 2)]).astype(np.float32),
        "alpha": np.zeros((32, 64), np.uint8),
    }
    refine.submit([Frame(Ticket(0, 1, sequence, 0, stream, flags=flags), planes.__getitem__)])
    assert len(list(refine.finished())) == 1
    return int(planes["alpha"][16, 32])


def test_a_flicker_is_held_back():
    """One frame that wavers across zero does not flip a mask that stood."""
    refine = stage()
    assert alpha_after(refine, 0.6, 0) > 160

    assert alpha_after(refine, -0.6, 1) > 127


@pytest.mark.parametrize(
    ("sequence", "flags"),
    [(5, TicketFlag.NONE), (1, TicketFlag.GAP), (0, TicketFlag.NONE)],
    ids=["four frames dropped", "source reopened", "time gone back"],
)
def test_a_gap_ends_the_memory(sequence: int, flags: TicketFlag):
    """After it the mask is the engine's own."""
    refine = stage()
    alpha_after(refine, 0.6, 0)

    assert alpha_after(refine, -0.6, sequence, flags=flags) < 96


def test_three_dropped_frames_are_no_gap():
    """A live stream drops frames now and then, and the picture before still says something."""
    refine = stage()
    alpha_after(refine, 0.6, 0)

    assert alpha_after(refine, -0.6, 4) > 127


def test_streams_have_memories_of_their_own():
    """Two cameras through one worker."""
    refine = stage()
    alpha_after(refine, 0.6, 0, stream=0)

    assert alpha_after(refine, -0.6, 0, stream=1) < 96
    assert alpha_after(refine, -0.6, 1, stream=0) > 127


def test_another_engine_starts_anew_and_the_same_one_goes_on():
    """An epoch that changes the effect alone does not make the mask flicker."""
    refine = stage()
    alpha_after(refine, 0.6, 0)
    refine.use(refine.prepare(settings(ENGINE)))
    assert alpha_after(refine, -0.6, 1) > 127

    refine.use(refine.prepare(settings(f"{ENGINE}?resize=stretch")))

    assert alpha_after(refine, -0.6, 2) < 96


EXACT, FAST, NONE = 204, 153, 128
"""What a mask says that was made so."""


class FakeCrf:
    """Stands for `StreamCrf`: takes the time of its method on a clock of its own, and says so in the mask."""

    now_ns = 0
    COSTS_MS = {"exact": 60, "fast": 25}
    SAYS = {"exact": EXACT / 255, "fast": FAST / 255}

    def __init__(self, params: Any, iterations: int, method: str) -> None:
        self.asked = (params, iterations, method)
        self.method = method
        self.is_warm = False

    def refine(self, logits: Any, tensor_bgr: Any, memory: Any = None) -> Any:
        del logits
        assert (memory is not None) == (self.method == "fast" and self.is_warm), "fast alone starts from the past"
        self.is_warm = True
        FakeCrf.now_ns += self.COSTS_MS[self.method] * 1_000_000
        subject = np.full(tensor_bgr.shape[:2], self.SAYS[self.method], np.float32)
        return np.stack([1 - subject, subject])


@pytest.fixture
def fake_crf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every method is installed and takes what `FakeCrf` says."""
    monkeypatch.setattr(crf_stream, "StreamCrf", FakeCrf)
    monkeypatch.setattr(step_down, "unavailable_reason", lambda method: None)
    FakeCrf.now_ns = 0
    yield
    FakeCrf.now_ns = 0


def _with_crf(method: str, pacing: str, told: list[dict[str, Any]]) -> Refine:
    options = {"crf": method, "crf_params": "deeplab", "crf_iterations": 5, "stability": 0.0}
    made = Refine(
        StageContext(
            streams=(0,), pacing=pacing, n_threads=1, backend="auto", options=options, tell=told.append,
            wake=lambda: None, beat=lambda: None,
        )
    )  # fmt: skip
    made._clock_ns = lambda: FakeCrf.now_ns
    made.use(made.prepare(settings(ENGINE)))
    return made


def _play(refine: Refine, interval_ms: float, seconds: float) -> list[int]:
    """What the masks say of frames that come at this rate, the newest taken each time."""
    said, sequence, end_ns = [], -1, FakeCrf.now_ns + int(seconds * 1e9)
    while FakeCrf.now_ns < end_ns:
        sequence = max(sequence + 1, int(FakeCrf.now_ns / 1e6 / interval_ms))
        captured_ns = int(sequence * interval_ms * 1e6)
        FakeCrf.now_ns = max(FakeCrf.now_ns, captured_ns)
        planes: dict[str, np.ndarray] = {
            "tensor_bgr": np.zeros((32, 64, 3), np.uint8),
            "logits": np.zeros((2, 8, 16), np.float32),
            "alpha": np.zeros((32, 64), np.uint8),
        }
        refine.submit([Frame(Ticket(0, 1, sequence, 0), planes.__getitem__, captured_ns)])
        list(refine.finished())
        said.append(int(planes["alpha"][0, 0]))
        if len(said) > 1 and said[-1] == NONE:  # without a CRF no time passes
            break
    return said


def test_exact_gives_way_to_fast_and_stays_there(fake_crf: None) -> None:
    """At 30 fps 60 ms are too many and 25 are not: one event, and fast to the end."""
    told: list[dict[str, Any]] = []

    said = _play(_with_crf("exact", "live", told), 33.3, 60)

    assert [(event["type"], event["what"]) for event in told] == [("event", "CRF stepped down")]
    assert told[0]["why"] == "exact to fast: refine took 60 ms a frame, and one comes every 33.3 ms"
    assert said[0] == EXACT
    assert set(said[-100:]) == {FAST}


def test_where_fast_is_too_slow_as_well_the_engine_speaks_alone(fake_crf: None) -> None:
    """At 60 fps both are: two events, one after the other."""
    told: list[dict[str, Any]] = []

    said = _play(_with_crf("exact", "live", told), 16.7, 60)

    assert [event["why"].partition(":")[0] for event in told] == ["exact to fast", "fast to off"]
    assert said[-1] == NONE


def test_a_lossless_run_takes_its_time(fake_crf: None) -> None:
    """Nobody waits, so what was asked for is what is computed."""
    told: list[dict[str, Any]] = []

    said = _play(_with_crf("exact", "lossless", told), 16.7, 20)

    assert told == []
    assert set(said) == {EXACT}


def test_an_effect_that_changes_does_not_bring_the_crf_back(fake_crf: None) -> None:
    """Only another engine starts at its own method again."""
    told: list[dict[str, Any]] = []
    refine = _with_crf("exact", "live", told)
    _play(refine, 33.3, 10)
    same = refine.prepare(settings(ENGINE))
    refine.use(same)
    refine.keep([same])
    assert set(_play(refine, 33.3, 1)) == {FAST}

    refine.use(refine.prepare(settings(f"{ENGINE}?resize=stretch")))

    assert _play(refine, 33.3, 0.1)[0] == EXACT


def test_auto_follows_the_engine_that_is_swapped_in(fake_crf: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second engine's manifest says none: its masks are its own, and an event says why."""
    from pipeline.stages import refine as module

    setting = CrfSetting(w1=3, sigma_alpha=23, sigma_beta=6, w2=1, sigma_gamma=2, iterations=7, method="fast")
    stretched = f"{ENGINE}?resize=stretch"
    monkeypatch.setattr(
        module, "gate_of",
        lambda spec: Gate(setting, "fast: helps") if spec.input.resize == "letterbox" else Gate(None, "off: hurts"),
    )  # fmt: skip
    told: list[dict[str, Any]] = []
    refine = _with_crf("auto", "live", told)
    solver = refine._crf.solver
    assert isinstance(solver, FakeCrf)
    assert solver.asked == (setting.params, 7, "fast")
    assert _play(refine, 33.3, 0.1)[0] == FAST

    refine.use(refine.prepare(settings(stretched)))

    assert _play(refine, 33.3, 0.1)[-1] == NONE
    assert [event["what"] for event in told] == ["CRF of the engine"]
    assert told[0]["why"].endswith("off: hurts")
