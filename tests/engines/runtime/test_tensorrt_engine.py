"""The TensorRT backend on a GPU that takes notes: order of calls, who owns what, what is refused and how it is told.

What it cannot show is whether a real GPU does the same; `test_conformance.py` runs there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import BackendUnavailable, DeviceLost, EngineError, EngineMismatch
from engines.plans.cache import PlanCache
from engines.plans.library import LIBRARIES, Library
from engines.runtime import open_engine, tensorrt_engine
from engines.runtime.tensorrt_engine import TensorRtEngine
from engines.spec import EngineSpec
from tests.engines.plans.keeping import CODE, kept
from tests.engines.plans.worlds import AMPERE, key, named_library, tiny_spec
from tests.engines.runtime.graphs import analytic_alpha, analytic_logits
from tests.engines.runtime.notebook import DataType, NoMemoryDevice, NotedDevice, NotedTrt, Severity, noted_engine

World = Callable[..., tuple[TensorRtEngine, NotedTrt, NotedDevice]]


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    """A graph of 64x32."""
    return tiny_spec(tmp_path / "engines")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanCache:
    """The user's, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return PlanCache(tmp_path / "segstream" / "plans")


@pytest.fixture
def world(spec: EngineSpec, cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> World:
    """An engine that is not open yet, on a noted GPU with a plan for it."""

    def make(
        device: NotedDevice | None = None, spec: EngineSpec = spec, has_plan: bool = True, **facts: Any
    ) -> tuple[TensorRtEngine, NotedTrt, NotedDevice]:
        engine, trt, device = noted_engine(monkeypatch, spec, device, **facts)
        if has_plan:
            kept(cache, key(spec, Library(LIBRARIES["tensorrt"], trt)))
        return engine, trt, device

    return make


def buffers(spec: EngineSpec, *names: str) -> dict[str, Any]:
    """Filled with 77."""
    return {name: np.full(spec.output_shape(name), 77, spec.output_dtype(name)) for name in names}


def noise(seed: int = 1) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(1, 32, 64, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (1, 32, 64, 3), np.uint8)


def test_the_plan_whose_hash_was_checked_is_what_is_opened(world: World) -> None:
    """The very bytes, once."""
    engine, trt, _ = world()

    with engine:
        pass

    assert trt.opened == [CODE]


def test_a_plan_that_was_passed_over_is_told(world: World, spec: EngineSpec, cache: PlanCache) -> None:
    """A better one is damaged: the line for people says so, and the good one serves."""
    engine, _, _ = world()
    kept(cache, key(spec, named_library(), opt_level=5)).manifest_path.write_text("{", encoding="utf-8")

    with engine:
        choice = engine.choice

    assert "not the manifest of a plan" in choice
    assert "on TensorRT" in choice


def test_outputs_reach_the_buffers_of_the_caller(world: World, spec: EngineSpec) -> None:
    """Two calls with buffers of their own: each has its own answer, the first is not touched by the second."""
    engine, _, _ = world()
    images, outs = [noise(1), noise(2)], [buffers(spec, "logits", "alpha", "labels") for _ in range(2)]

    with engine:
        for image, out in zip(images, outs, strict=True):
            engine.infer({"image_bgr": image}, out)

    for image, out in zip(images, outs, strict=True):
        assert np.array_equal(out["alpha"], analytic_alpha(image))
        assert np.array_equal(out["labels"], analytic_alpha(image) // 255)
        np.testing.assert_array_equal(out["logits"], analytic_logits(image))


def test_a_frame_is_one_upload_one_launch_what_was_asked_for_and_one_wait(world: World, spec: EngineSpec) -> None:
    """Nothing is allocated, no shape or address is set, TensorRT itself is not called: all that was captured."""
    engine, trt, device = world()
    with engine:
        device.notes.clear()

        engine.infer({"image_bgr": noise()}, buffers(spec, "alpha"))

        assert device.notes == ["upload", "launch", "download uint8", "wait"]
        assert trt.n_inferences == 2  # once as it is, once into the graph


def test_opening_runs_once_before_it_captures(world: World) -> None:
    """What TensorRT does only the first time must not be in the graph; buffers are made before, one a tensor."""
    engine, _, device = world()

    with engine:
        notes = list(device.notes)

    assert notes == [
        *("allocate 6144", "allocate 1024", "allocate 2048", "allocate 2048"),
        *("upload", "context STATIC", "execute", "wait", "capture", "execute", "launch", "wait"),
    ]


def test_closing_gives_everything_back_in_order(world: World) -> None:
    """Graph, buffers, stream; and the engine may be opened again."""
    engine, _, device = world()

    with engine:
        device.notes.clear()

    assert device.notes == ["forget graph", "free", "free", "free", "free", "close"]
    assert device.memory == {}
    assert engine.backend == "TensorRT"


def test_without_a_graph_it_works_all_the_same_and_says_so(world: World, spec: EngineSpec) -> None:
    """A plan that cannot be captured is queued call by call."""
    engine, _, device = world(NotedDevice(refuses_capture=True))
    out = buffers(spec, "labels")

    with engine:
        device.notes.clear()
        engine.infer({"image_bgr": noise()}, out)
        choice = engine.choice

    assert np.array_equal(out["labels"], analytic_alpha(noise()) // 255)
    assert device.notes[:4] == ["upload", "execute", "download uint8", "wait"]
    assert choice.endswith("on TensorRT 10.16.1.11 on NVIDIA GeForce RTX 4070, without a CUDA graph")


def test_only_the_outputs_opened_may_be_asked_for_but_all_have_an_address(world: World, spec: EngineSpec) -> None:
    """TensorRT refuses to run with an output that has no memory."""
    engine, _, device = world(outputs=["alpha"])

    with engine:
        engine.infer({"image_bgr": noise()}, buffers(spec, "alpha"))

        assert len(device.memory) == 4
        with pytest.raises(EngineError, match="was opened for alpha"):
            engine.infer({"image_bgr": noise()}, buffers(spec, "labels"))


def test_an_inference_that_fails_is_told_by_what_tensorrt_said(world: World, spec: EngineSpec) -> None:
    """And closing still gives everything back."""
    engine, _, device = world(NotedDevice(refuses_capture=True), fails_from=1)

    with engine, pytest.raises(EngineError, match=r"tiny 64x32 fp32: TensorRT failed \(Error Code 1: Myelin"):
        engine.infer({"image_bgr": noise()}, buffers(spec, "alpha"))

    assert device.memory == {}


def test_a_gpu_that_is_lost_is_not_touched_again(world: World, spec: EngineSpec) -> None:
    """What TensorRT logs of a sticky error ends the process; freeing would fail like every other call, or hang."""
    said = "CUDA error 719: unspecified launch failure"
    engine, _, device = world(NotedDevice(refuses_capture=True), fails_from=1, failure=said)

    with engine:
        with pytest.raises(DeviceLost, match=r"lost the GPU: unspecified launch failure \(TensorRT failed \(CUDA"):
            engine.infer({"image_bgr": noise()}, buffers(spec, "alpha"))
        device.notes.clear()

    assert device.notes == []


REFUSALS = {
    "driver": (
        "In getCurrentCC (cudaError 35: driver version is insufficient)",
        "driver is too old, it knows CUDA 13.0",
    ),
    "capability": ("Engine was built for compute capability 8.6", "built for another compute capability"),
    "driver of 10.16": ("CUDA initialization failure with error: 35", "driver is too old, it knows CUDA 13.0"),
    "version": ("Version tag does not match. Serialization assertion failed", "built with another version"),
    "memory": ("CUDA error: out of memory", "too little device memory"),
    "other": ("Magic tag does not match", "does not open it on NVIDIA GeForce RTX 4070"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_plan_that_is_not_opened_is_refused_with_the_reason_and_the_remedy(world: World, name: str) -> None:
    """TensorRT gives None and a line in its log; a person gets the cause and a command. The stream is closed again."""
    said, told = REFUSALS[name]
    engine, _, device = world(refusal=said)

    with pytest.raises(EngineError, match=told) as error, engine:
        pass

    assert any(remedy in str(error.value) for remedy in ("engines build", "--backend auto", "close other programs"))
    assert device.notes == ["close"]


@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("CUDA initialization failure with error: 35", "the NVIDIA driver is too old for it"),
        ("CUDA initialization failure with error: 100", r"error: 100.*nvidia-smi"),
    ],
)
def test_a_tensorrt_that_does_not_start_is_told(world: World, severity: Severity, said: str, told: str) -> None:
    """Its bindings raise a bare TypeError, and the reason stands in the log alone, as an error or as a warning."""
    engine, _, device = world(no_start=(severity, said))

    with pytest.raises(BackendUnavailable, match=told), engine:
        pass

    assert device.notes == ["close"]


def test_all_is_given_back_even_when_one_cannot_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed launch every call of CUDA fails; the stream and the other buffers still go, then it is told."""
    engine, _, device = world()

    def fail() -> None:
        raise EngineError("CUDA error 719")

    engine.__enter__()
    assert engine._held is not None
    monkeypatch.setattr(engine._held.buffers["logits"], "free", fail)
    monkeypatch.setattr(engine._held.graphs[1], "free", fail)
    device.notes.clear()
    with pytest.raises(EngineError, match="719"):
        engine.__exit__(None, None, None)

    assert device.notes == ["free", "free", "free", "close"]


def test_too_little_device_memory_is_told_before_anything_is_allocated(world: World) -> None:
    """With both figures."""
    engine, _, device = world(NotedDevice(free=20_000_000), wants_bytes=53_000_000)

    with pytest.raises(EngineError, match="wants 53 MB of device memory, 20 MB are free"), engine:
        pass

    assert device.notes == ["close"]


def test_a_plan_with_other_tensors_than_promised_is_refused(world: World) -> None:
    """A plan that passed as ours and is of another network."""
    planes = {"image_bgr": (DataType.HALF, (1, 32, 64, 3)), "alpha": (DataType.UINT8, (1, 32, 64))}
    engine, _, device = world(planes=planes)

    with pytest.raises(EngineMismatch, match="the manifest promises"), engine:
        pass

    assert device.memory == {}


@pytest.mark.parametrize(("damage", "told"), [(CODE[:99], "truncated"), (b"!" + CODE[1:], "not the plan")])
def test_a_damaged_plan_never_reaches_tensorrt(world: World, cache: PlanCache, damage: bytes, told: str) -> None:
    """It is native code: it is refused by its hash."""
    engine, trt, device = world()
    (path,) = cache.folder.glob("*.plan")
    path.write_bytes(damage)

    with pytest.raises(EngineMismatch, match=f"{told}.*--force"), engine:
        pass

    assert (trt.opened, device.notes) == ([], [])


def test_without_a_plan_the_next_backend_is_taken_and_it_is_said_why(
    world: World, spec: EngineSpec, cache: PlanCache
) -> None:
    """`auto` goes on; the line for people has the command that would have helped."""
    world(has_plan=False)
    kept(cache, key(spec, named_library(), AMPERE))

    engine = open_engine(spec)

    assert engine.backend == "OpenVINO"
    assert "built for compute capability 8.6, here 8.9" in engine.choice
    assert "python -m engines build" in engine.choice


def test_with_a_plan_auto_takes_tensorrt(world: World, spec: EngineSpec) -> None:
    """It is the first of the table."""
    world()

    assert open_engine(spec).backend == "TensorRT"


FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "truncated": ({"damage": CODE[:99]}, "truncated"),
    "tampered": ({"damage": b"!" + CODE[1:]}, "is not the plan that was built"),
    "driver": ({"no_start": (Severity.WARNING, "failure with error: 35")}, "driver is too old"),
    "refused": ({"refusal": "Magic tag does not match"}, "does not open it"),
    "memory": ({"wants_bytes": 1 << 40}, "of device memory"),
    "no memory": ({"device": NoMemoryDevice()}, "of device memory"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_auto_goes_on_when_the_plan_does_not_open(world: World, spec: EngineSpec, cache: PlanCache, name: str) -> None:
    """Fitting by its key and yet not to be opened: the stream runs on the next backend, and the line says why."""
    facts, told = FAILURES[name]
    facts = dict(facts)
    damage = facts.pop("damage", None)
    world(**facts)
    if damage is not None:
        (path,) = cache.folder.glob("*.plan")
        path.write_bytes(damage)
    out = buffers(spec, "alpha")

    with open_engine(spec, outputs=("alpha",), n_threads=1) as engine:
        engine.infer({"image_bgr": noise()}, out)
        assert engine.backend.startswith("OpenVINO 20")
        assert told in engine.choice
    with pytest.raises(EngineError, match=told), open_engine(spec, backend="tensorrt"):
        pass

    assert np.array_equal(out["alpha"], analytic_alpha(noise()))


def test_when_no_backend_opens_the_last_error_is_raised(spec: EngineSpec) -> None:
    """A manifest that promises another size is nobody's to run; and the object can be asked again."""
    wrong = EngineSpec(spec.name, spec.path, type(spec.input)(64, 64), spec.output, spec.palette, spec.precision)

    engine = open_engine(wrong)

    for _ in range(2):
        with pytest.raises(EngineMismatch, match="the manifest promises"), engine:
            pass


def test_without_a_driver_it_is_refused_by_name(spec: EngineSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named on the command line; and a backend that is opened all the same says what to install."""
    monkeypatch.setattr(tensorrt_engine, "nvidia_reason", lambda: "no NVIDIA driver")
    monkeypatch.setattr(tensorrt_engine, "gpu_here", lambda: (None, "no NVIDIA driver"))
    monkeypatch.setattr(tensorrt_engine, "find_library", lambda name: named_library())

    with pytest.raises(BackendUnavailable, match="no NVIDIA driver"):
        open_engine(spec, backend="tensorrt")
    with pytest.raises(BackendUnavailable, match="install NVIDIA's driver"), TensorRtEngine(spec):
        pass


def test_calls_that_overlap_launch_the_same_graph_between_copies(world: World, spec: EngineSpec) -> None:
    """Up, across, the graph, across, down, each behind the mark before it, and one wait; the answer is right."""
    engine, _, device = world()
    with engine:
        overlap: Any = engine.overlap(lambda: None)
        image, out = noise(), buffers(spec, "alpha")
        device.notes.clear()

        overlap.submit(image, out).done.wait()

        assert device.notes == [
            *("upload", "record", "after", "copy", "launch", "copy", "record", "after", "download uint8", "record"),
            "wait",
        ]
        assert np.array_equal(out["alpha"], analytic_alpha(image))
        overlap.close()


def test_a_loss_during_a_call_that_overlaps_is_the_engines_loss(
    world: World, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the backend's name, and the engine, too, gives nothing back any more."""
    engine, _, device = world()

    def lost() -> None:
        raise EngineError("cudaEventSynchronize: CUDA error 700")

    with engine:
        overlap: Any = engine.overlap(lambda: None)
        monkeypatch.setattr(device, "wait", lost)
        call = overlap.submit(noise(), buffers(spec, "alpha"))
        call.done.wait()
        device.notes.clear()

        with pytest.raises(DeviceLost, match="TensorRT lost the GPU"):
            call.check()
        overlap.close()

    assert device.notes == []
