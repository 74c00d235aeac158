"""Several calls of one engine under way at once: a picture goes up while the one before is computed.

Each call has a set of buffers of its own beside the engine's; three streams (up, work, down) hand it on by marks, and
the host waits once, for the mark behind the last copy. The trap: a set is written again three calls later, so nothing
is uploaded into it before its mark was reached. The caller's arrays are read and written until then, too.

Not yet run on a GPU; every order that its streams allow is tried with streams that take turns at random.
"""

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from engines.errors import EngineError
from engines.runtime.checked import Array
from engines.runtime.device import DeviceBuffer, DeviceMark
from engines.runtime.lost import hung
from engines.runtime.resident import Resident
from engines.spec import INPUT_NAME

__all__ = ["IN_FLIGHT", "N_SETS", "Call", "Overlap"]

IN_FLIGHT = 2
"""Calls that a stage keeps under way: one is computed, one goes up."""
N_SETS = 3
"""One more than that: what comes down is still in its set."""


@dataclass
class _Set:
    """Buffers of one call, and the marks behind each of its parts."""

    input: DeviceBuffer
    outputs: dict[str, DeviceBuffer]
    is_up: DeviceMark
    is_computed: DeviceMark
    is_down: DeviceMark
    arrays: tuple[Array, ...] = ()
    """What is copied from and to, so that it lives as long as that may go on."""


@dataclass
class Call:
    """One call that was submitted."""

    is_done: bool = False
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)
    begun_s: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise what went wrong with it, once it is done."""
        if self.error is not None:
            raise self.error


class Overlap:
    """An open engine's calls, begun in one thread, in order, and done in that order.

    Args:
        lent: the engine's buffers; its `infer` must not be called any more.
        wake: called, from a thread of our own, when a call is done.
        label: the engine's, for messages.
    """

    def __init__(self, lent: Resident, wake: Callable[[], None], label: str = "engine") -> None:
        self._lent = lent
        self._wake = wake
        self._label = label
        self._work = lent.device
        self._is_lost = False
        self._begun: queue.SimpleQueue[tuple[_Set, Call] | None] = queue.SimpleQueue()
        self._last: list[Call | None] = [None] * N_SETS
        """Of each set."""
        self._n_calls = 0
        self._sets: list[_Set] = []
        self._up, self._down = self._work.another(), self._work.another()
        try:
            for _ in range(N_SETS):
                self._sets.append(self._made())
        except BaseException:
            self._free()
            raise
        self._watcher = threading.Thread(target=self._watch, name="overlap", daemon=True)
        self._watcher.start()

    def submit(self, image_bgr: Array, outputs: Mapping[str, Array]) -> Call:
        """Begin a call; arrays as for `Engine.infer`, one picture, untouched by others until it is done.

        Waits when three are under way.

        Raises:
            DeviceLost, EngineError: it cannot be queued, or the call that had its buffers before failed.
        """
        at = self._n_calls % N_SETS
        before = self._last[at]
        if before is not None:
            before.done.wait()
            before.check()
        one, call = self._sets[at], Call()
        assert image_bgr.nbytes == one.input.n_bytes, "one picture of the engine's size"
        with self._told():
            self._up.upload(one.input, image_bgr)
            one.is_up.record()
            self._work.after(one.is_up)
            self._work.copy(self._lent.buffers[INPUT_NAME], one.input)
            self._lent.launch()
            for name in outputs:
                self._work.copy(one.outputs[name], self._lent.buffers[name])
            one.is_computed.record()
            self._down.after(one.is_computed)
            for name, array in outputs.items():
                self._down.download(array, one.outputs[name])
            one.is_down.record()
        one.arrays = (image_bgr, *outputs.values())
        self._last[at] = call
        self._n_calls += 1
        self._begun.put((one, call))
        return call

    def check(self, patience_s: float) -> None:
        """Look at what is under way; a GPU that hangs tells nobody.

        Raises:
            DeviceLost: a call has not come back for so long. Nothing of this engine may be closed any more.
        """
        begun_s = min((call.begun_s for call in self._last if call is not None and not call.is_done), default=math.inf)
        age_s = time.monotonic() - begun_s
        if age_s > patience_s:
            self._is_lost = True
            lost = hung(self._label, age_s, patience_s)
            raise self._lent.lost(lost) or lost

    def close(self) -> None:
        """Wait for what is under way and give the buffers back, before the engine is closed. Calls stay readable."""
        self._begun.put(None)
        if self._is_lost:
            return  # nothing can be given back, and a call might never return
        self._watcher.join()
        self._free()

    def _made(self) -> _Set:
        outputs = dict(self._lent.buffers)
        n_bytes = outputs.pop(INPUT_NAME).n_bytes
        marks = self._up.mark(), self._work.mark(), self._down.mark()
        there = {name: self._work.allocate(buffer.n_bytes) for name, buffer in outputs.items()}
        return _Set(self._work.allocate(n_bytes), there, *marks)

    def _watch(self) -> None:
        while (begun := self._begun.get()) is not None:
            one, call = begun
            try:
                with self._told():
                    one.is_down.wait()
            except (EngineError, RuntimeError) as error:
                call.error = error
            call.is_done = True
            call.done.set()
            self._wake()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """A lost GPU is told as such."""
        try:
            yield
        except (EngineError, RuntimeError) as error:
            lost = self._lent.lost(error)
            if lost is None:
                raise
            self._is_lost = True
            raise lost from error

    def _free(self) -> None:
        sets, self._sets = self._sets, []
        with contextlib.ExitStack() as last_first:
            last_first.callback(self._up.close)
            last_first.callback(self._down.close)
            for one in sets:
                for mark in (one.is_up, one.is_computed, one.is_down):
                    last_first.callback(mark.free)
                for buffer in (one.input, *one.outputs.values()):
                    last_first.callback(buffer.free)
