"""Refine keeps a memory a stream, and ends it where frames no longer follow each other."""

from typing import Any

import numpy as np
import pytest

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
