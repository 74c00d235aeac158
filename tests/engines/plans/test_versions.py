"""A graph of every version of DeepLab becomes a plan, at a tiny size: TensorRT knows all of their operators."""

from pathlib import Path
from typing import Any

import pytest
import tensorrt_rtx
import torch

from engines.export.graph import export_graph
from engines.models.deeplab import ModelConfig, build
from engines.names import resolve
from engines.plans.builder import build_plan
from engines.plans.cache import PlanCache
from engines.plans.key import PlanOptions, Target
from engines.plans.library import LIBRARIES, Library
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
    "v3+ with dense convolutions": ({"version": "v3plus", "is_separable": False, **TINY}, PERSON),
    "voc": ({"version": "voc", **TINY}, PERSON),
}


@pytest.mark.slow
@pytest.mark.timeout(400)  # nearly all of it is torch's exporter, which imports and traces for a long time
@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_of_deeplab_becomes_a_plan(name: str, tmp_path: Path) -> None:
    """One by one, with a subject or without, so that each tail of the graph is there too."""
    config, meaning = VERSIONS[name]
    torch.manual_seed(0)
    network = build(ModelConfig.model_validate(config), len(meaning.classes)).eval()
    path = tmp_path / "tiny.onnx"
    export_graph(network, meaning, 64, 32, path, [])

    options = PlanOptions(opt_level=0)
    built = build_plan(resolve(path), LIBRARY, Target.of(LIBRARY, None), options, PlanCache(tmp_path / "plans"))

    assert [plane.name for plane in built.plan.manifest.key.outputs] == list(meaning.output.names)
    assert built.plan.manifest.plan_bytes > 10_000
