"""Parameter names and shapes against lists made from torchvision's definitions, name by name.

The lists are written down the long way, from torchvision's source (`models/{vgg,resnet,mobilenetv2,mobilenetv3}.py`),
without this project's classes, so that a slip in either shows.
"""

from collections.abc import Iterator

import pytest
import torch

from engines.models.config import BackboneName, ModelConfig
from engines.models.deeplab import build

pytestmark = pytest.mark.torch

Entry = tuple[str, tuple[int, ...]]


def _norm(name: str, channels: int) -> Iterator[Entry]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _vgg16() -> Iterator[Entry]:
    channels = 3
    places = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}
    places |= {17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512}
    for index, out in places.items():
        yield f"features.{index}.weight", (out, channels, 3, 3)
        yield f"features.{index}.bias", (out,)
        channels = out


def _resnet(blocks: tuple[int, int, int, int], is_deep: bool) -> Iterator[Entry]:
    yield "conv1.weight", (64, 3, 7, 7)
    yield from _norm("bn1", 64)
    c_in = 64
    for layer, (n, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 1):
        out = 4 * width if is_deep else width
        for index in range(n):
            unit = f"layer{layer}.{index}"
            kernels = [(width, c_in, 1), (width, width, 3), (out, width, 1)] if is_deep else []
            kernels = kernels or [(width, c_in, 3), (width, width, 3)]
            for number, (to, of, side) in enumerate(kernels, 1):
                yield f"{unit}.conv{number}.weight", (to, of, side, side)
                yield from _norm(f"{unit}.bn{number}", to)
            if index == 0 and (is_deep or layer > 1):
                yield f"{unit}.downsample.0.weight", (out, c_in, 1, 1)
                yield from _norm(f"{unit}.downsample.1", out)
            c_in = out


def _mobilenet_v2() -> Iterator[Entry]:
    yield "features.0.0.weight", (32, 3, 3, 3)
    yield from _norm("features.0.1", 32)
    c_in, block = 32, 1
    for times, out, n in ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)):
        for _ in range(n):
            name, hidden, at = f"features.{block}.conv", c_in * times, 0
            if times > 1:
                yield f"{name}.0.0.weight", (hidden, c_in, 1, 1)
                yield from _norm(f"{name}.0.1", hidden)
                at = 1
            yield f"{name}.{at}.0.weight", (hidden, 1, 3, 3)
            yield from _norm(f"{name}.{at}.1", hidden)
            yield f"{name}.{at + 1}.weight", (out, hidden, 1, 1)
            yield from _norm(f"{name}.{at + 2}", out)
            c_in, block = out, block + 1


# (kernel, expanded, out, squeezed to or 0) of each block.
SMALL = (
    (3, 16, 16, 8), (3, 72, 24, 0), (3, 88, 24, 0), (5, 96, 40, 24), (5, 240, 40, 64), (5, 240, 40, 64),
    (5, 120, 48, 32), (5, 144, 48, 40), (5, 288, 96, 72), (5, 576, 96, 144), (5, 576, 96, 144),
)  # fmt: skip
LARGE = (
    (3, 16, 16, 0), (3, 64, 24, 0), (3, 72, 24, 0), (5, 72, 40, 24), (5, 120, 40, 32), (5, 120, 40, 32),
    (3, 240, 80, 0), (3, 200, 80, 0), (3, 184, 80, 0), (3, 184, 80, 0), (3, 480, 112, 120), (3, 672, 112, 168),
    (5, 672, 160, 168), (5, 960, 160, 240), (5, 960, 160, 240),
)  # fmt: skip


def _mobilenet_v3(rows: tuple[tuple[int, int, int, int], ...]) -> Iterator[Entry]:
    yield "features.0.0.weight", (16, 3, 3, 3)
    yield from _norm("features.0.1", 16)
    c_in = 16
    for block, (kernel, expanded, out, squeezed) in enumerate(rows, 1):
        name, at = f"features.{block}.block", 0
        if expanded != c_in:
            yield f"{name}.0.0.weight", (expanded, c_in, 1, 1)
            yield from _norm(f"{name}.0.1", expanded)
            at = 1
        yield f"{name}.{at}.0.weight", (expanded, 1, kernel, kernel)
        yield from _norm(f"{name}.{at}.1", expanded)
        if squeezed:
            at += 1
            yield f"{name}.{at}.fc1.weight", (squeezed, expanded, 1, 1)
            yield f"{name}.{at}.fc1.bias", (squeezed,)
            yield f"{name}.{at}.fc2.weight", (expanded, squeezed, 1, 1)
            yield f"{name}.{at}.fc2.bias", (expanded,)
        yield f"{name}.{at + 1}.0.weight", (out, expanded, 1, 1)
        yield from _norm(f"{name}.{at + 1}.1", out)
        c_in = out
    last = f"features.{len(rows) + 1}"
    yield f"{last}.0.weight", (6 * c_in, c_in, 1, 1)
    yield from _norm(f"{last}.1", 6 * c_in)


LISTS: dict[BackboneName, list[Entry]] = {
    "vgg16": list(_vgg16()),
    "resnet18": list(_resnet((2, 2, 2, 2), is_deep=False)),
    "resnet50": list(_resnet((3, 4, 6, 3), is_deep=True)),
    "resnet101": list(_resnet((3, 4, 23, 3), is_deep=True)),
    "mobilenet_v2": list(_mobilenet_v2()),
    "mobilenet_v3_small": list(_mobilenet_v3(SMALL)),
    "mobilenet_v3_large": list(_mobilenet_v3(LARGE)),
}


@pytest.mark.parametrize("backbone", LISTS)
def test_names_and_shapes_are_torchvisions(backbone: BackboneName) -> None:
    """Every tensor, in the same order: what `strict=True` needs to load the published file."""
    with torch.device("meta"):
        seen = build(ModelConfig(backbone=backbone), 2).backbone

    assert [(name, tuple(value.shape)) for name, value in seen.state_dict().items()] == LISTS[backbone]
