"""DeepLabv3+ on four backbones in torch, half precision, channels last, as one CUDA graph, to stride-4 logits."""

import gc
from collections.abc import Iterator

import torch

from engines.models.config import BackboneName, ModelConfig
from engines.models.deeplab import build
from tests.gpu.clock import graphed
from tests.gpu.rows import Row

__all__ = ["network_rows"]

GOALS_MS: dict[BackboneName, float] = {"mobilenet_v2": 0.6, "resnet50": 1.2, "resnet101": 1.8, "xception65": 2.5}
"""Of TensorRT; torch may take `TORCH_SHARE` times as long."""
TORCH_SHARE = 1.6
N_CLASSES = 21


def network_rows(device: torch.device, is_quick: bool) -> Iterator[Row]:
    """A row a backbone; weights are random, which changes no time."""
    side = 64 if is_quick else 512
    for backbone, goal_ms in GOALS_MS.items():
        yield _network(backbone, side, None if is_quick else goal_ms * TORCH_SHARE, device)
        gc.collect()
        if is_quick:
            return


@torch.inference_mode()
def _network(backbone: BackboneName, side: int, goal_ms: float | None, device: torch.device) -> Row:
    torch.manual_seed(0)
    model = build(ModelConfig(backbone=backbone, aspp_channels=256, low_channels=48), N_CLASSES).eval().to(device)
    picture = torch.rand((1, 3, side, side), device=device) * 2 - 1
    exact = model(picture)
    is_gpu = device.type == "cuda"
    dtype = torch.float16 if is_gpu else torch.bfloat16  # half precision on a CPU is emulated
    half = model.to(dtype=dtype, memory_format=torch.channels_last)
    seen = picture.to(dtype=dtype, memory_format=torch.channels_last)
    difference = float((half(seen).float() - exact).abs().max() / exact.abs().max())
    work = f"v3+ {backbone}, {side}x{side}, {str(dtype).removeprefix('torch.')}"
    time = None
    if is_gpu:
        torch.backends.cudnn.benchmark = True
        time = graphed(lambda: half(seen), calls=1)
    return Row(
        work, "float32", difference, 0.05 if is_gpu else 0.2, "of the largest logit",
        time and time.median, time and time.p95, None, goal_ms,
        {"parameters": sum(p.numel() for p in half.parameters())},
    )  # fmt: skip
