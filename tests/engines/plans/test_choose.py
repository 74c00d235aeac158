"""Which plan a stream takes on a GPU, and what it says when there is none."""

from pathlib import Path

import pytest

from engines.errors import BackendUnavailable, EngineMismatch
from engines.names import resolve
from engines.plans.cache import PlanCache
from engines.plans.choose import plan_for
from engines.plans.key import Batches
from engines.spec import EngineSpec
from tests.engines.plans.keeping import kept
from tests.engines.plans.worlds import ADA, AMPERE, dynamic_graph, key, named_library, tiny_spec

TRT = named_library("tensorrt")
RTX = named_library("tensorrt_rtx", "1.7.1.116")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> EngineSpec:
    """A graph of 64x32."""
    return tiny_spec(tmp_path_factory.mktemp("engines"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanCache:
    """The user's, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return PlanCache(tmp_path / "segstream" / "plans")


def test_the_plan_of_the_highest_level_is_taken(cache: PlanCache, spec: EngineSpec) -> None:
    """A stream does not know how a plan was built; whoever built at level 5 wants that one."""
    for level in (0, 5, 3):
        kept(cache, key(spec, TRT, opt_level=level))

    assert plan_for(spec, TRT, ADA).manifest.key.options.opt_level == 5


def test_a_plan_for_this_gpu_alone_comes_before_the_portable_one(cache: PlanCache, spec: EngineSpec) -> None:
    """Of tensorrt_rtx; on another GPU the portable one is taken."""
    portable = key(spec, RTX)
    target = portable.target.model_copy(update={"compute_capability": "8.9"})
    kept(cache, portable)
    kept(cache, portable.model_copy(update={"target": target}))

    assert plan_for(spec, RTX, ADA).manifest.key.target.compute_capability == "8.9"
    assert plan_for(spec, RTX, AMPERE).manifest.key.target.compute_capability == "8.0+"


def test_a_plan_of_another_gpu_is_told_with_the_remedy(cache: PlanCache, spec: EngineSpec) -> None:
    """What there is, why it does not fit, what to type."""
    kept(cache, key(spec, TRT, AMPERE))

    with pytest.raises(BackendUnavailable) as error:
        plan_for(spec, TRT, ADA)

    assert "no plan of tiny 64x32 fp32 for NVIDIA GeForce RTX 4070" in str(error.value)
    assert "built for compute capability 8.6, here 8.9" in str(error.value)
    assert str(error.value).endswith(f"build one: python -m engines build {spec.path} --backend tensorrt")


def test_a_plan_of_another_version_is_told_with_the_remedy(cache: PlanCache, spec: EngineSpec) -> None:
    """After an upgrade of TensorRT."""
    kept(cache, key(spec, named_library("tensorrt", "11.4.0.106")))

    with pytest.raises(BackendUnavailable, match=r"with version 11\.4\.0\.106, here 10\.16\.1\.11.*engines build"):
        plan_for(spec, TRT, ADA)


def test_no_plan_at_all_is_told_with_the_remedy(cache: PlanCache, spec: EngineSpec) -> None:
    """Also with what the stream asked for beyond the default."""
    with pytest.raises(BackendUnavailable, match=r"no plan of tiny .* --backend tensorrt --no-tf32$"):
        plan_for(spec, TRT, ADA, tf32=False)


def test_a_graph_that_takes_any_batch_finds_a_profile_with_its_batch(
    cache: PlanCache, spec: EngineSpec, tmp_path: Path
) -> None:
    """The one that was tuned for it first; one that does not hold it never."""
    open_spec = resolve(dynamic_graph(spec.path, tmp_path / "open" / "tiny.onnx"))
    for batches in (Batches(smallest=2, usual=4, largest=8), Batches(usual=4, largest=4), Batches(usual=1, largest=8)):
        kept(cache, key(open_spec, TRT, batches=batches))

    plans = {n: plan_for(open_spec, TRT, ADA, is_dynamic=True, batch=n) for n in (1, 4, 16)}

    assert {n: plan.manifest.key.options.batches for n, plan in plans.items()} == {
        1: Batches(usual=1, largest=8),
        4: Batches(usual=4, largest=4),
        16: Batches(usual=1, largest=8),  # the first of those must hold one picture, too: cameras come and go
    }


@pytest.fixture
def open_spec(spec: EngineSpec, tmp_path: Path) -> EngineSpec:
    """The same graph for any batch."""
    return resolve(dynamic_graph(spec.path, tmp_path / "open" / "tiny.onnx"))


def test_of_an_open_graph_only_true_differences_are_told(cache: PlanCache, open_spec: EngineSpec) -> None:
    """A plan with a profile has other planes and batches than the graph, which keeps nobody from taking it."""
    kept(cache, key(open_spec, TRT, AMPERE, batches=Batches(usual=4, largest=4), opt_level=5))
    with pytest.raises(BackendUnavailable) as error:
        plan_for(open_spec, TRT, ADA, is_dynamic=True)

    assert "; one was built for compute capability 8.6, here 8.9, built on GPU" in str(error.value)
    assert not any(word in str(error.value) for word in ("inputs", "outputs", "batches", "level"))

    kept(cache, key(open_spec, TRT, batches=Batches(smallest=2, usual=4, largest=8)))
    with pytest.raises(BackendUnavailable, match="; one was built for 2 to 8 pictures a call, here 1; build one: "):
        plan_for(open_spec, TRT, ADA, is_dynamic=True)


def test_a_damaged_plan_of_an_open_graph_is_told(cache: PlanCache, spec: EngineSpec, open_spec: EngineSpec) -> None:
    """Alone, and with the one that is taken; a damaged plan of another graph is nobody's business here."""
    other = kept(cache, key(spec, TRT)).manifest_path
    other.write_text(other.read_text().replace('"opt_level": 3', '"opt_level": 4'), encoding="utf-8")
    with pytest.raises(BackendUnavailable, match=r"^no plan of"):
        plan_for(open_spec, TRT, ADA, is_dynamic=True)

    edited = kept(cache, key(open_spec, TRT, batches=Batches())).manifest_path
    edited.write_text(edited.read_text().replace('"largest": 8', '"largest": 9'), encoding="utf-8")
    with pytest.raises(EngineMismatch, match=r"was changed: its key .*engines build .* --force; no plan of .*build"):
        plan_for(open_spec, TRT, ADA, is_dynamic=True)

    edited.write_text("{", encoding="utf-8")
    good = kept(cache, key(open_spec, TRT, batches=Batches(largest=4)))
    plan = plan_for(open_spec, TRT, ADA, is_dynamic=True)
    assert plan.path == good.path
    assert ["not the manifest of a plan" in reason for reason in plan.passed_over] == [True]


def test_a_folder_of_the_environment_comes_before_the_cache(
    cache: PlanCache, spec: EngineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `build --out` has put plans for a machine that must not build."""
    carried = PlanCache(tmp_path / "carried")
    for place in (cache, carried):
        kept(place, key(spec, TRT))
    monkeypatch.setenv("SEGSTREAM_PLANS", str(carried.folder))

    assert plan_for(spec, TRT, ADA).path.parent == carried.folder


def test_a_damaged_manifest_hides_no_good_plan(
    cache: PlanCache, spec: EngineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in a later folder nor of a lower level in the same; what was wrong is told with the plan."""
    carried = PlanCache(tmp_path / "carried")
    kept(carried, key(spec, TRT, opt_level=5)).manifest_path.write_text("{", encoding="utf-8")
    good = kept(cache, key(spec, TRT))
    monkeypatch.setenv("SEGSTREAM_PLANS", str(carried.folder))

    plan = plan_for(spec, TRT, ADA)
    beside = kept(carried, key(spec, TRT, opt_level=0))

    assert plan.path == good.path
    assert [str(carried.folder) in reason for reason in plan.passed_over] == [True]
    assert plan_for(spec, TRT, ADA).path == beside.path


def test_a_damaged_manifest_is_told_where_it_is_all_there_is(cache: PlanCache, spec: EngineSpec) -> None:
    """Not as a plan that is missing: somebody may want to know how it was damaged."""
    kept(cache, key(spec, TRT)).manifest_path.write_text("{", encoding="utf-8")

    with pytest.raises(EngineMismatch, match="not the manifest of a plan"):
        plan_for(spec, TRT, ADA)
