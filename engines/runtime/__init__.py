"""Engines opened for running, behind one seam.

`BACKENDS` is lazy: a backend's library is imported when an engine is opened with it, never before.
The trap: `open_engine` only chooses; memory is acquired, and the graph compiled, by `with`; and `auto` may choose again
there, when what it chose does not open.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, cast

from configs import near_matches
from engines.errors import BackendUnavailable
from engines.names import check_file, resolve
from engines.runtime.checked import Array, CheckedEngine, Hint, PrecisionHint
from engines.runtime.first_that_opens import FirstThatOpens, Next
from engines.spec import EngineSpec

if TYPE_CHECKING:
    from engines.runtime.overlap import Overlap
    from engines.runtime.resident import Resident

__all__ = [
    "BACKENDS",
    "Array",
    "Engine",
    "PrecisionHint",
    "automatic_backends",
    "backend_reason",
    "missing_reason",
    "open_engine",
    "runs_on_gpu",
]


class Engine(Protocol):
    """Opened for running. Memory is acquired in `__enter__`, released in `__exit__`."""

    spec: EngineSpec
    max_batch: int
    """Pictures a call at most; complete once the engine is open."""
    outputs: tuple[str, ...]
    """What `infer` may be asked for."""
    backend: str
    """What runs it, for people: `OpenVINO 2026.4 bf16, 2 threads`. Complete once the engine is open."""

    @property
    def on_gpu(self) -> bool:
        """Whether it copies pictures to a GPU, by itself or in the engine that was chosen."""

    @property
    def choice(self) -> str:
        """The line for people: `engine person 512x288 fp32 on OpenVINO 2026.4 bf16, 2 threads; no NVIDIA driver`."""

    def __enter__(self) -> Self: ...

    def infer(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """One batch into buffers the caller owns; only the outputs named are computed where the runtime can."""

    def resident(self) -> "Resident | None":
        """Its buffers on a device, for who keeps frames there (`engines/on_device/`); None: it lends none."""

    def overlap(self, wake: Callable[[], None]) -> "Overlap | None":
        """Calls of one picture, several under way at once, in the place of `infer`; None: one after the other."""

    def __exit__(self, *exc: object) -> None: ...


def open_engine(
    engine: str | Path | EngineSpec,
    *,
    backend: str = "auto",
    outputs: Sequence[str] | None = None,
    lent_outputs: Sequence[str] | None = None,
    n_threads: int | None = None,
    hint: Hint = "latency",
    precision_hint: PrecisionHint = "auto",
    without: Mapping[str, str] | None = None,
    max_batch: int | None = 1,
) -> Engine:
    """Find an engine and the backend that will run it; `with` opens it.

    Args:
        engine: a name, a path or a resolved spec; see `engines.names.resolve`.
        backend: a key of `BACKENDS`, or `auto`: the first that is available and opens; one that is named must open.
        outputs: what will be asked for: of `logits`, `alpha`, `labels`; None: everything.
        lent_outputs: the same of a backend that lends its buffers (`Engine.resident`), where less is needed; None:
            `outputs`.
        n_threads: threads of one inference; None: all cores this process may use.
        hint: `latency` (a stream) or `throughput` (several threads infer at once).
        precision_hint: `f32` forbids bf16, for comparisons.
        without: backends that `auto` leaves out, each with the reason.
        max_batch: pictures a call at most, where the graph's batch axis is open; None: as many as make it faster here.

    Raises:
        EngineNotFound, EngineMismatch: see `resolve`.
        BackendUnavailable: the backend cannot work here; the message has the command that mends it.
    """
    if isinstance(engine, EngineSpec):
        spec = engine
        check_file(spec)
    else:
        spec = resolve(engine)

    def made(name: str, why: str = "") -> CheckedEngine:
        kind = _class_of(name)
        wanted = lent_outputs if lent_outputs is not None and kind.lends_buffers() else outputs
        engine = kind(
            spec, outputs=wanted, n_threads=n_threads, hint=hint, precision_hint=precision_hint, max_batch=max_batch
        )
        engine.key, engine.why = name, why
        return engine

    if backend == "auto":
        names = ["fake"] if _is_fake(spec) else [name for name in BACKENDS if name not in ASKED_FOR_ONLY]
        return FirstThatOpens(spec.label, _going_on(names, spec, precision_hint, without or {}, made))
    kind = _class_of(backend)
    reason = kind.unavailable_reason()
    if reason is not None:
        raise BackendUnavailable(f"{spec.label}: {reason}")
    if _is_fake(spec) != (backend == "fake"):
        raise BackendUnavailable(f"{spec.label} cannot run on backend {backend!r}; leave backend at auto")
    return made(backend)


def backend_reason(name: str) -> str | None:
    """Why a backend cannot be used here, None when it can.

    Raises:
        BackendUnavailable: there is no such backend.
    """
    return _class_of(name).unavailable_reason()


def missing_reason(name: str, spec: EngineSpec, precision_hint: PrecisionHint = "auto") -> str | None:
    """What a backend that can be used here lacks to run this graph, with what would mend it; None when it has all.

    Raises:
        BackendUnavailable: there is no such backend.
    """
    return _class_of(name).missing_reason(spec, precision_hint)


def runs_on_gpu(name: str) -> bool:
    """Whether a backend runs on a GPU.

    Raises:
        BackendUnavailable: there is no such backend.
    """
    return _class_of(name).on_gpu


def _going_on(
    names: Sequence[str],
    spec: EngineSpec,
    precision_hint: PrecisionHint,
    without: Mapping[str, str],
    made: Callable[[str, str], CheckedEngine],
) -> Next:
    """From the best backend to the last, those that can be used here."""
    left = iter(names)

    def next_one(reasons: list[str]) -> CheckedEngine | None:
        for name in left:
            reason = without.get(name)
            if reason is None:
                kind = _class_of(name)
                reason = kind.unavailable_reason() or kind.missing_reason(spec, precision_hint)
            if reason is None:
                return made(name, "; ".join(reasons))
            if reason not in reasons:  # "no NVIDIA driver" is why several cannot be used
                reasons.append(reason)
        return None

    return next_one


def _is_fake(spec: EngineSpec) -> bool:
    return spec.name == "fake" and not spec.sha256


def _class_of(name: str) -> type[CheckedEngine]:
    if name not in BACKENDS:
        raise BackendUnavailable(f"no backend called {name!r}; {near_matches(name, ['auto', *BACKENDS])}")
    module, _, attribute = BACKENDS[name].partition(":")
    return cast(type[CheckedEngine], getattr(importlib.import_module(module), attribute))


BACKENDS: dict[str, str] = {
    "tensorrt": "engines.runtime.tensorrt_engine:TensorRtEngine",
    "tensorrt_rtx": "engines.runtime.tensorrt_engine:TensorRtRtxEngine",
    "torch_cuda": "engines.runtime.torch_engine:TorchCudaEngine",
    "onnxruntime_cuda": "engines.runtime.onnxruntime_cuda_engine:OnnxRuntimeCudaEngine",
    "openvino": "engines.runtime.openvino_engine:OpenVinoEngine",
    "onnxruntime": "engines.runtime.onnxruntime_engine:OnnxRuntimeEngine",
    "torch_cpu": "engines.runtime.torch_engine:TorchCpuEngine",
    "fake": "engines.runtime.fake_engine:FakeEngine",
}
"""Name to "module:Class", best first."""

ASKED_FOR_ONLY = frozenset({"fake", "torch_cpu"})
"""What `auto` never takes by itself."""


def automatic_backends(spec: EngineSpec | None = None) -> dict[str, str | None]:
    """What `auto` goes through, best first, each with the reason why it cannot be used here, None for one that can.

    Args:
        spec: a graph that it is to run; None asks about the machine only.
    """
    return {
        name: backend_reason(name) or (missing_reason(name, spec) if spec is not None else None)
        for name in BACKENDS
        if name not in ASKED_FOR_ONLY
    }
