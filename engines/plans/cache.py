"""Where plans are kept: `<key>-<hash>.plan`, and `<key>.json` that vouches for it.

The manifest is renamed into place last and names the plan's file and hash, so at any moment either the old pair or the
new one is whole, whoever is killed when. Builders of one key take turns under a file lock, which dies with its holder.
The trap: what was checked is what must be opened, so `Plan.load` gives the bytes that it hashed, not a path; and the
owner and mode that are checked are those of the open file, not of what its name may lead to a moment later.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, ValidationError

from configs import Options
from engines.errors import EngineMismatch
from engines.plans.key import PlanKey, build_command, differences

__all__ = ["BuildFacts", "Plan", "PlanCache", "PlanManifest", "plan_at", "plan_folders"]

SCHEMA_VERSION = 1
_PLAN_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{8}\.plan")


class BuildFacts(Options):
    """What was learnt while building; for people, never for deciding."""

    seconds: float = Field(ge=0)
    """In the builder alone."""
    layers: tuple[str, ...] = ()
    """Of the graph as the parser understood it, before fusion: kind, precision, shape, name."""
    precisions: dict[str, int] = {}
    """Precision to how many of these layers have an output of it."""
    activation_bytes: int | None = None
    """Device memory for what lies between layers; None where the builder did not say."""
    weights_bytes: int | None = None
    built_on: str = ""
    """The GPU of the building machine, or that there was none."""


class PlanManifest(Options):
    """The JSON beside a plan. Only what it vouches for is ever opened."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    engine: str
    """`person 512x288 fp32`."""
    source: str
    """What `build` takes to make it again: `person@512x288:fp32`, or the path of an ONNX file."""
    key: PlanKey
    plan: str
    """Name of the plan's file, beside this one."""
    plan_bytes: int = Field(gt=0)
    plan_sha256: str
    facts: BuildFacts


class Plan:
    """One plan in a folder, its manifest read, its bytes not yet."""

    def __init__(self, manifest_path: Path, manifest: PlanManifest) -> None:
        self.manifest_path = manifest_path
        self.manifest = manifest
        self.passed_over: tuple[str, ...] = ()
        """Why better plans were not taken, for people; filled in by whoever chose this one."""

    @property
    def path(self) -> Path:
        """The file of native code."""
        return self.manifest_path.with_name(self.manifest.plan)

    @property
    def remedy(self) -> str:
        """The command that replaces it."""
        folder = self.manifest_path.parent.resolve()
        out = "" if folder == plan_folders()[-1].resolve() else f" --out {shlex.quote(str(folder))}"
        return f"{build_command(self.manifest.source, self.manifest.key)}{out} --force"

    def load(self) -> bytes:
        """The plan's bytes, which are those that were written.

        Raises:
            EngineMismatch: missing, unreadable, truncated, changed, or open to changes by other users.
        """
        try:
            data = _read_ours(self.path)
        except FileNotFoundError:
            now = plan_at(self.manifest_path)
            if now.manifest != self.manifest:  # replaced since it was found; the new one is as good
                self.manifest = now.manifest
                return self.load()
            raise EngineMismatch(f"{self.path} is missing, {self.manifest_path.name} names it; {self.remedy}") from None
        expected = self.manifest.plan_bytes
        if len(data) != expected:
            cut = "truncated" if len(data) < expected else "longer than it was written"
            raise EngineMismatch(f"{self.path} is {cut}: {len(data)} of {expected} bytes; {self.remedy}")
        found = hashlib.sha256(data).hexdigest()
        if found != self.manifest.plan_sha256:
            raise EngineMismatch(
                f"{self.path} is not the plan that was built (sha256 {found[:12]}…, expected "
                f"{self.manifest.plan_sha256[:12]}…), and a plan is native code: it is not opened; {self.remedy}"
            )
        return data


class PlanCache:
    """One folder of plans; it is made when the first plan is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: PlanKey) -> Plan | None:
        """The plan of exactly this key, None when there is none. Its bytes are checked by `Plan.load`.

        Raises:
            EngineMismatch: there is a manifest under this key that is damaged, or was edited.
        """
        path = self.folder / f"{key.digest}.json"
        if not os.path.lexists(path):
            return None
        plan = plan_at(path)
        found = differences(plan.manifest.key, key)
        if found:
            raise EngineMismatch(f"{path} was changed: {'; '.join(found)}; {plan.remedy}")
        return plan

    def of_graph(self, onnx_sha256: str) -> tuple[list[Plan], list[str]]:
        """All plans of one graph, whatever they were built for, and why manifests that may be its own are left out."""
        plans, reasons = [], []
        for path in sorted(self.folder.glob("*.json")):
            try:
                plan = plan_at(path)
            except EngineMismatch as error:
                if not _names_another(path, onnx_sha256):
                    reasons.append(str(error))
                continue
            if plan.manifest.key.onnx_sha256 == onnx_sha256:
                plans.append(plan)
        return plans, reasons

    def keep(self, manifest: PlanManifest, data: bytes) -> Plan:
        """Write a plan and its manifest; hold `building` around this.

        Args:
            manifest: `plan`, `plan_bytes` and `plan_sha256` are filled in here.
        """
        digest, sha256 = manifest.key.digest, hashlib.sha256(data).hexdigest()
        manifest = manifest.model_copy(
            update={"plan": f"{digest}-{sha256[:8]}.plan", "plan_bytes": len(data), "plan_sha256": sha256}
        )
        plan = Plan(self.folder / f"{digest}.json", manifest)
        write_whole(plan.path, data)
        write_whole(plan.manifest_path, (manifest.model_dump_json(indent=1, exclude_none=True) + "\n").encode())
        for stale in {*self.folder.glob(f"{digest}-*.plan"), *self.folder.glob(f"{digest}*.partial")} - {plan.path}:
            stale.unlink(missing_ok=True)  # of an earlier build, or of one that was killed
        return plan

    @contextlib.contextmanager
    def building(self, name: str) -> Iterator[None]:
        """Only one process at a time builds what is called `name`; others wait here. A lock dies with its holder."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def plan_at(path: Path) -> Plan:
    """The plan of a manifest, or of a `.plan` file beside its manifest.

    Raises:
        EngineMismatch: no manifest of ours vouches for it, or its key is not the one that names it.
    """
    manifest_path = path if path.suffix == ".json" else path.with_name(f"{path.stem.partition('-')[0]}.json")
    try:
        manifest = PlanManifest.model_validate(json.loads(_read_ours(manifest_path).decode()))
    except FileNotFoundError:
        raise EngineMismatch(
            f"{path} has no manifest {manifest_path.name} beside it; a plan is native code, and only plans that were "
            "built here are opened: python -m engines build ENGINE"
        ) from None
    except (ValueError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise EngineMismatch(
            f"{manifest_path}: not the manifest of a plan ({first}); remove it and build again: python -m engines build"
        ) from error
    plan = Plan(manifest_path, manifest)
    if manifest.key.digest != manifest_path.stem:
        raise EngineMismatch(f"{manifest_path} was changed: its key is no longer the one that names it; {plan.remedy}")
    if not _PLAN_NAME.fullmatch(manifest.plan):
        raise EngineMismatch(f"{manifest_path} names {manifest.plan!r}, which is no name of a plan; {plan.remedy}")
    if path.suffix != ".json" and path.name != manifest.plan:
        raise EngineMismatch(f"{path} is not the plan that {manifest_path.name} vouches for; {plan.remedy}")
    return plan


def plan_folders() -> list[Path]:
    """Where plans are looked for, best first: those of SEGSTREAM_PLANS, then the user's cache, where new ones go."""
    asked = [Path(text).expanduser() for text in os.environ.get("SEGSTREAM_PLANS", "").split(os.pathsep) if text]
    return [*asked, Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segstream" / "plans"]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, also when the power goes."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o600)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _names_another(path: Path, onnx_sha256: str) -> bool:
    """Whether a manifest that cannot be used is another graph's, as far as it can still be read."""
    try:
        tree = json.loads(_read_ours(path).decode())
        return bool(tree["key"]["onnx_sha256"] != onnx_sha256)
    except (EngineMismatch, OSError, ValueError, TypeError, KeyError):
        return False


def _read_ours(path: Path) -> bytes:
    """A file that nobody but this user and root can have written, in a folder of which the same is true.

    Raises:
        FileNotFoundError: there is none.
        EngineMismatch: no plain file, not readable, or another user owns it or the folder, or may write there.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe must not be waited for
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise EngineMismatch(f"{path} is not a plain file; remove it and build again: python -m engines build")
            _refuse_others(path.parent, path.parent.stat())
            _refuse_others(path, found)
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "a link" if error.errno == errno.ELOOP else error.strerror
        raise EngineMismatch(
            f"{path} cannot be read ({why}); only plain files of your own are opened: python -m engines build"
        ) from error


def _refuse_others(path: Path, found: os.stat_result) -> None:
    here = shlex.quote(str(path))
    if found.st_uid not in (0, os.geteuid()):
        raise EngineMismatch(
            f"{path} belongs to user {found.st_uid}, and a plan is native code: only plans of your own or of root are "
            "opened; build it again: python -m engines build"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EngineMismatch(
            f"{path} can be written by other users of this machine, and a plan is native code; chmod go-w {here}"
        )
