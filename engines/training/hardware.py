"""Which device and which arithmetic a training uses on this machine."""

import torch

from engines.errors import TrainingError
from engines.machine import machine_facts
from engines.training.config import Precision

__all__ = ["autocast_for", "device_of", "precision_of"]

BF16_FLAGS = {"amx_bf16", "avx512_bf16"}
"""Without one of these a CPU emulates bf16, at half the speed of fp32."""
DTYPES = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def device_of(name: str, local_rank: int = 0) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        TrainingError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise TrainingError(f"device {name!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainingError(f"device {name!r}: torch sees no GPU here; take device=cpu or mend the driver")
    if device.type not in {"cpu", "cuda"}:
        raise TrainingError(f"device {name!r}: expected auto, cpu, cuda or cuda:N")
    return torch.device("cuda", local_rank) if name == "cuda" else device


def precision_of(wanted: Precision, device: torch.device) -> Precision:
    """What `auto` comes to.

    Raises:
        TrainingError: fp16 on a CPU.
    """
    if wanted is Precision.FP16 and device.type == "cpu":
        raise TrainingError("precision fp16 needs a GPU; take bf16 or fp32 on a CPU")
    if wanted is not Precision.AUTO:
        return wanted
    if device.type == "cuda":
        return Precision.BF16 if torch.cuda.is_bf16_supported() else Precision.FP16
    features = machine_facts()["cpu_features"]
    assert isinstance(features, list)
    return Precision.BF16 if BF16_FLAGS & set(features) else Precision.FP32


def autocast_for(precision: Precision, device: torch.device) -> torch.autocast:
    """The context the network runs in."""
    dtype = DTYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
