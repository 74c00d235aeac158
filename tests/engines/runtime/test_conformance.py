"""What every backend must do alike, on graphs whose answer can be calculated by hand."""

import gc
import multiprocessing
import tracemalloc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import BuildError, EngineError, EngineMismatch, InputSizeError
from engines.names import resolve
from engines.plans.builder import build_plan
from engines.plans.cache import PlanCache, plan_folders
from engines.plans.gpu import gpu_here
from engines.plans.key import PlanOptions, Target
from engines.plans.library import LIBRARIES, find_library
from engines.runtime import BACKENDS, Engine, backend_reason, open_engine
from engines.runtime.fake_engine import LOGIT, SHAPE_BGR
from engines.spec import EngineSpec
from tests.engines.runtime.graphs import analytic_alpha, analytic_logits, write_engine

WIDTH, HEIGHT = 64, 32

Opened = Callable[..., Engine]


def build_for_this_gpu(spec: EngineSpec, backend: str, tf32: bool = True) -> None:
    """A plan of the graph, where the backend will look for it; only on a machine with a GPU."""
    library, (gpu, _) = find_library(backend), gpu_here()
    cache, options = PlanCache(plan_folders()[-1]), PlanOptions(tf32=tf32)
    build_plan(spec, library, Target.of(library, gpu), options, cache, gpu=gpu)


def open_and_close(spec: EngineSpec, backend: str) -> None:
    """All that happens to a graph before its first frame; of the libraries that need a plan, building it too."""
    if backend in LIBRARIES:
        build_for_this_gpu(spec, backend)
    with open_engine(spec, backend=backend):
        pass


def _present() -> list[Any]:
    marks = {name: backend_reason(name) for name in BACKENDS}
    return [
        pytest.param(name, marks=pytest.mark.skip(reason=f"needs {name}: {reason}")) if reason else name
        for name, reason in marks.items()
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small engine in two sizes."""
    folder = tmp_path_factory.mktemp("engines")
    write_engine(folder, sizes=((WIDTH, HEIGHT), (32, 64), (256, 128)))
    return folder


@pytest.fixture(params=_present())
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend that works here."""
    return str(request.param)


@pytest.fixture
def opened(backend: str, folder: Path) -> Opened:
    """Makes an engine of 64x32 for this backend."""

    def make(**options: Any) -> Engine:
        options = {"n_threads": 1, **options}
        if backend == "fake":
            return open_engine(f"fake@{options.pop('size', f'{WIDTH}x{HEIGHT}')}", backend=backend, **options)
        name = f"{folder / 'tiny.json'}@{options.pop('size', f'{WIDTH}x{HEIGHT}')}"
        if backend in LIBRARIES:
            build_for_this_gpu(resolve(name), backend, tf32=options.get("precision_hint") != "f32")
        return open_engine(name, backend=backend, **options)

    return make


@pytest.fixture
def image_bgr() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(1, 32, 64, 3): the left is dark, a rectangle on the right has the colour of the fake's shape, blue above 128."""
    image = np.full((1, HEIGHT, WIDTH, 3), 30, np.uint8)
    image[:, 8:24, 32:56] = SHAPE_BGR
    return image


def _buffers(spec: EngineSpec, *names: str) -> dict[str, Any]:
    return {name: np.full(spec.output_shape(name), 77, spec.output_dtype(name)) for name in names}


def test_outputs_have_the_values_that_were_calculated_by_hand(opened: Opened, image_bgr: Any, backend: str) -> None:
    """Alpha, labels and logits are written into the caller's buffers, in shape, type and value."""
    with opened(precision_hint="f32") as engine:
        out = _buffers(engine.spec, "logits", "alpha", "labels")

        engine.infer({"image_bgr": image_bgr}, out)

    alpha = analytic_alpha(image_bgr)
    assert np.array_equal(out["alpha"], alpha)
    assert np.array_equal(out["labels"], alpha // 255)
    if backend == "fake":
        subject = alpha[:, ::4, ::4] / 255 * 2 * LOGIT - LOGIT
        expected = np.stack([-subject, subject], axis=1)
    else:
        expected = analytic_logits(image_bgr)
    # Multiples of 1/8 below 16, and of 2 * LOGIT / 255: float32 is off by its last bits at most.
    np.testing.assert_allclose(out["logits"], expected, atol=1e-5)


def test_only_the_buffers_that_are_named_are_written(opened: Opened, image_bgr: Any) -> None:
    """A buffer of an earlier call stays as it was when a later call asks for another output."""
    with opened() as engine:
        first = _buffers(engine.spec, "alpha", "labels")
        engine.infer({"image_bgr": image_bgr}, first)
        for buffer in first.values():
            buffer.fill(77)
        second = _buffers(engine.spec, "labels")

        engine.infer({"image_bgr": image_bgr}, second)

    assert np.array_equal(second["labels"], analytic_alpha(image_bgr) // 255)
    assert all((buffer == 77).all() for buffer in first.values())


def test_buffers_may_change_from_call_to_call(opened: Opened, image_bgr: Any) -> None:
    """Slots come round in any order: each call reads and writes the buffers it was given."""
    with opened(outputs=["alpha"]) as engine:
        images = [np.roll(image_bgr, 4 * index, axis=2).copy() for index in range(3)]
        outs = [_buffers(engine.spec, "alpha") for _ in range(3)]

        for index in (0, 1, 2, 1, 0):
            outs[index]["alpha"].fill(77)
            engine.infer({"image_bgr": images[index]}, outs[index])

    for image, out in zip(images, outs, strict=True):
        assert np.array_equal(out["alpha"], analytic_alpha(image))


def test_the_same_image_gives_the_same_answer(opened: Opened) -> None:
    """Inference is repeatable to the bit."""
    noise = np.random.default_rng(5).integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8)
    with opened() as engine:
        answers = [_buffers(engine.spec, "logits", "alpha") for _ in range(3)]
        for answer in answers:
            engine.infer({"image_bgr": noise}, answer)

    assert all(np.array_equal(answers[0][name], answer[name]) for answer in answers for name in answer)


def test_a_read_only_image_is_taken(opened: Opened, image_bgr: Any) -> None:
    """A stage may read a slot that it must not write."""
    image_bgr.flags.writeable = False
    with opened(outputs=["alpha"]) as engine:
        out = _buffers(engine.spec, "alpha")

        engine.infer({"image_bgr": image_bgr}, out)

    assert np.array_equal(out["alpha"], analytic_alpha(image_bgr))


def test_no_buffer_is_held_after_a_call(opened: Opened, image_bgr: Any) -> None:
    """A slot's memory can be unmapped while the engine is open: no reference to it was kept."""
    with opened(outputs=["alpha"]) as engine:
        memory = SharedMemory(create=True, size=image_bgr.nbytes)
        try:
            slot = np.ndarray(image_bgr.shape, np.uint8, memory.buf)
            slot[...] = image_bgr
            out = _buffers(engine.spec, "alpha")
            engine.infer({"image_bgr": slot}, out)
            watched = weakref.ref(slot)
            del slot
            gc.collect()

            assert watched() is None
            memory.close()  # raises BufferError while anybody looks at it
        finally:
            memory.unlink()


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (np.zeros((1, HEIGHT, WIDTH + 2, 3), np.uint8), "expected uint8"),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), "expected uint8"),
        (np.zeros((1, HEIGHT, WIDTH, 3), np.float32), "float32"),
        (np.zeros((1, HEIGHT, WIDTH * 2, 3), np.uint8)[:, :, ::2], "C order"),
    ],
    ids=["size", "batch axis", "type", "strides"],
)
def test_an_image_that_does_not_fit_is_refused(opened: Opened, broken: Any, told: str) -> None:
    """The error names what was received and what was expected; nothing is written."""
    with opened() as engine:
        out = _buffers(engine.spec, "alpha")

        with pytest.raises(InputSizeError, match=told):
            engine.infer({"image_bgr": broken}, out)

    assert (out["alpha"] == 77).all()


def test_an_input_of_another_name_is_refused(opened: Opened, image_bgr: Any) -> None:
    """The one input is called image_bgr."""
    with opened() as engine, pytest.raises(InputSizeError, match="image_rgb"):
        engine.infer({"image_rgb": image_bgr}, _buffers(engine.spec, "alpha"))


def test_an_output_buffer_that_does_not_fit_is_refused(opened: Opened, image_bgr: Any) -> None:
    """Wrong type, wrong order or read-only: said before anything is written."""
    with opened(outputs=["alpha"]) as engine:
        read_only = np.zeros(engine.spec.output_shape("alpha"), np.uint8)
        read_only.flags.writeable = False
        strided = np.zeros((1, HEIGHT, WIDTH * 2), np.uint8)[:, :, ::2]

        for buffer, told in ((read_only, "read-only"), (strided, "C order"), (np.zeros((1, 4, 4)), "expected uint8")):
            with pytest.raises(InputSizeError, match=told):
                engine.infer({"image_bgr": image_bgr}, {"alpha": buffer})


def test_an_output_that_was_not_opened_is_refused(opened: Opened, image_bgr: Any) -> None:
    """What is not compiled cannot be asked for, and an output must be asked for."""
    with opened(outputs=["alpha"]) as engine:
        with pytest.raises(EngineError, match="was opened for alpha"):
            engine.infer({"image_bgr": image_bgr}, _buffers(engine.spec, "logits"))
        with pytest.raises(EngineError, match="no outputs given"):
            engine.infer({"image_bgr": image_bgr}, {})


def test_an_output_that_does_not_exist_is_refused_at_once(opened: Opened) -> None:
    """A wish that the graph cannot fulfil fails before memory is acquired."""
    with pytest.raises(EngineError, match="no output 'depth'; it has logits, alpha, labels"):
        opened(outputs=["depth"])


def test_use_outside_of_with_is_refused(opened: Opened, image_bgr: Any) -> None:
    """Before it is opened and after it is closed an engine says how to open it."""
    engine = opened()
    out = _buffers(engine.spec, "alpha")
    with pytest.raises(EngineError, match="with open_engine"):
        engine.infer({"image_bgr": image_bgr}, out)

    with engine:
        with pytest.raises(EngineError, match="open already"):
            engine.__enter__()
        engine.infer({"image_bgr": image_bgr}, out)

    with pytest.raises(EngineError, match="with open_engine"):
        engine.infer({"image_bgr": image_bgr}, out)


def test_a_closed_engine_can_be_opened_again(opened: Opened, image_bgr: Any) -> None:
    """Closing releases; opening acquires anew."""
    engine = opened(outputs=["alpha"])
    for _ in range(2):
        out = _buffers(engine.spec, "alpha")
        with engine:
            engine.infer({"image_bgr": image_bgr}, out)
        assert np.array_equal(out["alpha"], analytic_alpha(image_bgr))


def test_two_engines_work_side_by_side(opened: Opened, image_bgr: Any) -> None:
    """An engine swap keeps the old one running while the new one opens."""
    turned = np.ascontiguousarray(image_bgr.transpose(0, 2, 1, 3))
    with opened(outputs=["alpha"]) as wide, opened(outputs=["alpha"], size=f"{HEIGHT}x{WIDTH}") as tall:
        wide_out, tall_out = _buffers(wide.spec, "alpha"), _buffers(tall.spec, "alpha")

        for _ in range(2):
            wide.infer({"image_bgr": image_bgr}, wide_out)
            tall.infer({"image_bgr": turned}, tall_out)

    assert np.array_equal(wide_out["alpha"], analytic_alpha(image_bgr))
    assert np.array_equal(tall_out["alpha"], analytic_alpha(turned))


def test_several_threads_may_infer_at_once(opened: Opened, image_bgr: Any) -> None:
    """With the throughput hint each thread gets the answer to its own image, whatever the backend does in parallel."""
    images = [np.roll(image_bgr, 4 * index, axis=2).copy() for index in range(8)]
    with opened(outputs=["alpha"], hint="throughput", n_threads=2) as engine:

        def alpha_of(image: Any) -> Any:
            out = _buffers(engine.spec, "alpha")
            for _ in range(5):
                engine.infer({"image_bgr": image}, out)
            return out["alpha"]

        with ThreadPoolExecutor(4) as threads:
            alphas = list(threads.map(alpha_of, images))

    assert all(np.array_equal(alpha, analytic_alpha(image)) for alpha, image in zip(alphas, images, strict=True))


def test_nothing_is_allocated_in_the_steady_state(opened: Opened) -> None:
    """Over 200 inferences on the slots of a pool, the memory Python holds stays where it was."""
    with opened(outputs=["logits", "alpha"], size="256x128") as engine:
        image = np.zeros(engine.spec.input.shape(), np.uint8)
        slots = [(image.copy(), _buffers(engine.spec, "logits", "alpha")) for _ in range(4)]

        def go_round(n_times: int) -> None:
            for index in range(n_times):
                image, out = slots[index % len(slots)]
                engine.infer({"image_bgr": image}, out)

        growths, peaks = [], []
        tracemalloc.start()
        try:
            for _ in range(8):
                before, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
                go_round(200)
                gc.collect()
                after, peak = tracemalloc.get_traced_memory()
                growths.append(after - before)
                peaks.append(peak - before)
        finally:
            tracemalloc.stop()

    # What is kept or made in each call shows in every round; what OpenVINO's bindings set up once (some 250 objects of
    # 124 bytes, at no fixed call) does not. The smallest plane is 16 KiB; dictionaries and views come and go.
    assert min(growths) < 2048
    assert min(peaks) < 12288


def test_the_backend_says_what_runs(opened: Opened, backend: str) -> None:
    """Once open, the line for people names engine, runtime, arithmetic and threads."""
    with opened(n_threads=2) as engine:
        line = engine.choice

    assert engine.spec.label in line
    if backend in LIBRARIES:
        gpu, _ = gpu_here()
        assert gpu is not None
        assert f"on {LIBRARIES[backend].title} " in line
        assert gpu.name in line
    elif backend.endswith("_cuda"):
        assert any(arithmetic in line.split(" on ", 1)[1] for arithmetic in ("fp16", "bf16", "fp32"))
    elif backend != "fake":
        assert "2 threads" in line
        assert "fp32" in line.split(" on ")[1] or "bf16" in line.split(" on ")[1]


def test_a_graph_that_is_not_what_its_manifest_says_is_refused(backend: str, folder: Path) -> None:
    """Another size in the manifest than in the graph is found when the engine opens."""
    if backend == "fake":
        return
    spec = resolve(folder / "tiny.json")
    wrong = EngineSpec(spec.name, spec.path, type(spec.input)(64, 64), spec.output, spec.palette, spec.precision)

    with pytest.raises(EngineMismatch, match="the manifest promises"):
        open_and_close(wrong, backend)


def test_a_file_that_is_no_graph_is_refused(backend: str, folder: Path, tmp_path: Path) -> None:
    """Damaged bytes give one clear error, whatever the runtime thinks of them."""
    if backend == "fake":
        return
    spec = resolve(folder / "tiny.json")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph at all")
    wrong = EngineSpec(spec.name, broken, spec.input, spec.output, spec.palette, spec.precision)

    with pytest.raises((EngineMismatch, BuildError), match=r"broken\.onnx"):
        open_and_close(wrong, backend)


def _infer_in_a_child(spec: EngineSpec, backend: str, image: Any, queue: Any) -> None:
    with open_engine(spec, backend=backend, outputs=["alpha"], n_threads=1) as engine:
        out = _buffers(spec, "alpha")
        engine.infer({"image_bgr": image}, out)
    queue.put(out["alpha"])


def test_a_spec_can_be_opened_in_another_process(opened: Opened, backend: str, image_bgr: Any) -> None:
    """The supervisor resolves a name once and hands the spec to its workers."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_infer_in_a_child, args=(opened().spec, backend, image_bgr, queue))

    child.start()
    alpha = queue.get(timeout=60)
    child.join(60)
    queue.close()
    queue.join_thread()

    assert child.exitcode == 0
    assert np.array_equal(alpha, analytic_alpha(image_bgr))
