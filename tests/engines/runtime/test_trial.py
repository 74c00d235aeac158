"""Engines that open and answer wrongly are found out before they serve."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from engines.errors import EngineError
from engines.names import resolve
from engines.runtime import open_engine
from engines.runtime.checked import Array, CheckedEngine
from engines.runtime.trial import try_out
from engines.spec import EngineSpec
from tests.engines.runtime.graphs import analytic_alpha, analytic_logits, write_engine


class Answering(CheckedEngine):
    """Right, unless told otherwise."""

    title: ClassVar[str] = "Answering"
    faults: Mapping[str, Any] = {}

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return None

    def _open(self) -> None:
        pass

    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        alpha = analytic_alpha(image_bgr.astype(np.uint8))
        right = {"alpha": alpha, "labels": alpha // 255, "logits": analytic_logits(image_bgr.astype(np.uint8))}
        for name, buffer in outputs.items():
            kept = buffer[..., 0, 0].copy()
            buffer[...] = right[name]
            fault = self.faults.get(name, right[name][..., 0, 0])
            buffer[..., 0, 0] = kept if isinstance(fault, str) else fault

    def _close(self) -> None:
        pass


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> EngineSpec:
    """A graph of 64x32."""
    return resolve(write_engine(tmp_path_factory.mktemp("engines")))


def test_a_right_engine_passes(spec: EngineSpec) -> None:
    """Whether all outputs are asked for or one; also a real one."""
    for outputs in (None, ["alpha"]):
        with Answering(spec, outputs=outputs) as engine:
            try_out(engine)
    with open_engine(spec, backend="openvino") as real:
        try_out(real)


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ({"logits": np.nan}, "2 of 256 values of logits are not finite"),
        ({"logits": np.inf}, "2 of 256 values of logits are not finite"),
        ({"logits": "untouched"}, "2 of 256 values of logits are not finite"),
        ({"alpha": "untouched"}, "1 of 2048 values of alpha were not written"),
        ({"labels": "untouched"}, "1 of 2048 values of labels were not written"),
        ({"labels": 2}, "a label is 2, and there are 2 classes"),
    ],
)
def test_one_wrong_value_is_enough(
    spec: EngineSpec, faults: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is named with its backend, and what helps."""
    monkeypatch.setattr(Answering, "faults", faults)

    with Answering(spec) as engine, pytest.raises(EngineError, match=told) as error:
        try_out(engine)

    assert "tiny 64x32 fp32 on Answering" in str(error.value)
    assert "build it again" in str(error.value)


def test_an_engine_that_fails_on_the_picture_says_so_itself(spec: EngineSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own error passes."""

    def fail(self: Answering, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        raise EngineError("out of memory")

    monkeypatch.setattr(Answering, "_run", fail)

    with Answering(spec) as engine, pytest.raises(EngineError, match="out of memory"):
        try_out(engine)
