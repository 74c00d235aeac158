"""DeepLabv3+ on four backbones in torch, half precision, channels last, as one CUDA graph, to stride-4 logits."""

import gc
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from engines.models.config import BackboneName, ModelConfig
from tests.engines.networks import settled
from tests.gpu.clock import graphed
from tests.gpu.rows import Row

__all__ = ["BOUND", "GOALS_MS", "N_CLASSES", "TORCH_SHARE", "UNIT", "deviation", "network_rows"]

GOALS_MS: dict[BackboneName, float] = {"mobilenet_v2": 0.6, "resnet50": 1.2, "resnet101": 1.8, "xception65": 2.5}
"""Of TensorRT; torch may take `TORCH_SHARE` times as long."""
TORCH_SHARE = 1.6
N_CLASSES = 21
BOUND, UNIT = 0.5, "of their deviation"
"""Of the logits, root mean square. An untrained network makes rounding larger from norm to norm: at 128x128 on a CPU
MobileNetV2 and ResNet-50 differ by 0.03 and 0.08 in fp16, by 0.17 and 0.30 in bf16. Unrelated logits differ by 1.4."""


def network_rows(device: torch.device, is_quick: bool) -> Iterator[Row]:
    """A row a backbone; weights are random, which changes no time, and settled, so that logits can be compared."""
    side = 64 if is_quick else 512
    for backbone, goal_ms in GOALS_MS.items():
        yield _network(backbone, side, None if is_quick else goal_ms * TORCH_SHARE, device)
        gc.collect()
        if is_quick:
            return


def deviation(found: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """How far logits are from the exact ones, as a share of how far those are from each other."""
    return float(np.sqrt(np.mean((found - exact) ** 2)) / np.std(exact))


@torch.inference_mode()
def _network(backbone: BackboneName, side: int, goal_ms: float | None, device: torch.device) -> Row:
    model = settled(ModelConfig(backbone=backbone, aspp_channels=256, low_channels=48), N_CLASSES).to(device)
    picture = torch.rand((1, 3, side, side), device=device) * 2 - 1
    exact = model(picture)
    is_gpu = device.type == "cuda"
    dtype = torch.float16 if is_gpu else torch.bfloat16  # half precision on a CPU is emulated
    half = model.to(dtype=dtype, memory_format=torch.channels_last)
    seen = picture.to(dtype=dtype, memory_format=torch.channels_last)
    difference = deviation(half(seen).float().cpu().numpy(), exact.cpu().numpy())
    work = f"v3+ {backbone}, {side}x{side}, {str(dtype).removeprefix('torch.')}"
    time = None
    if is_gpu:
        torch.backends.cudnn.benchmark = True
        time = graphed(lambda: half(seen), calls=1)
    return Row(
        work, "float32", difference, BOUND if is_gpu else 2 * BOUND, UNIT,
        time and time.median, time and time.p95, None, goal_ms,
        {"parameters": sum(p.numel() for p in half.parameters())},
    )  # fmt: skip
