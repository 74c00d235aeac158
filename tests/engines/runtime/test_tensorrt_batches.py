"""The TensorRT backend with a plan for any batch, on a GPU that takes notes: shapes, captures, what a call costs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engines.errors import InputSizeError
from engines.names import resolve
from engines.plans.cache import PlanCache
from engines.plans.key import Batches
from engines.runtime.tensorrt_engine import TensorRtEngine
from tests.engines.plans.keeping import kept
from tests.engines.plans.worlds import dynamic_graph, key, named_library, tiny_spec
from tests.engines.runtime.graphs import analytic_alpha
from tests.engines.runtime.notebook import DataType, NotedDevice, NotedTrt, noted_engine

World = Callable[..., tuple[TensorRtEngine, NotedTrt, NotedDevice]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An engine of a graph that takes any batch, and a plan of it for 1 to 4 pictures."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = resolve(dynamic_graph(tiny_spec(tmp_path / "engines").path, tmp_path / "open" / "tiny.onnx"))
    planes = {
        "image_bgr": (DataType.UINT8, (-1, 32, 64, 3)),
        "logits": (DataType.FLOAT, (-1, 2, 8, 16)),
        "alpha": (DataType.UINT8, (-1, 32, 64)),
        "labels": (DataType.UINT8, (-1, 32, 64)),
    }
    kept(PlanCache(tmp_path / "segstream" / "plans"), key(spec, named_library(), batches=Batches(largest=4)))
    return lambda **options: noted_engine(monkeypatch, spec, planes=planes, **options)


def noise(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(n, 32, 64, 3)."""
    return np.random.default_rng(1).integers(0, 256, (n, 32, 64, 3), np.uint8)


def test_a_plan_for_any_batch_is_told_its_shape_once(world: World) -> None:
    """A stream of its own takes one picture a call: the shape is set before the first, and buffers are of that size."""
    engine, _, device = world()

    with engine:
        assert engine.max_batch == 1
        assert device.notes[0] == "allocate 6144"
        assert [note for note in device.notes if "shape" in note] == ["shape (1, 32, 64, 3)"]


def test_every_number_of_pictures_is_captured_when_a_batch_engine_opens(world: World) -> None:
    """As many as the plan takes, however many were asked for; afterwards a call of any number is one launch."""
    engine, trt, device = world(max_batch=16)
    images = noise(4)

    with engine:
        assert engine.max_batch == 4
        assert [note for note in device.notes if "shape" in note] == [f"shape ({n}, 32, 64, 3)" for n in (1, 2, 3, 4)]
        assert device.notes.count("capture") == 4
        for n in (3, 1, 4, 2):
            alpha = np.full((n, 32, 64), 77, np.uint8)
            device.notes.clear()
            engine.infer({"image_bgr": images[:n]}, {"alpha": alpha})

            assert device.notes == ["upload", "launch", "download uint8", "wait"]
            assert np.array_equal(alpha, analytic_alpha(images[:n]))
        with pytest.raises(InputSizeError, match="5 pictures in one call, it was opened for 1 to 4"):
            engine.infer({"image_bgr": np.zeros((5, 32, 64, 3), np.uint8)}, {"alpha": alpha})
    assert trt.n_inferences == 8  # once as it is and once into the graph, for each number


def test_every_captured_number_has_a_context_of_its_own_and_all_share_one_memory(world: World) -> None:
    """A context that changed its shape after a capture would take that graph's ground away; the stream orders them."""
    engine, _, device = world(max_batch=3, wants_bytes=5000)

    with engine:
        assert device.notes.count("context USER_MANAGED") == 3
        assert device.notes.count("allocate 5000") == 1
        assert len({note for note in device.notes if note.startswith("activations")}) == 1
    assert not device.memory
    assert device.notes[-1] == "close"


def test_without_graphs_a_batch_is_queued_with_its_shape(world: World) -> None:
    """Once for each number of pictures, whose context keeps it."""
    engine, _, device = world(device=NotedDevice(refuses_capture=True), max_batch=2)
    image = noise(1)

    with engine:
        for n in (2, 2, 1):
            alpha = np.zeros((n, 32, 64), np.uint8)
            engine.infer({"image_bgr": np.repeat(image, n, axis=0)}, {"alpha": alpha})
            assert np.array_equal(alpha, np.repeat(analytic_alpha(image), n, axis=0))

    assert [note for note in device.notes if "shape" in note] == ["shape (1, 32, 64, 3)", "shape (2, 32, 64, 3)"]
