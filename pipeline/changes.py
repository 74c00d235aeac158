"""Settings that change while a stream runs, and the wishes of whoever watches it.

A change is proposed to all workers, which prepare it beside the frames; when the last one has, capture
stamps the new epoch. One refusal, and the old settings go on serving.
"""

from collections.abc import Callable
from typing import Any

from pipeline.settings import Settings

__all__ = ["Changes"]


class Changes:
    """The present settings and those on their way."""

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
        self._pending: dict[int, tuple[Settings, set[str]]] = {}

    def propose(self, workers: set[str], **changes: Any) -> None:
        """Ask the workers to prepare the next epoch."""
        settings = self._latest().changed(**changes)
        self._pending[settings.epoch] = (settings, set(workers))
        self._send({"type": "prepare", "settings": settings.to_json()})

    def answered(self, worker: str, epoch: int, why: str) -> None:
        """A worker has prepared an epoch, or says why it cannot."""
        if epoch not in self._pending:
            return
        settings, waiting = self._pending[epoch]
        waiting.discard(worker)
        if why:
            del self._pending[epoch]
            self._note(worker, "settings refused", why)
        elif not waiting:
            del self._pending[epoch]
            self.settings = settings
            self._send({"type": "epoch", "epoch": epoch})

    def forget(self, worker: str) -> None:
        """A worker died: its successor starts with what holds now, nobody waits for it."""
        for epoch in list(self._pending):
            self.answered(worker, epoch, "")

    def wish(self, message: dict[str, Any], workers: set[str]) -> None:
        """Follow a wish from the window or the page; what makes no sense is noted and ignored."""
        wanted, value = message.get("set"), message.get("value")
        try:
            if wanted == "effect":
                effects = list(self._latest().effects)
                effects[message["stream"]] = str(value)
                self.propose(workers, effects=tuple(effects))
            elif wanted == "strength":
                self.propose(workers, strength=min(2.0, max(0.0, float(str(value)))))
            elif wanted == "mask":
                self.propose(workers, mask=bool(value))
            elif wanted == "engine" and value in self._engines:
                self.propose(workers, engine=str(value))
            else:
                raise ValueError(f"{wanted} {value!r}; engines to choose from: {', '.join(self._engines)}")
        except (ValueError, IndexError, KeyError) as error:
            self._note("supervisor", "wish refused", str(error))

    def _latest(self) -> Settings:
        return self._pending[max(self._pending)][0] if self._pending else self.settings
