"""`evaluate --crf auto` scores what a stream would show: the manifest's CRF at the engine's size, or none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import engines.crf.stream
from engines import crf_gate
from engines.errors import EngineError
from engines.evaluation.segmenters import P2Engine, StreamRefined, label_map_of
from engines.evaluation.targets import opened
from engines.manifest import CrfGain, CrfSetting
from engines.names import resolve
from engines.record import record_crf
from tests.engines.evaluation.test_evaluate import FindsRed
from tests.engines.runtime.graphs import write_engine

SETTING = CrfSetting(w1=3, sigma_alpha=23, sigma_beta=6, w2=1, sigma_gamma=1.5, iterations=7, method="fast")


class LeftHalf:
    """Stands for `StreamCrf`: the left half of whatever it sees is the subject; notes what it was given."""

    asked: tuple[Any, ...] = ()
    seen: tuple[Any, ...] = ()

    def __init__(self, *asked: object) -> None:
        LeftHalf.asked = asked

    def refine(self, logits: NDArray[np.float32], tensor_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        LeftHalf.seen = (logits.shape, tensor_bgr.shape)
        is_one = np.zeros(tensor_bgr.shape[:2], np.float32)
        is_one[:, : tensor_bgr.shape[1] // 2] = 1
        return np.stack([1 - is_one, is_one])


@pytest.fixture(autouse=True)
def _left_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.crf.stream, "StreamCrf", LeftHalf)
    monkeypatch.setattr(crf_gate, "unavailable_reason", lambda method: None)


def test_the_crf_runs_at_the_engines_size_and_bars_are_cut_after_it() -> None:
    """A square picture in a 128x64 input: the middle of the input is the middle of the picture."""
    segmenter = StreamRefined(FindsRed(128, 64), SETTING)

    labels = label_map_of(segmenter.logits(np.zeros((40, 40, 3), np.uint8)).transpose(2, 0, 1))

    assert LeftHalf.seen == ((2, 16, 32), (64, 128, 3))
    assert LeftHalf.asked == (SETTING.params, 7, "fast")
    assert labels[:, :20].all()
    assert not labels[:, 20:].any()


def test_auto_takes_the_setting_of_the_manifest(tmp_path: Path) -> None:
    """The title says which, and what it gained."""
    engine = write_engine(tmp_path / "tiny")
    gain = CrfGain(
        data="toy", images=9, width=64, height=32, miou=0.01, miou_interval=(0.005, 0.02),
        boundary_f=0.0, boundary_f_interval=(0.0, 0.0),
    )  # fmt: skip
    record_crf(resolve(engine), SETTING, gain)

    with opened(str(engine), crf="auto") as target:
        assert isinstance(target.segmenter, StreamRefined)
        assert target.segmenter.protocol == "P2 CRF(auto)"
        assert "crf auto: fast w1 3 sigma 23/6 w2 1/1.5, 7 iterations: mIoU +1.00 points" in target.title


def test_auto_without_a_setting_is_the_engine_alone(tmp_path: Path) -> None:
    """The title says why."""
    with opened(str(write_engine(tmp_path / "tiny")), crf="auto") as target:
        assert type(target.segmenter) is P2Engine
        assert "crf auto: off: nobody measured" in target.title


def test_a_checkpoint_has_no_manifest_to_ask(tmp_path: Path) -> None:
    """It is refused before anything is loaded."""
    with pytest.raises(EngineError, match="name a preset"), opened(str(tmp_path / "a.pt"), crf="auto"):
        pass
