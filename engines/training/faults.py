"""What went wrong in a step, in one line: numbers that are not finite, or memory that is not there.

The network's weights are still those of the step before when these are raised, and no checkpoint was touched.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engines.errors import TrainingError

if TYPE_CHECKING:
    from engines.training.steps import Crops, Steps

__all__ = ["NotFinite", "explained", "first_not_finite", "is_out_of_memory"]

CPU_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "could not create a memory object")
"""In the messages of torch's CPU allocator and of oneDNN."""


class NotFinite(TrainingError):
    """The loss of a step is NaN or infinite."""


@contextmanager
def explained(steps: "Steps", crops: "Crops", last: Path) -> Iterator[None]:
    """Turn a step's failures into a TrainingError that says what would help."""
    step = steps.state.step + 1
    kept = f"the last checkpoint is {last}" if last.exists() else "no checkpoint was written yet"
    try:
        yield
    except NotFinite as error:
        where = first_not_finite(steps, crops)
        raise TrainingError(
            f"step {step}: {error}; {where}; {kept}. "
            "Lower the learning rate, set optimiser.clip_norm, or precision fp32; --resume keeps the old "
            "rates, so with lower ones start anew in another --out, with init_from where the checkpoint is still sound"
        ) from error
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        steps.state.optimiser.zero_grad(set_to_none=True)
        n_all, side_px = crops.batch.images_bgr.shape[:2]
        n = n_all // steps.config.schedule.accumulate
        fits = _fitting(steps, crops, n)
        remedy = "not even the least fits: lower augment.crop_px, or take a smaller network"
        if fits:
            remedy = (
                f"{fits} fit: set schedule.accumulate={-(-n_all // fits)} (the same step), or see `engines tune-batch`"
            )
        raise TrainingError(
            f"step {step}: out of memory on {steps.device} with {n} crops of {side_px} px at once; {remedy}; {kept}"
        ) from error


def _fitting(steps: "Steps", crops: "Crops", n: int) -> int:
    """How many crops at once do fit: half, a quarter, ..., tried; 0 when none does."""
    if steps.process.n > 1:
        return n // 2  # trying would need the other processes
    while (n := n // 2) >= steps.least:
        fewer = replace(crops, batch=crops.batch.first(n))
        try:
            steps.forward_backward(fewer, n_parts=1)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return n
        finally:
            steps.state.optimiser.zero_grad(set_to_none=True)
    return 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was asked for and not given."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in str(error) for words in CPU_OUT_OF_MEMORY
    )


def first_not_finite(steps: "Steps", crops: "Crops") -> str:
    """Do the step's forward pass again and name the first weight or layer's output that is not finite."""
    model = steps.state.model
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"the weights {name} were no longer finite"
    found: list[str] = []

    def look(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not torch.isfinite(output).all():
                found.append(name)

        return hook

    hooks = [
        module.register_forward_hook(look(name))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    try:
        with torch.no_grad():
            steps.supervision.logits(steps.parts(crops, steps.config.schedule.accumulate)[0].images_bgr)
    finally:
        for hook in hooks:
            hook.remove()
    return f"the first layer with such an output is {found[0]}" if found else "every layer is finite, the loss is not"
