"""`build` and `inspect` on the command line: what a person types, what is told, and where it is known from."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from engines.commands.build import build
from engines.commands.look import inspect
from engines.errors import BackendUnavailable, EngineMismatch
from engines.plans import layers
from engines.plans.cache import BuildFacts, Plan, PlanCache
from engines.plans.layers import plan_lines
from engines.plans.library import LIBRARIES, Library, find_library, library_reason
from engines.spec import EngineSpec
from tests.engines.plans.keeping import CODE, kept
from tests.engines.plans.worlds import ADA, key, tiny_spec


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    """A graph of 64x32."""
    return tiny_spec(tmp_path / "engines")


@pytest.fixture
def plan(tmp_path: Path, spec: EngineSpec) -> Plan:
    """A plan for an RTX 4070, with two layers."""
    plan = kept(PlanCache(tmp_path / "plans"), key(spec))
    facts = BuildFacts(
        seconds=2.5,
        layers=("convolution float16 1x8x32x64 first", "cast uint8 1x32x64 last"),
        precisions={"float16": 1, "uint8": 1},
        activation_bytes=12_300_000,
        built_on="NVIDIA GeForce RTX 4070",
    )
    return PlanCache(plan.path.parent).keep(plan.manifest.model_copy(update={"facts": facts}), CODE)


def test_without_a_gpu_the_manifest_tells_and_it_is_said_so(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers before fusion, precisions, memory, inputs and outputs."""
    monkeypatch.setattr(layers, "gpu_here", lambda: (None, "no NVIDIA driver"))
    monkeypatch.setattr(layers, "find_library", lambda name: Library(LIBRARIES[name], None))

    told = "\n".join(plan_lines(plan))

    assert "for NVIDIA GeForce RTX 4070 GPU, compute capability 8.9" in told
    assert "input  image_bgr uint8 1x32x64x3" in told
    assert "between layers 12.3 MB" in told
    assert "1 float16, 1 uint8" in told
    assert "2 layers, of the graph before fusion, from the manifest; no inspector here (no NVIDIA driver):" in told
    assert told.endswith("cast uint8 1x32x64 last")


def test_on_its_gpu_the_inspector_tells(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused layers, in the JSON of TensorRT 10 and of 11, whose words for a type differ."""
    text = (
        '{"Layers": [{"Name": "a+b", "LayerType": "gemm",'
        '"Outputs": [{"Dimensions": [1, 8], "Format/Datatype": "Half"}]},'
        '{"Name": "c", "LayerType": "kgen", "Outputs": [{"Dimensions": [1], "Datatype": "UInt8"}]}, "bare"]}'
    )
    inspector = SimpleNamespace(get_engine_information=lambda kind: text)
    engine = SimpleNamespace(create_engine_inspector=lambda: inspector)
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda data: engine)
    trt: Any = SimpleNamespace(
        ILogger=object, Runtime=lambda logger: runtime, LayerInformationFormat=SimpleNamespace(JSON="json")
    )
    monkeypatch.setattr(layers, "gpu_here", lambda: (ADA, ""))
    monkeypatch.setattr(layers, "find_library", lambda name: Library(LIBRARIES[name], trt))

    told = plan_lines(plan)

    assert told[-4].strip() == "3 layers, as TensorRT's inspector sees them:"
    assert [line.strip() for line in told[-3:]] == ["gemm Half 1x8 a+b", "kgen UInt8 1 c", "bare"]


def test_inspect_of_a_damaged_plan_refuses_it(plan: Plan) -> None:
    """It is not shown as if it were whole."""
    plan.path.write_bytes(CODE[:-1] + b"!")

    result = CliRunner().invoke(inspect, [str(plan.path)])

    assert isinstance(result.exception, EngineMismatch)


def test_inspect_of_an_engine_names_its_plans(plan: Plan, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a person finds the file to inspect."""
    monkeypatch.setenv("SEGSTREAM_PLANS", str(plan.path.parent))

    result = CliRunner().invoke(inspect, [str(spec.path)])

    assert f"plan for NVIDIA GeForce RTX 4070 GPU, compute capability 8.9: {plan.path}" in result.output


def test_build_takes_a_name_a_precision_and_a_folder(spec: EngineSpec, tmp_path: Path) -> None:
    """The whole command, twice: built, then found."""
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt_rtx (pip install 'segstream[tensorrt-rtx]')")
    manifest = str(spec.path.parent / "tiny.json")
    words = [manifest, "--precision", "fp32", "--backend", "tensorrt_rtx", "--out", str(tmp_path / "out")]

    first, second = CliRunner().invoke(build, words), CliRunner().invoke(build, words)

    assert "tiny 64x32 fp32 for TensorRT-RTX" in first.output, first.exception
    assert "built in" in first.output
    assert "was there" in second.output
    assert len(list((tmp_path / "out").glob("*.plan"))) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tiny.onnx", "--precision", "fp16"], "the precision it was exported with"),
        (["person:fp32", "--precision", "fp16"], "names a precision already"),
        (["person", "--batches", "4:1:8"], "three numbers"),
        (["person", "--batches", "many"], "three numbers"),
        (["person", "--opt-level", "6"], "0<=x<=5"),
    ],
)
def test_wrong_use_of_build_is_told(words: list[str], told: str) -> None:
    """Before anything is imported or built."""
    result = CliRunner().invoke(build, words)

    assert result.exit_code == 2 or "three numbers" in str(result.output)
    assert told in result.output


def test_a_library_that_is_missing_or_unknown_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not installed, too old, too new, not to be loaded."""
    from engines.plans import library

    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"TensorRT is not installed; pip.*TensorRT-RTX is not installed; pip"):
        find_library("auto")
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: "there")

    for version, expected in (("10.9.0", "10.12 or newer, before 12"), ("12.0.0.1", "before 12"), ("11.4.0.106", None)):
        module = SimpleNamespace(__version__=version)
        monkeypatch.setattr(library.importlib, "import_module", lambda name, module=module: module)
        reason = library_reason("tensorrt")
        assert (reason is None) if expected is None else (expected in str(reason) and version in str(reason))

    def broken(name: str) -> Any:
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(library.importlib, "import_module", broken)
    assert "cannot be loaded (libnvinfer.so.10" in str(library_reason("tensorrt"))
