"""What all backends share: the door. A call is checked here, then handed to the runtime.

A subclass opens, runs and closes; it sees only buffers that are right. The trap is the buffer's
address: runtimes are bound to the caller's memory, so a strided view must never get through.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from engines.errors import DeviceLost, EngineError, InputSizeError
from engines.machine import usable_cores
from engines.runtime.lost import lost_reason
from engines.spec import INPUT_NAME, EngineSpec

if TYPE_CHECKING:
    from engines.runtime.overlap import Overlap
    from engines.runtime.resident import Resident

__all__ = ["GPU_BATCH", "CheckedEngine", "Hint", "PrecisionHint", "address_of"]

Array = NDArray[np.generic]
Hint = Literal["latency", "throughput"]
PrecisionHint = Literal["auto", "f32"]

GPU_BATCH = 8
"""Pictures a call on a GPU when nobody says how many; as many as a plan takes when nobody says (`Batches`)."""


class CheckedEngine(ABC):
    """An engine that refuses what it cannot take, with the reason.

    Args:
        spec: the graph.
        outputs: what may be asked for; only this is compiled. None: everything the graph has.
        n_threads: threads of one inference; None: all cores this process may use.
        hint: `latency` for one frame at a time; `throughput` for callers that infer from several threads.
        precision_hint: `auto` lets the runtime calculate in bf16 where the CPU has it; `f32` forbids that.
        max_batch: pictures a call at most, where the graph's batch axis is open; None: as many as make it faster
            here, `usual_batch`. A graph with a fixed batch takes no notice.

    Raises:
        EngineError: the graph has no such output.
    """

    title: ClassVar[str]
    usual_batch: ClassVar[int] = 1
    """Pictures a call that are asked for when nobody says how many; one on a processor, which gains nothing by more."""
    on_gpu: ClassVar[bool] = False
    """Whether what fails may be the GPU, for good: see `engines.runtime.lost`."""

    def __init__(
        self,
        spec: EngineSpec,
        *,
        outputs: Sequence[str] | None = None,
        n_threads: int | None = None,
        hint: Hint = "latency",
        precision_hint: PrecisionHint = "auto",
        max_batch: int | None = 1,
    ) -> None:
        self.spec = spec
        if max_batch is not None and max_batch < 1:
            raise EngineError(f"batches of {max_batch} for {spec.label}; expected 1 or more")
        self.max_batch = (max_batch or self.usual_batch) if spec.any_batch else spec.batch
        """Pictures a call at most; complete once the engine is open."""
        self.outputs = tuple(spec.output.names if outputs is None else outputs)
        for name in self.outputs:
            if name not in spec.output.names:
                raise EngineError(f"{spec.label} has no output {name!r}; it has {', '.join(spec.output.names)}")
        if not self.outputs:
            raise EngineError(f"{spec.label}: no output asked for; it has {', '.join(spec.output.names)}")
        if n_threads is not None and n_threads < 1:
            raise EngineError(f"{n_threads} threads for {spec.label}; expected 1 or more")
        self.n_threads = n_threads or usable_cores()
        self.hint: Hint = hint
        self.precision_hint: PrecisionHint = precision_hint
        self.backend = self.title
        """Complete, with arithmetic and threads, once the engine is open."""
        self.key = ""
        """Its name in `BACKENDS`; `open_engine` knows it."""
        self.why = ""
        """Why a better backend was not taken; empty when there is nothing to say."""
        self._is_open = self._is_lost = False
        self._expected = {name: (spec.output_shape(name), np.dtype(spec.output_dtype(name))) for name in self.outputs}
        self._input = (spec.input.shape(spec.batch), np.dtype(np.uint8))

    @classmethod
    @abstractmethod
    def unavailable_reason(cls) -> str | None:
        """Why this backend cannot be used here, with what would mend it; None when it can."""

    @classmethod
    def missing_reason(cls, spec: EngineSpec, precision_hint: PrecisionHint = "auto") -> str | None:  # noqa: ARG003
        """What this backend needs beside the graph and does not have, with what would mend it; None when it has all."""
        return None

    @classmethod
    def lends_buffers(cls) -> bool:
        """Whether `resident` gives them here, once an engine is open; asked before, to open it for what is needed."""
        return False

    def resident(self) -> "Resident | None":
        """Its buffers on a device, for who keeps frames there; None where there are none to lend, or it is not open."""
        return None

    def overlap(self, wake: Callable[[], None]) -> "Overlap | None":
        """Calls of one picture, several under way at once, which is closed before this; None: one after the other."""
        lent = self._lent()
        if lent is None:
            return None
        from engines.runtime.overlap import Overlap  # needs the device's seam, which engines of the processor do not

        return Overlap(lent, wake, self.spec.label)

    def _lent(self) -> "Resident | None":
        """What calls that overlap are made of; None for the processor, which has one thing to do at a time."""
        return None

    @abstractmethod
    def _open(self) -> None:
        """Acquire memory, run once, and complete `backend`."""

    @abstractmethod
    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        """One inference over checked buffers."""

    @abstractmethod
    def _close(self) -> None:
        """Release what `_open` acquired, also after it failed half way."""

    @property
    def choice(self) -> str:
        """`engine person 512x288 fp32 on OpenVINO 2026.4 bf16, 2 threads; no NVIDIA driver`."""
        return f"engine {self.spec.label} on {self.backend}" + (f"; {self.why}" if self.why else "")

    def __enter__(self) -> Self:
        if self._is_open:
            raise EngineError(f"{self.spec.label} is open already; open_engine() makes another one")
        try:
            self._open()
        except BaseException as error:
            if (lost := self._lost(error, at_work=False)) is not None:
                raise lost from error
            self._close()
            raise
        self._is_open = True
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_open = False
        if not self._is_lost:  # else nothing can be given back, and a call might never return
            self._close()

    def infer(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """One batch into buffers the caller owns; buffers that are not named stay untouched.

        Args:
            inputs: `{"image_bgr": (batch, height, width, 3) uint8}`, C order; batch is the graph's own, mostly 1, or
                1 to `max_batch` where its batch axis is open.
            outputs: any of the outputs the engine was opened with, shapes of `EngineSpec.output_shape`,
                C order, writable.

        Raises:
            InputSizeError: a buffer with another name, type, shape or order.
            EngineError: the engine is not open, or an output was asked for that it was not opened with.
            DeviceLost: the GPU failed for good; end this process, and do not close the engine.
        """
        if not self._is_open:
            raise EngineError(f"{self.spec.label} is not open; write: with open_engine(...) as engine")
        image_bgr = inputs.get(INPUT_NAME)
        if image_bgr is None or len(inputs) != 1:
            raise InputSizeError(f"{self.spec.label} takes one input {INPUT_NAME!r}, received {sorted(inputs)}")
        batch = self._batch_of(image_bgr)
        self._check(INPUT_NAME, image_bgr, batch, *self._input)
        for name, buffer in outputs.items():
            expected = self._expected.get(name)
            if expected is None:
                raise EngineError(
                    f"{self.spec.label} was opened for {', '.join(self.outputs)}, asked for {name!r}; "
                    f"open it with outputs=[..., {name!r}]"
                )
            self._check(name, buffer, batch, *expected)
            if not buffer.flags.writeable:
                raise InputSizeError(f"{self.spec.label}: {name} is read-only; an output needs a writable buffer")
        if not outputs:
            raise EngineError(f"{self.spec.label}: no outputs given; name at least one of {', '.join(self.outputs)}")
        try:
            self._run(image_bgr, outputs)
        except (EngineError, RuntimeError) as error:
            if (lost := self._lost(error, at_work=True)) is not None:
                raise lost from error
            raise

    def _lost(self, error: BaseException, *, at_work: bool) -> DeviceLost | None:
        if isinstance(error, DeviceLost):
            lost = error
        elif self.on_gpu and (reason := lost_reason(error, at_work=at_work)) is not None:
            said = " ".join(str(error).split()).removeprefix(f"{self.spec.label}: ")[:300]
            lost = DeviceLost(f"{self.spec.label}: {self.title} lost the GPU: {reason} ({said})")
        else:
            return None
        lost.backend = self.key
        self._is_lost = True
        return lost

    def _batch_of(self, image_bgr: Array) -> int:
        """Pictures in this call."""
        if not self.spec.any_batch or image_bgr.ndim != 4:
            return self.spec.batch
        n = len(image_bgr)
        if not 1 <= n <= self.max_batch:
            raise InputSizeError(
                f"{self.spec.label}: {n} pictures in one call, it was opened for 1 to {self.max_batch}; open it with "
                f"max_batch={max(1, n)}"
            )
        return n

    def _check(self, name: str, buffer: Array, batch: int, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        if buffer.shape[1:] != shape[1:] or buffer.shape[0] != batch or buffer.dtype != dtype:
            raise InputSizeError(
                f"{self.spec.label}: {name} is {buffer.dtype} {buffer.shape}, expected {dtype} {(batch, *shape[1:])}"
                + ("; resize it first (engines.geometry.tensor_of)" if name == INPUT_NAME else "")
            )
        if not buffer.flags.c_contiguous:
            raise InputSizeError(
                f"{self.spec.label}: {name} is strided {buffer.strides}, expected C order (np.ascontiguousarray)"
            )

    def _blank_image(self, batch: int | None = None) -> Array:
        shape, dtype = self._input
        return np.zeros((batch or shape[0], *shape[1:]), dtype)

    def _blank_outputs(self, batch: int | None = None) -> dict[str, Array]:
        return {
            name: np.zeros((batch or shape[0], *shape[1:]), dtype) for name, (shape, dtype) in self._expected.items()
        }


def address_of(buffer: Array) -> int:
    """Where a buffer begins. Good only while its owner keeps it."""
    return buffer.ctypes.data
