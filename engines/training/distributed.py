"""Several processes as one trainer: `torchrun -m engines train CONFIG --out OUT`.

Every process takes its own places of the same batch, so N processes see what one would have seen. The trap: DDP
*averages* gradients over processes; a loss that is already divided by the whole batch's count must therefore be
multiplied by the number of processes before `backward`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from engines.errors import TrainingError

__all__ = ["Process", "any_of", "joined", "n_processes", "summed", "total"]


PATIENCE = timedelta(hours=6)
"""How long the others wait while the first process evaluates, or asks a teacher about every picture; by default
NCCL gives up after ten minutes. A process that died does not keep them waiting: `torchrun` ends them all."""


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
    """Join the processes that `torchrun` started; alone without it."""
    n = int(os.environ.get("WORLD_SIZE", "1"))
    if n == 1 or dist.is_initialized():
        yield _present() if dist.is_initialized() else Process()
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if is_on_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if is_on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield Process(dist.get_rank(), dist.get_world_size(), local_rank)
    finally:
        dist.destroy_process_group()


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
