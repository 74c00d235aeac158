"""Graphs with an open batch axis: what every backend must do alike with one picture, two, and as many as it takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import EngineError, EngineMismatch, InputSizeError
from engines.names import resolve
from engines.runtime import BACKENDS, Engine, backend_reason, open_engine
from engines.runtime.fake_engine import SHAPE_BGR
from engines.spec import EngineSpec
from tests.engines.plans.worlds import dynamic_graph
from tests.engines.runtime.graphs import analytic_alpha, write_graph
from tests.engines.runtime.test_conformance import build_for_this_gpu

WIDTH, HEIGHT, MOST = 64, 32, 5

Opened = Callable[..., Engine]


def _present() -> list[Any]:
    marks = {name: backend_reason(name) for name in BACKENDS}
    return [
        pytest.param(name, marks=pytest.mark.skip(reason=f"needs {name}: {reason}")) if reason else name
        for name, reason in marks.items()
    ]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small graph with an open batch axis and no manifest."""
    folder = tmp_path_factory.mktemp("open")
    return dynamic_graph(write_graph(folder / "fixed.onnx", WIDTH, HEIGHT), folder / "open" / "tiny.onnx")


@pytest.fixture(params=_present())
def opened(request: pytest.FixtureRequest, graph: Path) -> Opened:
    """Makes an engine that takes up to MOST pictures, on each backend that works here."""
    backend = str(request.param)

    def make(**options: Any) -> Engine:
        options = {"n_threads": 1, "max_batch": MOST, **options}
        if backend == "fake":
            return open_engine(f"fake@{WIDTH}x{HEIGHT}?max_batch=8", backend=backend, **options)
        if backend.startswith("tensorrt"):
            build_for_this_gpu(resolve(graph), backend)
        return open_engine(graph, backend=backend, **options)

    return make


def pictures(n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(n, 32, 64, 3): each has the fake's shape, blue above 128, at a place of its own."""
    images = np.full((n, HEIGHT, WIDTH, 3), 30, np.uint8)
    for index in range(n):
        left = (8 * index + 4 * seed) % 40
        images[index, 8:24, left : left + 16] = SHAPE_BGR
    return images


def buffers(spec: EngineSpec, n: int, *names: str) -> dict[str, Any]:
    """Filled with 77."""
    return {name: np.full(spec.output_shape(name, n), 77, spec.output_dtype(name)) for name in names}


@pytest.mark.parametrize("n", [1, 2, MOST])
def test_each_picture_of_a_batch_has_the_answer_it_has_alone(opened: Opened, n: int) -> None:
    """Bytes of masks are the same; logits, summed in another order at most, are the same numbers."""
    images = pictures(n)
    with opened(precision_hint="f32") as engine:
        together = buffers(engine.spec, n, "logits", "alpha", "labels")
        engine.infer({"image_bgr": images}, together)
        alone = buffers(engine.spec, n, "logits", "alpha", "labels")
        for index in range(n):
            one = {name: buffer[index : index + 1] for name, buffer in alone.items()}
            engine.infer({"image_bgr": images[index : index + 1]}, one)

    assert engine.max_batch == MOST
    assert np.array_equal(together["alpha"], analytic_alpha(images))
    assert np.array_equal(together["alpha"], alone["alpha"])
    assert np.array_equal(together["labels"], alone["labels"])
    np.testing.assert_allclose(together["logits"], alone["logits"], atol=1e-5)


def test_batches_of_any_size_may_follow_each_other_in_the_same_buffers(opened: Opened) -> None:
    """What a stream does: one input, one output, the first n of each; what lies behind is not touched."""
    with opened(outputs=["alpha", "labels"]) as engine:
        image, out = pictures(MOST), buffers(engine.spec, MOST, "alpha")["alpha"]
        for seed, n in enumerate((1, 3, 2, MOST, 1, 2)):
            image[:] = pictures(MOST, seed)
            out.fill(77)
            engine.infer({"image_bgr": image[:n]}, {"alpha": out[:n]})

            assert np.array_equal(out[:n], analytic_alpha(image[:n]))
            assert (out[n:] == 77).all()


def test_more_pictures_than_it_was_opened_for_are_refused(opened: Opened) -> None:
    """And none at all, and outputs of another number: said before anything is written."""
    with opened(outputs=["alpha"]) as engine:
        out = buffers(engine.spec, MOST + 1, "alpha")
        with pytest.raises(InputSizeError, match=f"{MOST + 1} pictures in one call, it was opened for 1 to {MOST}"):
            engine.infer({"image_bgr": pictures(MOST + 1)}, out)
        with pytest.raises(InputSizeError, match="0 pictures"):
            engine.infer({"image_bgr": pictures(1)[:0]}, out)
        with pytest.raises(InputSizeError, match=r"alpha is uint8 \(6, 32, 64\), expected uint8 \(2, 32, 64\)"):
            engine.infer({"image_bgr": pictures(2)}, out)

    assert (out["alpha"] == 77).all()


def test_one_picture_a_call_is_all_that_anybody_gets_who_does_not_ask(graph: Path) -> None:
    """Two of a graph that takes any number are refused; on a processor nobody is advised to ask."""
    for asked in ({}, {"max_batch": None}):
        with open_engine(graph, backend="onnxruntime", n_threads=1, **asked) as engine:
            assert engine.max_batch == 1
            with pytest.raises(InputSizeError, match="open it with max_batch=2"):
                engine.infer({"image_bgr": pictures(2)}, buffers(engine.spec, 2, "alpha"))


def test_a_graph_with_a_fixed_batch_stays_as_it_is(tmp_path: Path) -> None:
    """Asking for more changes nothing; a manifest that promises an open axis is found out."""
    fixed = write_graph(tmp_path / "fixed.onnx", WIDTH, HEIGHT)
    with open_engine(fixed, backend="onnxruntime", n_threads=1, max_batch=4) as engine:
        assert engine.max_batch == 1

    spec = resolve(fixed)
    promised = EngineSpec(spec.name, spec.path, spec.input, spec.output, spec.palette, spec.precision, any_batch=True)
    with pytest.raises(EngineMismatch, match="the manifest promises"):
        open_engine(promised, backend="onnxruntime", n_threads=1).__enter__()


def test_a_batch_of_none_is_refused_before_memory_is_acquired(graph: Path) -> None:
    """As an option of opening."""
    with pytest.raises(EngineError, match="batches of 0"):
        open_engine(graph, backend="onnxruntime", max_batch=0)
