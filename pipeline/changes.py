"""Settings that change while a stream runs, and the wishes of whoever watches it.

A change is proposed to all workers, which prepare it beside the frames; when the last one has, capture
stamps the new epoch. One proposal at a time: what is wished meanwhile is gathered into the next one, so
epochs come in order, and a slider that is moved makes few of them. A refusal leaves the old settings
serving; a death puts the proposal back until every worker is there again, but only once: an engine whose
opening kills its worker must not end the run.
"""

from collections.abc import Callable
from typing import Any

from pipeline.settings import Settings

__all__ = ["Changes"]


class Changes:
    """The present settings, the proposal under way, and what is wished beyond it."""

    def __init__(
        self,
        settings: Settings,
        engines: tuple[str, ...],
        send: Callable[[dict[str, Any]], None],
        note: Callable[[str, str, str], None],
    ) -> None:
        """`send` publishes to the workers; `note(stage, what, why)` keeps an event."""
        self.settings = settings
        self._engines = engines
        self._send = send
        self._note = note
        self._workers: frozenset[str] = frozenset()
        self._last_epoch = settings.epoch
        self._wished: dict[str, Any] = {}
        self._proposed: dict[str, Any] = {}
        self._pending: Settings | None = None
        self._waiting: set[str] = set()
        self._n_deaths = 0
        """Since the proposal under way, or the one that was put back, was first made."""

    def resume(self, workers: frozenset[str]) -> None:
        """Every one of these workers is there: proposals may be made."""
        self._workers = workers
        self._propose()

    def suspend(self) -> None:
        """A worker died: its successor starts with what holds now; the proposal under way is made again later."""
        self._workers = frozenset()
        if self._pending is not None:
            self._n_deaths += 1
            if self._n_deaths > 1:
                told = ", ".join(f"{key} {value}" for key, value in self._proposed.items())
                self._note("supervisor", "settings refused", f"a worker died twice while preparing {told}")
                self._proposed, self._n_deaths = {}, 0
        self._wished = {**self._proposed, **self._wished}
        self._proposed, self._pending = {}, None

    def wish(self, **changes: Any) -> None:
        """Have these fields of `Settings` changed, as soon as that can be."""
        self._wished.update(changes)
        self._propose()

    def open_with(self, engine: str, backend: str) -> None:
        """Have an engine opened by this backend from now on; what serves, serves until that is open and checked."""
        self.wish(backends={**self._latest("backends"), engine: backend})

    def answered(self, worker: str, epoch: int, why: str) -> None:
        """A worker has prepared an epoch, or says why it cannot."""
        if self._pending is None or self._pending.epoch != epoch:
            return
        self._waiting.discard(worker)
        if why:
            self._note(worker, "settings refused", why)
            self._retry_with_the_runs_backend()
        elif self._waiting:
            return
        else:
            self.settings = self._pending
            self._send({"type": "epoch", "epoch": epoch})
        self._proposed, self._pending, self._n_deaths = {}, None, 0
        self._propose()

    def follow(self, message: dict[str, Any]) -> None:
        """Follow a command from the window or the page; what makes no sense is noted and ignored."""
        wanted, value = message.get("set"), message.get("value")
        try:
            if wanted == "effect":
                effects = list(self._latest("effects"))
                effects[message["stream"]] = str(value)
                self.wish(effects=tuple(effects))
            elif wanted == "strength":
                self.wish(strength=min(2.0, max(0.0, float(str(value)))))
            elif wanted == "mask":
                self.wish(mask=bool(value))
            elif str(wanted).startswith("matte."):
                matte = self._latest("matte")
                changed = {**matte.model_dump(), str(wanted).removeprefix("matte."): value}
                self.wish(matte=type(matte).model_validate(changed))
            elif wanted == "engine" and value in self._engines:
                self.wish(engine=str(value))
            else:
                raise ValueError(f"{wanted} {value!r}; engines to choose from: {', '.join(self._engines)}")
        except (ValueError, IndexError, KeyError) as error:
            self._note("supervisor", "wish refused", str(error))

    def _latest(self, field: str) -> Any:
        """A field of the settings as it will be when all wishes have come true."""
        return {**self._proposed, **self._wished}.get(field, getattr(self.settings, field))

    def _retry_with_the_runs_backend(self) -> None:
        """An engine that was wished for and does not open with its own backend may open with that of the run."""
        engine = self._proposed.get("engine")
        if engine in self.settings.backends and engine != self.settings.engine:
            others = {name: backend for name, backend in self._latest("backends").items() if name != engine}
            self._wished = {**self._proposed, **self._wished, "backends": others}

    def _propose(self) -> None:
        if self._pending is not None or not self._wished or not self._workers:
            return
        # Nobody asked for a new backend: should it be refused, what somebody did ask for must not go with it.
        alone = {key: self._wished.pop(key) for key in ("backends",) if key in self._wished}
        self._proposed, self._wished = (alone, self._wished) if alone else (self._wished, {})
        self._last_epoch += 1
        self._pending = self.settings.changed(self._last_epoch, **self._proposed)
        self._waiting = set(self._workers)
        self._send({"type": "prepare", "settings": self._pending.to_json()})
