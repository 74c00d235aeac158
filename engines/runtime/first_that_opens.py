"""`--backend auto`: the best backend that opens, which is known only once it has been opened.

A plan may fit by its key and still be truncated, changed, too large for the memory that is free, or too new for the
driver; then the next backend is opened, and the line for people says why. The trap: this object, not the backend in
it, is what callers hold, so whatever a backend learns by opening is copied here.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Self

from engines.errors import BackendUnavailable, DeviceLost, EngineError
from engines.runtime.checked import Array, CheckedEngine

if TYPE_CHECKING:
    from engines.runtime.overlap import Overlap
    from engines.runtime.resident import Resident

__all__ = ["FirstThatOpens", "Next"]

Next = Callable[[list[str]], CheckedEngine | None]
"""The next backend that seems to work; adds why others do not to the list. None when there is none any more."""


class FirstThatOpens:
    """See `engines.runtime.Engine`; opening goes on to the next backend when one refuses."""

    def __init__(self, label: str, next_one: Next) -> None:
        self._next_one = next_one
        self._reasons: list[str] = []
        """Why better backends were not taken, one each."""
        first = next_one(self._reasons)
        if first is None:
            raise BackendUnavailable(f"{label}: no backend is available: {'; '.join(self._reasons)}")
        self._take(first)

    @property
    def on_gpu(self) -> bool:
        """Of the backend that opened."""
        return self._engine.on_gpu

    @property
    def choice(self) -> str:
        """The line for people, with why better backends were not taken."""
        return self._engine.choice

    def __enter__(self) -> Self:
        while True:
            try:
                self._engine.__enter__()
            except DeviceLost:
                raise  # of no use to go on in this process
            except EngineError as error:
                reasons = [*self._reasons, " ".join(str(error).split())]
                following = self._next_one(reasons)
                if following is None:
                    raise
                self._reasons = reasons
                self._take(following)
            else:
                self.backend, self.max_batch = self._engine.backend, self._engine.max_batch
                return self

    def infer(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """One batch into buffers the caller owns."""
        self._engine.infer(inputs, outputs)

    def resident(self) -> "Resident | None":
        """Of the backend that opened."""
        return self._engine.resident()

    def overlap(self, wake: Callable[[], None]) -> "Overlap | None":
        """Of the backend that opened."""
        return self._engine.overlap(wake)

    def __exit__(self, *exc: object) -> None:
        self._engine.__exit__(*exc)
        self.backend = self._engine.backend

    def _take(self, engine: CheckedEngine) -> None:
        self._engine = engine
        self.spec, self.max_batch, self.outputs = engine.spec, engine.max_batch, engine.outputs
        self.backend = engine.backend
