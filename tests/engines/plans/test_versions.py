"""A graph of every version of DeepLab becomes a plan, at a tiny size: TensorRT knows all of their operators.

The versions differ in their heads. So all but one stand on two convolutions instead of MobileNetV2, most of whose
export would be the same layers again: 46 s for the file, where seven whole networks took 102 s (two cores, under load).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx
import torch
from torch import Tensor, nn

from engines.export.graph import export_graph
from engines.models.backbones import Backbone
from engines.models.deeplab import ModelConfig, build
from engines.names import resolve
from engines.plans.builder import build_plan
from engines.plans.cache import PlanCache
from engines.plans.key import PlanOptions, Target
from engines.plans.library import LIBRARIES, Library
from engines.runtime import open_engine
from engines.spec import Meaning

LIBRARY = Library(LIBRARIES["tensorrt_rtx"], tensorrt_rtx)
SCENE = Meaning(("sky", "road", "tree"), ((0, 0, 0), (9, 8, 7), (1, 2, 3)), None)
PERSON = Meaning(("background", "person"), ((0, 0, 0), (9, 8, 7)), "person")
TINY = {"aspp_channels": 8, "low_channels": 4, "width": 0.25}

VERSIONS: dict[str, tuple[dict[str, Any], Meaning]] = {
    "v1": ({"version": "v1", "output_stride": 8, **TINY}, PERSON),
    "v2": ({"version": "v2", "output_stride": 8, "input_scales": (0.5, 1.0), **TINY}, SCENE),
    "v3": ({"version": "v3", **TINY}, SCENE),
    "v3 cascaded": ({"version": "v3", "is_cascaded": True, **TINY}, PERSON),
    "v3+": ({"version": "v3plus", **TINY}, SCENE),
    "voc": ({"version": "voc", **TINY}, PERSON),
}
WHOLE = "v3+"
"""The version that keeps its backbone."""


class TwoConvolutions(Backbone):
    """What a head needs of a backbone: features at stride 4 and at the output stride."""

    first_convolution = "low.weight"

    def __init__(self, low_channels: int, high_channels: int, output_stride: int) -> None:
        super().__init__()
        self.low_channels, self.high_channels = low_channels, high_channels
        self.low = nn.Conv2d(3, low_channels, 3, stride=4, padding=1)
        self.high = nn.Conv2d(low_channels, high_channels, 3, stride=output_stride // 4, padding=1)

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low(image_rgb)
        return low, self.high(low)


def assert_torch_answers_alike(path: Path) -> None:
    """A module of torch gives the logits that ONNX Runtime gives; labels may differ where two classes are level."""
    spec = resolve(path)
    image = np.random.default_rng(0).integers(0, 256, spec.input.shape(), dtype=np.uint8)
    answers = []
    for backend in ("torch_cpu", "onnxruntime"):
        out = {name: np.zeros(spec.output_shape(name), spec.output_dtype(name)) for name in spec.output.names}
        with open_engine(spec, backend=backend, n_threads=1) as engine:
            engine.infer({"image_bgr": image}, out)
        answers.append(out)
    np.testing.assert_allclose(answers[0]["logits"], answers[1]["logits"], atol=1e-4)
    assert float((answers[0]["labels"] != answers[1]["labels"]).mean()) < 0.01


@pytest.mark.slow
@pytest.mark.timeout(400)  # nearly all of it is torch's exporter, which imports and traces for a long time
@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_of_deeplab_becomes_a_plan(name: str, tmp_path: Path) -> None:
    """One by one, with a subject or without, so that each tail of the graph is there too."""
    config, meaning = VERSIONS[name]
    torch.manual_seed(0)
    network = build(ModelConfig.model_validate(config), len(meaning.classes))
    if name != WHOLE:
        whole = network.backbone
        network.backbone = TwoConvolutions(whole.low_channels, whole.high_channels, network.config.output_stride)
    network.eval()
    path = tmp_path / "tiny.onnx"
    export_graph(network, meaning, 64, 32, path, [])

    assert_torch_answers_alike(path)
    options = PlanOptions(opt_level=0)
    built = build_plan(resolve(path), LIBRARY, Target.of(LIBRARY, None), options, PlanCache(tmp_path / "plans"))

    assert [plane.name for plane in built.plan.manifest.key.outputs] == list(meaning.output.names)
    assert built.plan.manifest.plan_bytes > 10_000
