"""Several processes as one trainer: `torchrun -m engines train CONFIG --out OUT`.

Every process takes its own places of the same batch, so N processes see what one would have seen. The trap: DDP
*averages* gradients over processes; a loss that is already divided by the whole batch's count must therefore be
multiplied by the number of processes before `backward`.

Who fails says so in the store that all of them met at, before its connections close; the others end with its words.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from engines.errors import EngineError, TrainingError

__all__ = ["Process", "any_of", "failing_together", "joined", "n_processes", "summed", "total"]


PATIENCE = timedelta(hours=6)
"""How long the others wait while the first process evaluates, or asks a teacher about every picture; by default
NCCL gives up after ten minutes. A process that died does not keep them waiting: `torchrun` ends them all."""


FAILED = "failed"
"""Key in the store: the first failure, in a line."""
LOST_CONNECTION = "gloo/transport"
"""In the messages of gloo about a process that is gone; they are plain RuntimeErrors."""


@dataclass(frozen=True)
class Process:
    """Which of how many processes this is."""

    rank: int = 0
    n: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this one writes and prints."""
        return self.rank == 0

    def places(self, batch: int, key: str = "schedule.batch") -> range:
        """This process's places of a batch; `key` says which in the message.

        Raises:
            TrainingError: the batch cannot be split evenly.
        """
        if batch % self.n:
            raise TrainingError(f"{key} {batch} is not a multiple of the {self.n} processes; change one")
        share = batch // self.n
        return range(self.rank * share, (self.rank + 1) * share)


@contextmanager
def joined(is_on_gpu: bool) -> Iterator[Process]:
    """Join the processes that `torchrun` started; alone without it.

    Raises:
        TrainingError: another of them failed while they were together.
    """
    n = int(os.environ.get("WORLD_SIZE", "1"))
    if n == 1 or dist.is_initialized():
        yield _present() if dist.is_initialized() else Process()
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if is_on_gpu:
        torch.cuda.set_device(local_rank)
    store, rank, n = next(rendezvous("env://", timeout=PATIENCE))
    dist.init_process_group(
        "nccl" if is_on_gpu else "gloo", store=PrefixStore("group", store), rank=rank, world_size=n,
        timeout=PATIENCE,
    )  # fmt: skip
    try:
        with failing_together(store, rank):
            yield Process(rank, n, local_rank)
    finally:
        dist.destroy_process_group()


@contextmanager
def failing_together(store: Store, rank: int) -> Iterator[None]:
    """Tell the others of a failure here; turn a lost connection into the failure elsewhere that it comes from."""
    try:
        yield
    except RuntimeError as error:
        told = _word_of_others(store)
        is_lost = isinstance(error, dist.DistError) or LOST_CONNECTION in str(error)
        if told is None and not is_lost:
            _leave_word(store, rank, error)
            raise
        told = told or "it left no word; it was killed (out of memory?), or its machine is gone"
        raise TrainingError(f"another process failed: {told}") from error
    except Exception as error:
        _leave_word(store, rank, error)
        raise


def _leave_word(store: Store, rank: int, error: Exception) -> None:
    line = " ".join(str(error).split())
    named = line if isinstance(error, EngineError) else f"{type(error).__name__}: {line}"
    with suppress(RuntimeError):  # the store may be gone with the process that held it
        store.compare_set(FAILED, "", f"process {rank}: {named}")


def _word_of_others(store: Store) -> str | None:
    """What the first that failed said; None without a word."""
    try:
        return store.get(FAILED).decode() if store.check([FAILED]) else None
    except RuntimeError:
        return None


def _present() -> Process:
    return Process(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))


def total(values: Tensor) -> Tensor:
    """Sum over all processes, without gradient."""
    if n_processes() > 1:
        values = values.detach().clone()
        dist.all_reduce(values)
    return values


def summed(values: Tensor) -> Tensor:
    """Sum over all processes, for a value of which each process then takes its share (1 / n).

    The gradient reaches this process's part only, n times: shared by n, it is what one process would have had.
    """
    n = n_processes()
    if n > 1:
        scaled = values * n
        return scaled + (total(values) - scaled).detach()
    return values


def n_processes() -> int:
    """How many train together; 1 without `torchrun`."""
    return dist.get_world_size() if dist.is_initialized() else 1


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether any process says so: all stop at the same step or none does."""
    if n_processes() > 1:
        return bool(total(torch.tensor([float(flag)], device=device)).item() > 0)
    return flag
