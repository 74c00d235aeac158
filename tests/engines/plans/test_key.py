"""When a plan may be used: every field of the key counts, and a difference is told in words."""

import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from engines.errors import BackendUnavailable, EngineMismatch
from engines.plans.key import Batches, PlanKey, PlanOptions, Target, build_command, differences, source_of
from engines.spec import EngineSpec
from tests.engines.plans.worlds import ADA, AMPERE, TURING, key, named_library, tiny_spec

CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"onnx_sha256": "0" * 64}, "of another graph 000000000000"),
    ({"runtime": "tensorrt_rtx"}, "for tensorrt_rtx, here tensorrt"),
    ({"runtime_version": "11.4.0.106"}, "with version 11.4.0.106, here 10.16.1.11"),
    ({"target.compute_capability": "8.6"}, "for compute capability 8.6, here 8.9"),
    ({"target.gpu_name": "NVIDIA L4"}, "on GPU NVIDIA L4, here NVIDIA GeForce RTX 4070"),
    ({"target.platform": "win32-AMD64"}, "on platform win32-AMD64"),
    ({"inputs": ()}, "with inputs"),
    ({"outputs": ()}, "with outputs"),
    ({"options.opt_level": 5}, "at optimisation level 5, here 3"),
    ({"options.tf32": False}, "with TF32 off, here on"),
    ({"options.batches": Batches(usual=2, largest=4)}, "with batches 1 to 4, mostly 2, here fixed"),
]
"""One change of each field, and how it is told."""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> EngineSpec:
    """A graph of 64x32."""
    return tiny_spec(tmp_path_factory.mktemp("engines"))


def changed(wanted: PlanKey, change: dict[str, Any]) -> PlanKey:
    """The key with one field changed, named as `target.platform`."""
    ((place, value),) = change.items()
    group, _, name = place.rpartition(".")
    if group:
        place, value = group, getattr(wanted, group).model_copy(update={name: value})
    return wanted.model_copy(update={place: value})


def test_every_field_has_its_change() -> None:
    """A field that is added to the key is added to these tests."""
    groups = {"target": Target, "options": PlanOptions}
    fields = {
        f"{name}.{inner}" if name in groups else name
        for name in PlanKey.model_fields
        for inner in (groups[name].model_fields if name in groups else [""])
    }

    assert {place for change, _ in CHANGES for place in change} == fields


@pytest.mark.parametrize(("change", "told"), CHANGES, ids=[next(iter(change)) for change, _ in CHANGES])
def test_a_plan_of_another_key_is_not_for_here(spec: EngineSpec, change: dict[str, Any], told: str) -> None:
    """Each field in turn: the digest differs, so nothing is found, and the difference is told in words."""
    wanted = key(spec)

    other = changed(wanted, change)

    assert other.digest != wanted.digest
    assert [words for words in differences(other, wanted) if told in words]


def test_the_same_question_gives_the_same_key(spec: EngineSpec) -> None:
    """The digest depends on values alone."""
    assert key(spec).digest == key(spec).digest
    assert differences(key(spec), key(spec)) == []


def test_tensorrt_builds_only_where_the_gpu_is() -> None:
    """It times kernels on the GPU; without one the remedy is another machine or the other library."""
    library = named_library("tensorrt")

    with pytest.raises(BackendUnavailable, match="--backend tensorrt_rtx"):
        Target.of(library, None)
    with pytest.raises(BackendUnavailable, match=r"RTX 4070.*not for compute capability 8\.6"):
        Target.of(library, ADA, "8.6")


def test_plans_of_tensorrt_rtx_are_portable_except_to_turing() -> None:
    """One plan serves RTX cards from Ampere on; Turing needs its own, and gets it without being asked."""
    library = named_library("tensorrt_rtx", "1.7.1.116")

    assert Target.of(library, None) == Target.of(library, ADA) == Target.of(library, AMPERE)
    assert Target.of(library, TURING).compute_capability == "7.5"
    assert [target.compute_capability for target in Target.fitting(library, ADA)] == ["8.9", "8.0+"]
    assert [target.compute_capability for target in Target.fitting(library, TURING)] == ["7.5"]


def test_the_remedy_is_the_command_that_was_typed(spec: EngineSpec) -> None:
    """Options that were not the default stand in it, so that the same key comes out."""
    library = named_library("tensorrt_rtx", "1.7.1.116")
    special = key(spec, library, TURING, opt_level=5, tf32=False)

    assert build_command("tiny", key(spec, library)) == "python -m engines build tiny --backend tensorrt_rtx"
    assert build_command("tiny", special).endswith("--opt-level 5 --no-tf32 --compute-capability 7.5")


def test_a_graph_is_called_by_its_name_where_the_name_leads_to_it(
    spec: EngineSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else by its file, which always works."""
    assert source_of(spec) == str(spec.path)

    monkeypatch.setenv("SEGSTREAM_ENGINES", str(spec.path.parent))

    assert source_of(spec) == "tiny@64x32:fp32"


def test_a_name_that_leads_to_another_graph_is_not_used(
    spec: EngineSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first folder wins, so the graph of a later one has only its file; also when the first cannot be read."""
    first = tiny_spec(tmp_path / "my engines")
    monkeypatch.setenv("SEGSTREAM_ENGINES", os.pathsep.join(map(str, (first.path.parent, spec.path.parent))))

    assert source_of(first) == "tiny@64x32:fp32"
    assert source_of(spec) == str(spec.path)

    (first.path.parent / "tiny.json").write_text("no manifest", encoding="utf-8")
    assert source_of(first) == str(first.path)


def test_the_command_can_be_pasted_whatever_the_file_is_called(spec: EngineSpec) -> None:
    """Spaces and what else a shell takes for its own."""
    command = build_command("/my engines/$(tiny).onnx", key(spec))

    assert shlex.split(command)[4] == "/my engines/$(tiny).onnx"


@pytest.mark.parametrize("text", ["89", "8", "", "8.9 ", "8.9+", "sm_89", "٨.٩"])
def test_a_compute_capability_is_two_numbers(text: str) -> None:
    """`89` would be a key that no GPU ever asks for."""
    library = named_library("tensorrt_rtx", "1.7.1.116")

    with pytest.raises(EngineMismatch, match=r"expected two numbers with a dot, 8\.9, or 8\.0\+"):
        Target.of(library, None, text)
    assert Target.of(library, None, "8.0+") == Target.of(library, None)
