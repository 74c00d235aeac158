"""`--crf auto` does what an engine's manifest says, and says why."""

import json
from pathlib import Path
from typing import Any

import pytest

from engines import crf_gate
from engines.crf_gate import gate_of
from engines.manifest import CrfGain, CrfSetting
from engines.names import read_manifest, resolve
from engines.record import record_crf
from engines.runtime.fake_engine import fake_spec
from tests.engines.runtime.graphs import write_engine

SETTING = CrfSetting(w1=3, sigma_alpha=23, sigma_beta=6, w2=1, sigma_gamma=1.5, iterations=7, method="fast")
GAIN = CrfGain(
    data="val toy_*", images=20, width=64, height=32, miou=0.006, miou_interval=(0.0045, 0.0077),
    boundary_f=0.05, boundary_f_interval=(0.04, 0.06),
)  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of one 64x32 graph, on a machine that has what every method needs."""
    monkeypatch.setattr(crf_gate, "unavailable_reason", lambda method: None)
    return write_engine(tmp_path / "tiny")


def _rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_was_noted_is_what_auto_does(engine: Path) -> None:
    """Parameters, iterations and method come back, and the reason is the measured gain."""
    record_crf(resolve(engine), SETTING, GAIN)

    gate = gate_of(resolve(engine))

    assert gate.setting == SETTING
    assert "fast w1 3 sigma 23/6 w2 1/1.5, 7 iterations" in gate.why
    assert "+0.60 points (95 %: +0.45 to +0.77) on 20 pictures of val toy_*" in gate.why
    assert read_manifest(engine).crf_gain == GAIN


def test_none_is_off_and_says_what_was_measured(engine: Path) -> None:
    """A setting that was refused leaves its figures behind."""
    record_crf(resolve(engine), None, GAIN.model_copy(update={"miou": -0.01, "miou_interval": (-0.02, 0.001)}))

    gate = gate_of(resolve(engine))

    assert gate.setting is None
    assert "-1.00 points" in gate.why


@pytest.mark.parametrize("crf", ["none", None, ...])
def test_a_manifest_that_was_never_tuned_is_off(engine: Path, crf: Any) -> None:
    """Old manifests say "none" or nothing; null is the same."""
    tree = json.loads(engine.read_text())
    tree.pop("crf", None)
    engine.write_text(json.dumps(tree if crf is ... else {**tree, "crf": crf}))

    gate = gate_of(resolve(engine))

    assert gate.setting is None
    assert "nobody measured" in gate.why


def test_a_setting_holds_for_its_size_only(engine: Path) -> None:
    """Widths are in pixels of the engine's input."""
    record_crf(resolve(engine), SETTING, GAIN.model_copy(update={"width": 512, "height": 288}))

    gate = gate_of(resolve(engine))

    assert gate.setting is None
    assert "tuned at 512x288 and this graph is 64x32" in gate.why


def test_a_setting_written_by_hand_is_followed(engine: Path) -> None:
    """The shortest form that a person may write; what is left out has its default."""
    _rewrite(engine, crf={"w1": 4, "sigma_alpha": 67, "sigma_beta": 3})

    setting = gate_of(resolve(engine)).setting

    assert setting is not None
    assert (setting.w1, setting.iterations, setting.method) == (4, 5, "fast")


def test_what_is_not_installed_is_off_with_its_remedy(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream starts on a machine without numba too."""
    record_crf(resolve(engine), SETTING, GAIN)
    monkeypatch.setattr(crf_gate, "unavailable_reason", lambda method: f"numba is not installed for {method}; pip it")

    gate = gate_of(resolve(engine))

    assert gate.setting is None
    assert "numba is not installed for fast; pip it" in gate.why


def test_an_engine_without_a_manifest_is_off() -> None:
    """There is nobody to ask."""
    assert gate_of(fake_spec("fake@64x32")).setting is None
