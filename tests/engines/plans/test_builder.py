"""Real plans by tensorrt_rtx, which needs no GPU to build: kept, found again, and refused with the node's name."""

import gc
import importlib.resources
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import tensorrt_rtx

from engines.errors import BackendUnavailable, BuildError, EngineMismatch
from engines.manifest import sha256_of
from engines.names import resolve
from engines.plans.builder import Built, build_plan, dynamic_batches
from engines.plans.cache import PlanCache
from engines.plans.key import Batches, PlanOptions, Target, key_of
from engines.plans.library import LIBRARIES, Library
from engines.plans.network import Parsed, parse
from engines.plans.progress import Phases
from engines.spec import EngineSpec
from tests.engines.plans.worlds import dynamic_graph, graph_with_unknown_operator, named_library, tiny_spec

LIBRARY = Library(LIBRARIES["tensorrt_rtx"], tensorrt_rtx)
TARGET = Target.of(LIBRARY, None)
PERSON = importlib.resources.files("engines") / "zoo" / "person" / "person-256x256-fp32.onnx"


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> EngineSpec:
    """A graph of 64x32."""
    return tiny_spec(tmp_path_factory.mktemp("engines"))


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    """An empty one."""
    return PlanCache(tmp_path / "plans")


def built(spec: EngineSpec, cache: PlanCache, **options: object) -> Built:
    """By the library that is here, on a machine without a GPU."""
    return build_plan(spec, LIBRARY, TARGET, PlanOptions.model_validate(options), cache)


def test_a_plan_is_built_once_and_then_found(spec: EngineSpec, cache: PlanCache) -> None:
    """The second time nothing is built, and the bytes are those of the first."""
    first, second = built(spec, cache), built(spec, cache)

    assert (first.was_there, second.was_there) == (False, True)
    assert second.plan.manifest == first.plan.manifest
    assert second.plan.load()[:4] == b"vtrt"
    assert first.plan.manifest.key == key_of(spec, LIBRARY, TARGET, PlanOptions())


def test_force_builds_again_and_mends_what_is_damaged(spec: EngineSpec, cache: PlanCache) -> None:
    """Without it a damaged plan is refused, never quietly replaced: somebody may want to know how it was damaged."""
    plan = built(spec, cache).plan
    plan.path.write_bytes(b"vtrt, or so it says")

    with pytest.raises(EngineMismatch, match="truncated"):
        built(spec, cache)
    mended = build_plan(spec, LIBRARY, TARGET, PlanOptions(), cache, force=True)

    assert not mended.was_there
    assert built(spec, cache).was_there


def test_options_make_plans_of_their_own(spec: EngineSpec, cache: PlanCache) -> None:
    """Another level, TF32 off, another GPU: three more plans beside the first."""
    plans = [built(spec, cache), built(spec, cache, opt_level=0), built(spec, cache, tf32=False)]
    turing = Target.of(LIBRARY, None, "7.5")
    plans.append(build_plan(spec, LIBRARY, turing, PlanOptions(), cache))

    assert len({one.plan.path for one in plans}) == 4
    assert not any(one.was_there for one in plans)


def test_an_unknown_compute_capability_is_refused_with_those_that_are_known(spec: EngineSpec, cache: PlanCache) -> None:
    """9.0 is not in the library's list."""
    with pytest.raises(EngineMismatch, match=r"builds for compute capability 7\.5, .*not for 9\.0"):
        build_plan(spec, LIBRARY, Target.of(LIBRARY, None, "9.0"), PlanOptions(), cache)


def test_what_was_learnt_is_in_the_manifest(spec: EngineSpec, cache: PlanCache) -> None:
    """Layers with their precision, memory, time, and that no GPU was there."""
    facts = built(spec, cache).plan.manifest.facts

    assert "cast uint8 1x32x64 node_of_labels" in facts.layers
    assert facts.precisions["float32"] > 5
    assert facts.activation_bytes is not None
    assert facts.seconds > 0
    assert facts.built_on == "a machine without a GPU"


def test_a_graph_that_takes_any_batch_gets_a_profile(spec: EngineSpec, cache: PlanCache, tmp_path: Path) -> None:
    """The default is 1 to 8; other batches make another plan."""
    open_spec = resolve(dynamic_graph(spec.path, tmp_path / "open" / "tiny.onnx"))
    batches = dynamic_batches(open_spec, None)

    default = built(open_spec, cache, batches=batches)
    wide = built(open_spec, cache, batches=Batches(smallest=2, usual=4, largest=16))

    assert batches == Batches(smallest=1, usual=1, largest=8)
    assert default.plan.manifest.key.inputs[0].shape == (-1, 32, 64, 3)
    assert wide.plan.path != default.plan.path


def test_batches_must_fit_the_graph(spec: EngineSpec, cache: PlanCache, tmp_path: Path) -> None:
    """Batches for a fixed graph are refused, and so is a dynamic graph without any; both say what to type."""
    open_spec = resolve(dynamic_graph(spec.path, tmp_path / "open" / "tiny.onnx"))

    assert dynamic_batches(spec, None) is None
    with pytest.raises(EngineMismatch, match="fixed batch of 1; leave --batches out"):
        built(spec, cache, batches=Batches())
    with pytest.raises(EngineMismatch, match="say which with --batches"):
        built(open_spec, cache)


def test_an_unknown_operator_is_named_with_its_node(spec: EngineSpec, cache: PlanCache, tmp_path: Path) -> None:
    """A person can find it in the graph; nothing is kept."""
    strange = replace(spec, path=graph_with_unknown_operator(tmp_path / "strange.onnx"))

    with pytest.raises(BuildError, match=r"strange \(Fancify\).*run it with --backend openvino"):
        built(strange, cache)
    assert not list(cache.folder.glob("*.plan"))
    assert not list(cache.folder.glob("*.json"))


def _n_parsed() -> int:
    return sum(type(thing) is Parsed for thing in gc.get_objects())  # isinstance would ask lazy modules of torch


def test_a_refused_build_leaves_nothing_for_the_garbage_collector(spec: EngineSpec, cache: PlanCache) -> None:
    """A builder that its own error keeps alive could be destroyed in the midst of the next build, under its locks."""
    gc.collect()
    gc.disable()
    n_before = _n_parsed()  # a report of an earlier test may hold some
    try:
        with pytest.raises(EngineMismatch) as held:
            built(replace(spec, input=replace(spec.input, width=128)), cache)

        assert held.value is not None
        assert _n_parsed() == n_before
    finally:
        gc.enable()


def test_a_builder_that_does_not_start_is_told(spec: EngineSpec) -> None:
    """The bindings of TensorRT raise a bare TypeError when CUDA cannot start; the log has the reason."""

    def refuse(logger: Any) -> None:
        logger.log("Severity.WARNING", "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    library = named_library(
        trt=SimpleNamespace(__version__="10.16.1.11", ILogger=type("ILogger", (), {}), Builder=refuse)
    )

    with pytest.raises(BackendUnavailable, match=r"error: 35\): the NVIDIA driver is too old"):
        parse(library, spec)


def test_a_file_that_is_no_graph_is_refused(spec: EngineSpec, cache: PlanCache, tmp_path: Path) -> None:
    """As a download that was cut off."""
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(spec.path.read_bytes()[:200])

    with pytest.raises(EngineMismatch, match=r"cut\.onnx: not an ONNX file"):
        built(replace(spec, path=cut), cache)


def test_a_graph_of_another_size_than_promised_is_refused(spec: EngineSpec, cache: PlanCache) -> None:
    """The manifest says 64x32, the graph has another size: nothing is built that would fail at the first frame."""
    wider = replace(spec, input=replace(spec.input, width=128))

    with pytest.raises(EngineMismatch, match="the manifest promises"):
        built(wider, cache)


def test_weights_beside_the_graph_are_built_in_and_make_another_plan_when_they_change(
    spec: EngineSpec, cache: PlanCache, tmp_path: Path
) -> None:
    """The graph's own file stays the same."""
    path = tmp_path / "beside.onnx"
    onnx.save_model(onnx.load(spec.path), path, save_as_external_data=True, location="beside.data", size_threshold=0)
    beside = replace(spec, path=path, sha256=sha256_of(path))
    weights = path.with_name("beside.data")

    first, again = built(beside, cache), built(beside, cache)
    data = weights.read_bytes()
    middle = np.float32(128).tobytes()
    assert data.count(middle) == 1
    weights.write_bytes(data.replace(middle, np.float32(64).tobytes()))
    other = built(beside, cache)

    assert (first.was_there, again.was_there, other.was_there) == (False, True, False)
    assert first.plan.load() != other.plan.load()


def test_the_shipped_person_graph_builds_and_is_found_quickly(cache: PlanCache) -> None:
    """What a streaming install brings along; its progress never falls and reaches the end."""
    spec = resolve(str(PERSON))
    shares: list[float] = []

    plan = build_plan(
        spec, LIBRARY, TARGET, PlanOptions(), cache, watch=lambda phases: shares.append(phases.share)
    ).plan

    assert plan.manifest.engine == "person 256x256 fp32"
    assert plan.manifest.facts.precisions["float32"] > 100
    assert shares == sorted(shares)
    assert shares[-1] > 0.3
    assert built(spec, cache).was_there


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EngineSpec]:
    """The shipped person graph of 256x256 in fp16 and int8, the ranges taken from one drawn picture."""
    import cv2

    from engines.export.derive import CalibrationSet, Samples, derived_graph
    from engines.export.difference import answers_of_graph

    folder = tmp_path_factory.mktemp("derived")
    spec = resolve(str(PERSON))
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(pictures / "0.png"), cv2.resize(noise, (256, 256), interpolation=cv2.INTER_CUBIC))
    batch = [rng.integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)]
    samples = Samples(batch, list(answers_of_graph(spec.path, batch)), is_noise=True)
    specs = {}
    for precision in ("fp16", "int8"):
        path = folder / f"person-256x256-{precision}.onnx"
        graph = derived_graph(
            spec.path, precision, path, spec.input, samples, CalibrationSet(pictures, method="minmax")
        )
        specs[precision] = replace(spec, path=path, precision=graph.precision, sha256=sha256_of(path))
    return specs


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "word"), [("fp16", "float16"), ("int8", "int8")])
def test_the_person_graph_builds_in_other_precisions(
    derived: dict[str, EngineSpec], cache: PlanCache, precision: str, word: str
) -> None:
    """As `export` makes them; the network is strongly typed, so its layers have the graph's own precision."""
    plan = built(derived[precision], cache).plan

    assert plan.manifest.facts.precisions[word] > 10
    assert plan.manifest.engine == f"person 256x256 {precision}"


def test_a_build_that_is_stopped_keeps_nothing(cache: PlanCache) -> None:
    """The answer to the builder's next step is no: it ends there, and the interruption goes on to the caller."""

    def interrupt(phases: Phases) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        build_plan(resolve(str(PERSON)), LIBRARY, TARGET, PlanOptions(), cache, watch=interrupt)

    assert sorted(file.suffix for file in cache.folder.iterdir()) == [".lock"]
    assert threading.active_count() == before


@pytest.mark.slow
def test_ctrl_c_ends_the_command_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The real command, interrupted while the builder works: exit 130, one word, an empty cache that builds."""
    command = [sys.executable, "-m", "engines", "build", str(PERSON), "--backend", "tensorrt_rtx"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    folder = tmp_path / "segstream" / "plans"
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.lock")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)

    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)

    assert process.returncode == 130, told
    assert told.strip().endswith("interrupted")
    assert sorted(file.suffix for file in folder.iterdir()) == [".lock"]
    assert not built(resolve(str(PERSON)), PlanCache(folder)).was_there, "the lock died with its holder"
