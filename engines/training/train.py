"""The training loop: step, look now and then, keep the best, be ready to stop at any moment.

    python -m engines train configs/train/person.yaml --out runs/person
    torchrun --nproc-per-node 2 -m engines train configs/train/person.yaml --out runs/person

`best.pt` holds the averaged weights that scored best; `last.pt` all that `resume` needs to end with the very
weights an uninterrupted run would have had. The trap: a signal only asks; the step that runs is finished and saved.
"""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import torch.distributed as dist

from engines.data.datasets import Dataset
from engines.errors import CheckpointError, DataError
from engines.training.checkpoint import Checkpoint
from engines.training.config import TrainConfig
from engines.training.distributed import any_of
from engines.training.faults import explained
from engines.training.provenance import changed_keys
from engines.training.steps import Crops, Steps, prepared_steps
from engines.training.validate import opened_sets, recorded, scored, weighted_miou
from engines.training.watch import EvaluationFacts, Outcome, StartFacts, StepFacts, Watcher, tell

__all__ = ["Outcome", "run"]

BEST, LAST = "best.pt", "last.pt"


def run(config: TrainConfig, out: Path, resume: bool = False, watchers: Sequence[Watcher] = ()) -> Outcome:
    """Train, evaluate now and then, and keep `best.pt` and `last.pt` in `out`.

    Args:
        resume: go on from `out/last.pt`; the config may then ask for other `steps`.
        watchers: told what happens; the weights are the same without them.

    Raises:
        DataError, CheckpointError: a source, the weights or the checkpoint cannot be used.
        TrainingError: the loss is not finite, memory is short, or the options do not fit this machine.
    """
    with prepared_steps(config, say=partial(tell, watchers)) as steps:
        if not steps.process.is_first:
            watchers = ()
        return _Run(config, out, steps, watchers).run(resume)


class _Run:
    """One call of `run`."""

    def __init__(self, config: TrainConfig, out: Path, steps: Steps, watchers: Sequence[Watcher]) -> None:
        self.config = config
        self.out = out
        self.steps = steps
        self.state = steps.state
        self.watchers = watchers
        self.sets: dict[str, Dataset] = opened_sets(config) if steps.process.is_first else {}
        self.losses: list[float] = []
        self.pace = _Pace()

    def run(self, resume: bool) -> Outcome:
        """From the first step, or the one after the last saved, to the last or a signal."""
        if resume:
            self._resume()
        self._tell_start()
        schedule, state = self.config.schedule, self.state
        is_stopped = False
        crops = self.steps.crops()
        with _stop_signal() as stop:
            try:
                self.pace.restart()
                while state.step < schedule.steps and not is_stopped:
                    self._step(crops)
                    is_last = state.step == schedule.steps
                    is_stopped = any_of(stop.is_set(), self.steps.device)
                    if is_last or state.step % schedule.evaluate_every == 0:
                        self._evaluate()
                    if is_last or is_stopped or state.step % schedule.save_every == 0:
                        self._save(must=is_last or is_stopped)
            finally:
                crops.close()
        best_path = self.out / BEST
        outcome = Outcome(
            state.step,
            state.step >= schedule.steps,
            state.best_miou,
            tuple(self.losses),
            best_path if best_path.exists() else None,
            self.steps.process.is_first,
        )
        if is_stopped and not outcome.is_finished:
            tell(self.watchers, f"stopped at step {state.step}, saved {self.out / LAST}; go on with --resume")
        for watcher in self.watchers:
            watcher.ended(outcome)
        return outcome

    def _step(self, made: Iterator[Crops]) -> None:
        asked_s = time.monotonic()
        try:
            crops = next(made)
        except DataError:
            # A picture that cannot be read ends the training, but costs no step that was taken.
            if self.steps.process.is_first and self.state.step:
                self._write(self.state.whole(self.config), LAST, must=False)
            raise
        waited_s = time.monotonic() - asked_s
        with explained(self.steps, crops, self.out / LAST):
            terms, rates = self.steps.step(crops)
        loss = terms.pop("loss")
        self.losses.append(loss)
        self.pace.add(self.config.schedule.batch)
        if self.watchers:
            n_left = self.config.schedule.steps - self.state.step
            facts = StepFacts(
                step=self.state.step,
                n_steps=self.config.schedule.steps,
                loss=loss,
                terms=terms,
                learning_rates=rates,
                images_per_s=self.pace.images_per_s,
                waited_s=waited_s,
                eta_s=n_left * self.pace.s_per_step,
                batch=crops.batch,
            )
            for watcher in self.watchers:
                watcher.stepped(facts)

    def _evaluate(self) -> None:
        """Score the averaged weights on the first process; the others wait."""
        if self.steps.process.is_first:
            checkpoint = self.state.averaged(self.config)
            network = checkpoint.network().to(self.steps.device)
            results = scored(network, self.config, self.sets)
            self.state.scores = checkpoint.scores = recorded(results, self.config)
            miou = weighted_miou(results, self.config)
            # A best that could not be written is none: the next one that is better than the file must be kept.
            is_best = miou >= self.state.best_miou and self._write(checkpoint, BEST, must=False)
            if is_best:
                self.state.best_miou = miou
            facts = EvaluationFacts(self.state.step, results, miou, is_best, network, self.sets)
            for watcher in self.watchers:
                watcher.evaluated(facts)
        self._wait_for_first()
        self.steps.train_mode()
        self.pace.restart()

    def _save(self, must: bool) -> None:
        if self.steps.process.is_first:
            self._write(self.state.whole(self.config), LAST, must)
        self._wait_for_first()
        self.pace.restart()

    def _write(self, checkpoint: Checkpoint, name: str, must: bool) -> bool:
        """Save; a disk that is full for a while costs nothing but the older file's age. Whether it was saved."""
        try:
            checkpoint.save(self.out / name)
        except CheckpointError as error:
            if must:
                raise
            tell(self.watchers, f"{error}; training goes on and tries again at the next save")
            return False
        return True

    def _resume(self) -> None:
        stored = Checkpoint.load(self.out / LAST)
        self.state.restore(stored, self.config)
        changed = changed_keys(stored.config, self.config.model_dump(mode="json"))
        if changed:
            tell(
                self.watchers,
                f"the config is not the one this training began with: {', '.join(changed)}; learning rates, "
                "weight decay and momentum stay as they were, the rest is as the config says now",
            )
        written = stored.origin.get("data", "")
        if written and written != self.state.data:
            tell(self.watchers, "the data has changed since this training began; it goes on with what is there now")

    def _tell_start(self) -> None:
        parameters = list(self.state.model.parameters())
        facts = StartFacts(
            config=self.config,
            out=self.out,
            n_pictures=len(self.steps.training_set),
            first_step=self.state.step,
            n_steps=self.config.schedule.steps,
            n_parameters=sum(p.numel() for p in parameters),
            n_trained=sum(p.numel() for p in parameters if p.requires_grad),
            device=str(self.steps.device),
            precision=str(self.steps.precision),
            n_processes=self.steps.process.n,
        )
        for watcher in self.watchers:
            watcher.started(facts)

    def _wait_for_first(self) -> None:
        if self.steps.process.n > 1:
            dist.barrier()


class _Pace:
    """Pictures and steps a second, without evaluations and saves."""

    def __init__(self) -> None:
        self.images_per_s = self.s_per_step = 0.0
        self._since_s, self._n_steps, self._n_images = time.monotonic(), 0, 0

    def restart(self) -> None:
        """Leave out what was between."""
        self._since_s, self._n_steps, self._n_images = time.monotonic(), 0, 0

    def add(self, n_images: int) -> None:
        """One step is done."""
        self._n_steps, self._n_images = self._n_steps + 1, self._n_images + n_images
        elapsed_s = max(1e-9, time.monotonic() - self._since_s)
        self.images_per_s, self.s_per_step = self._n_images / elapsed_s, elapsed_s / self._n_steps


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Set by SIGTERM or SIGINT while inside; the handlers are put back afterwards."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
