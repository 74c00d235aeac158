"""Plans that are kept: found by their key alone, refused when anything about them has changed, whole at any moment."""

import errno
import json
import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from engines.errors import EngineMismatch
from engines.plans.cache import Plan, PlanCache, plan_at, plan_folders
from engines.spec import EngineSpec
from tests.engines.plans.keeping import CODE, keep_one, kept, replace_for_ever
from tests.engines.plans.test_key import CHANGES, changed
from tests.engines.plans.worlds import key, tiny_spec

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> EngineSpec:
    """A graph of 64x32."""
    return tiny_spec(tmp_path_factory.mktemp("engines"))


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    """An empty one."""
    return PlanCache(tmp_path / "plans")


def test_a_plan_is_found_by_its_key_and_gives_its_bytes(cache: PlanCache, spec: EngineSpec) -> None:
    """What was kept comes back; before that there is nothing, not even a folder."""
    assert cache.find(key(spec)) is None
    assert not cache.folder.exists()

    kept(cache, key(spec))
    plan = cache.find(key(spec))

    assert plan is not None
    assert plan.load() == CODE
    assert plan_at(plan.path).manifest == plan_at(plan.manifest_path).manifest == plan.manifest


@pytest.mark.parametrize("change", [change for change, _ in CHANGES], ids=lambda change: next(iter(change)))
def test_a_plan_of_another_key_is_never_found(cache: PlanCache, spec: EngineSpec, change: dict[str, object]) -> None:
    """Whatever it differs in: graph, version, GPU, platform, shapes, options."""
    kept(cache, changed(key(spec), change))

    assert cache.find(key(spec)) is None


@pytest.mark.parametrize("change", [change for change, _ in CHANGES], ids=lambda change: next(iter(change)))
def test_a_manifest_whose_key_was_edited_is_refused(
    cache: PlanCache, spec: EngineSpec, change: dict[str, object]
) -> None:
    """A plan of another GPU or version does not become ours by writing so into its manifest, nor by renaming it."""
    plan = kept(cache, key(spec))
    edited = plan.manifest.model_copy(update={"key": changed(key(spec), change)})
    plan.manifest_path.write_text(edited.model_dump_json(), encoding="utf-8")

    with pytest.raises(EngineMismatch, match="was changed: its key is no longer the one that names it"):
        cache.find(key(spec))


def test_a_truncated_plan_is_refused_by_name(cache: PlanCache, spec: EngineSpec) -> None:
    """With how much is there, and the command that replaces it."""
    plan = kept(cache, key(spec))
    plan.path.write_bytes(CODE[:1000])

    with pytest.raises(EngineMismatch, match=r"truncated: 1000 of 10240 bytes; python -m engines build .*force"):
        found(cache, spec).load()


def test_a_tampered_plan_is_refused_by_name(cache: PlanCache, spec: EngineSpec) -> None:
    """One byte is enough: a plan is native code."""
    plan = kept(cache, key(spec))
    plan.path.write_bytes(CODE[:-1] + b"!")

    with pytest.raises(EngineMismatch, match=r"not the plan that was built .* python -m engines build tiny .*--force"):
        found(cache, spec).load()


def test_a_plan_that_is_gone_is_refused_by_name(cache: PlanCache, spec: EngineSpec) -> None:
    """Somebody cleaned the folder by hand."""
    plan = kept(cache, key(spec))
    plan.path.unlink()

    with pytest.raises(EngineMismatch, match="is missing"):
        found(cache, spec).load()


@pytest.mark.parametrize("bit", [stat.S_IWOTH, stat.S_IWGRP, stat.S_IWOTH | stat.S_ISVTX])
def test_a_plan_that_others_may_change_is_refused(cache: PlanCache, spec: EngineSpec, bit: int) -> None:
    """Folder, manifest and plan: whoever can write there could have native code run as another user."""
    plan = kept(cache, key(spec))

    for path in (plan.path, plan.manifest_path, cache.folder):
        before = path.stat().st_mode
        path.chmod(before | bit)
        with pytest.raises(EngineMismatch, match=f"chmod go-w {path}"):
            found(cache, spec).load()
        path.chmod(before)
    assert found(cache, spec).load() == CODE


@pytest.mark.parametrize("what", ["path", "manifest_path", "folder"])
def test_a_plan_of_another_user_is_refused(
    cache: PlanCache, spec: EngineSpec, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner could write it at any time, whatever its mode says now."""
    plan = kept(cache, key(spec))
    if os.geteuid() == 0:  # root can give files away; anybody else becomes the stranger
        os.chown(cache.folder if what == "folder" else getattr(plan, what), 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)

    with pytest.raises(EngineMismatch, match=r"belongs to user .* only plans of your own or of root are opened"):
        found(cache, spec).load()


def test_what_is_no_plain_file_is_refused_by_name(cache: PlanCache, spec: EngineSpec, tmp_path: Path) -> None:
    """A link leads where others may write; a folder or a file without permission is not Python's error to tell."""
    plan = kept(cache, key(spec))
    elsewhere = tmp_path / "elsewhere"
    for path in (plan.path, plan.manifest_path):
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        with pytest.raises(EngineMismatch, match=f"{path.name} cannot be read .a link"):
            found(cache, spec).load()
        path.unlink()
        path.mkdir()
        with pytest.raises(EngineMismatch, match=f"{path.name} is not a plain file"):
            found(cache, spec).load()
        path.rmdir()
        elsewhere.rename(path)
    assert found(cache, spec).load() == CODE


def test_a_file_without_permission_is_refused_by_name(
    cache: PlanCache, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a plan that root has built for itself."""
    plan = kept(cache, key(spec))
    really_open = os.open

    def refuse(path: Path, *rest: int, **more: int) -> int:
        if path == plan.path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return really_open(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(EngineMismatch, match=rf"{plan.path.name} cannot be read \(Permission denied\)"):
        found(cache, spec).load()


def test_the_remedy_builds_into_the_folder_that_is_damaged(
    cache: PlanCache, spec: EngineSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the damaged plan would be found again, for folders of SEGSTREAM_PLANS come first."""
    plan = kept(cache, key(spec))
    assert plan.remedy.endswith(f" --out {cache.folder} --force")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    own = kept(PlanCache(tmp_path / "home" / "segstream" / "plans"), key(spec))
    assert "--out" not in own.remedy


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 99}', "\udc80"])
def test_a_manifest_that_is_not_one_is_refused(cache: PlanCache, spec: EngineSpec, text: str) -> None:
    """Cut off, of a later version, or not text."""
    plan = kept(cache, key(spec))
    plan.manifest_path.write_bytes(text.encode(errors="surrogateescape"))

    with pytest.raises(EngineMismatch, match="not the manifest of a plan"):
        cache.find(key(spec))
    assert cache.of_graph(spec.sha256)[0] == []


def test_a_plan_without_a_manifest_is_never_opened(cache: PlanCache, spec: EngineSpec) -> None:
    """Whatever was downloaded or copied: only what was built here is native code that we trust."""
    stranger = cache.folder / "downloaded.plan"
    cache.folder.mkdir()
    stranger.write_bytes(CODE)

    with pytest.raises(EngineMismatch, match="only plans that were built here are opened"):
        plan_at(stranger)


@pytest.mark.parametrize(
    "name", ["../elsewhere.plan", "", ".", "..", "a\0b", "/etc/passwd", f"{'0' * 32}-{'0' * 8}.so"]
)
def test_a_manifest_cannot_lead_out_of_its_folder(cache: PlanCache, spec: EngineSpec, name: str) -> None:
    """The plan's name is one of ours, not a path."""
    plan = kept(cache, key(spec))
    tree = json.loads(plan.manifest_path.read_text(encoding="utf-8"))
    tree["plan"] = name
    plan.manifest_path.write_text(json.dumps(tree), encoding="utf-8")

    with pytest.raises(EngineMismatch, match="is no name of a plan"):
        cache.find(key(spec))


def test_a_new_build_replaces_the_old_one(cache: PlanCache, spec: EngineSpec) -> None:
    """One plan a key, and what a killed build has left is swept away with it."""
    kept(cache, key(spec))
    (cache.folder / f"{key(spec).digest}-1234.plan.99.partial").write_bytes(CODE)

    kept(cache, key(spec), CODE[::-1])

    assert found(cache, spec).load() == CODE[::-1]
    assert len(list(cache.folder.glob("*.plan"))) == 1
    assert not list(cache.folder.glob("*.partial"))


def test_the_folders_of_the_environment_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user's cache is always the last, and where new plans go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SEGSTREAM_PLANS", os.pathsep.join(("first", "second")))

    assert plan_folders() == [Path("first"), Path("second"), tmp_path / "segstream" / "plans"]


def test_two_processes_take_turns(cache: PlanCache, spec: EngineSpec) -> None:
    """Real processes that start together: one is out before the other is in, and what is left is one whole plan."""
    processes = [SPAWN.Process(target=keep_one, args=(cache.folder, key(spec), 0.5)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)

    assert [process.exitcode for process in processes] == [0, 0]
    assert (cache.folder / "order").read_text(encoding="utf-8") == "in out in out "
    assert found(cache, spec).load()[:-1] == CODE
    assert len(list(cache.folder.glob("*.plan"))) == 1


def test_a_killed_builder_leaves_a_whole_plan_and_no_lock(cache: PlanCache, spec: EngineSpec) -> None:
    """Killed at any moment of writing, what is found is the old plan or the new one; the next builder does not wait."""
    kept(cache, key(spec), CODE)

    process = SPAWN.Process(target=replace_for_ever, args=(cache.folder, key(spec)))
    process.start()
    first = found(cache, spec).manifest.plan_sha256
    deadline = time.monotonic() + 30
    while found(cache, spec).manifest.plan_sha256 == first and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)

    plan = found(cache, spec)
    assert plan.manifest.plan_sha256 != first
    assert len(plan.load()) == plan.manifest.plan_bytes
    kept(cache, key(spec), CODE)
    assert found(cache, spec).load() == CODE


def found(cache: PlanCache, spec: EngineSpec) -> Plan:
    """The plan, which must be there."""
    plan = cache.find(key(spec))
    assert plan is not None
    return plan
