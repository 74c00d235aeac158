"""What was measured in one build speeds up the next, on a builder's configuration that takes notes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from engines.errors import BuildError
from engines.plans import timing_cache
from engines.plans.cache import PlanCache
from engines.plans.key import Target
from engines.plans.timing_cache import timing_cache_for, timing_cache_path
from tests.engines.plans.worlds import ADA, AMPERE, named_library

TRT = named_library("tensorrt")


class NotedTimings:
    """Timings as bytes that only grow."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def combine(self, other: "NotedTimings", ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if other.data.startswith(b"?"):
            return False
        self.data = bytes(sorted({*self.data, *other.data}))
        return True

    def serialize(self) -> bytes:
        return self.data


class NotedConfig:
    """Measures what it is told to; does not take bytes that begin with `!`, and refuses those that begin with `?`."""

    def __init__(self) -> None:
        self.timings: NotedTimings | None = None

    def create_timing_cache(self, data: bytes) -> NotedTimings | None:
        return None if data.startswith(b"!") else NotedTimings(data)

    def set_timing_cache(self, timings: NotedTimings, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if timings.data.startswith(b"?"):
            return False
        self.timings = timings
        return True

    def get_timing_cache(self) -> NotedTimings | None:
        return self.timings


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    """An empty one."""
    return PlanCache(tmp_path / "plans")


def measured(cache: PlanCache, config: NotedConfig, what: bytes, meanwhile: bytes = b"") -> bytes:
    """Build once; returns the timings that the build began with."""
    target = Target.of(TRT, ADA)
    with timing_cache_for(cache, TRT, target, config):
        assert config.timings is not None
        began = config.timings.data
        config.timings.data += what
        if meanwhile:
            cache.folder.mkdir(exist_ok=True)
            timing_cache_path(cache, TRT, target).write_bytes(meanwhile)
    return began


def test_the_next_build_begins_with_what_was_measured(cache: PlanCache) -> None:
    """A file for this GPU and version."""
    first, second = measured(cache, NotedConfig(), b"ab"), measured(cache, NotedConfig(), b"c")

    assert (first, second) == (b"", b"ab")
    assert (cache.folder / "timing-tensorrt-10.16.1.11-8.9-nvidia-geforce-rtx-4070.cache").read_bytes() == b"abc"


def test_what_another_build_measured_meanwhile_is_not_lost(cache: PlanCache) -> None:
    """Both are in the file."""
    measured(cache, NotedConfig(), b"a", meanwhile=b"xy")

    assert timing_cache_path(cache, TRT, Target.of(TRT, ADA)).read_bytes() == b"axy"


@pytest.mark.parametrize("damaged", [b"!", b"?"])
def test_a_file_that_is_not_taken_is_replaced(cache: PlanCache, damaged: bytes) -> None:
    """Damaged, or of another GPU: the build begins with none, and what it measures is kept."""
    path = timing_cache_path(cache, TRT, Target.of(TRT, ADA))
    cache.folder.mkdir()
    path.write_bytes(damaged)

    assert measured(cache, NotedConfig(), b"a") == b""
    assert path.read_bytes() == b"a"


def test_timings_that_cannot_be_written_do_not_cost_the_plan(cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are a hint; the build they are of has succeeded."""

    def fail(path: Path, data: bytes) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(timing_cache, "write_whole", fail)

    assert measured(cache, NotedConfig(), b"a") == b""
    assert not list(cache.folder.glob("*.cache"))


def test_every_gpu_has_its_own(cache: PlanCache) -> None:
    """Timings of another GPU are wrong timings."""
    ada, ampere = (timing_cache_path(cache, TRT, Target.of(TRT, gpu)) for gpu in (ADA, AMPERE))

    assert ada != ampere


def test_a_build_that_fails_keeps_nothing(cache: PlanCache) -> None:
    """Half of a measurement is none."""
    with pytest.raises(BuildError), timing_cache_for(cache, TRT, Target.of(TRT, ADA), NotedConfig()):
        raise BuildError("no")

    assert not list(cache.folder.glob("*.cache"))


def test_tensorrt_rtx_has_none(cache: PlanCache) -> None:
    """Its calls are deprecated and do nothing, so they are not made."""
    rtx = named_library("tensorrt_rtx", "1.7.1.116")

    with timing_cache_for(cache, rtx, Target.of(rtx, None), SimpleNamespace()):
        pass

    assert not cache.folder.exists()
