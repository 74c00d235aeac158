"""How the kernels are compiled and started: one decorator, sizes of blocks, and what is refused before a launch.

A kernel trusts its pointers: a wrong shape would read and write anywhere. So every function that launches one first
calls `expect`. The trap: a kernel may use a module's constant only if it is a `tl.constexpr`; the interpreter does
not mind, the compiler does (`tests/engines/kernels/test_compiles.py` asks it, without a GPU).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton

from engines.errors import BackendUnavailable, InputSizeError
from engines.kernels import is_interpreted

__all__ = ["INTERPRETED", "blocks", "device_of_kernels", "expect", "kernel", "lanes", "ready"]

INTERPRETED = bool(triton.knobs.runtime.interpret)
"""Whether the kernels of this process run on the CPU; decided when triton was imported."""
INTERPRETED_LANES = 4096
"""Interpreted, a program costs a millisecond whatever its size: few large ones."""


def kernel(function: Callable[..., Any]) -> Any:
    """A function of pointers and sizes, compiled at its first launch: `compiled[grid](...)`."""
    return triton.jit(function)


def device_of_kernels() -> torch.device:
    """Where tensors must lie: the current GPU, or the CPU when interpreted.

    Raises:
        BackendUnavailable: torch sees no GPU, and the kernels are not interpreted.
    """
    if is_interpreted():
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise BackendUnavailable(
            f"torch {torch.__version__} sees no GPU: install its CUDA build and NVIDIA's driver "
            "(TRITON_INTERPRET=1 runs the kernels on the CPU, for tests)"
        )
    return torch.device("cuda", torch.cuda.current_device())


def lanes(on_gpu: int, n: int) -> int:
    """Elements a program takes: `on_gpu` there; interpreted, all `n` up to a bound. A power of two."""
    return min(INTERPRETED_LANES, ready(n)) if INTERPRETED else on_gpu


def ready(n: int) -> int:
    """The power of two from `n` up: the only lengths that a block can have."""
    return int(triton.next_power_of_2(max(1, n)))


def blocks(n: int, size: int) -> int:
    """How many blocks of a size cover n elements."""
    return -(-n // size)


def expect(name: str, tensor: torch.Tensor, dtypes: Sequence[torch.dtype], shape: Sequence[int | None]) -> None:
    """Refuse what a kernel would misread.

    Args:
        name: what the tensor is called in the message.
        dtypes: any of these.
        shape: None for a side of any length from 1 up.

    Raises:
        InputSizeError: another type, shape, device, or rows that do not lie one behind the other.
    """
    fits = tensor.dim() == len(shape) and all(
        have > 0 if side is None else have == side for have, side in zip(tensor.shape, shape, strict=True)
    )
    if not fits or tensor.dtype not in dtypes:
        wanted = "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        received = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
        raise InputSizeError(f"{name} is {received}, expected {names} {wanted}")
    if not tensor.is_contiguous():
        raise InputSizeError(f"{name} has strides {tensor.stride()}, expected contiguous memory; call .contiguous()")
    if tensor.is_cuda == INTERPRETED:
        needed = "the CPU (TRITON_INTERPRET is set)" if INTERPRETED else "a GPU; call .cuda()"
        raise InputSizeError(f"{name} lies on {tensor.device}, expected {needed}")
