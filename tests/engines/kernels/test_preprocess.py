"""The kernel that makes an engine's tensor of a frame, against OpenCV."""

import cv2
import numpy as np
import pytest
import torch

from engines.errors import InputSizeError
from engines.geometry import Geometry, fit
from engines.geometry import resize_into as resize_with_opencv
from engines.kernels.launch import device_of_kernels
from engines.kernels.preprocess import resize_into, resize_plane_into
from engines.spec import InputSpec, ResizeRule


@pytest.mark.parametrize(
    ("height", "width", "rule"),
    [
        (36, 64, ResizeRule.STRETCH),
        (37, 61, ResizeRule.LETTERBOX),
        (90, 31, ResizeRule.LETTERBOX),
        (9, 7, ResizeRule.STRETCH),
        (1, 1, ResizeRule.STRETCH),
        (128, 192, ResizeRule.STRETCH),
    ],
)
def test_a_frame_is_resized_as_opencv_does(height: int, width: int, rule: ResizeRule) -> None:
    """Larger, smaller, exactly half, with bars and without: no byte is off by more than a level."""
    frame = np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)
    spec = InputSpec(64, 96, rule)
    geometry = fit(height, width, spec)
    said = np.full((64, 96, 3), 99, np.uint8)
    resize_with_opencv(frame, geometry, said)
    tensor_bgr = torch.full((64, 96, 3), 77, dtype=torch.uint8, device=device_of_kernels())

    resize_into(torch.from_numpy(frame).to(tensor_bgr.device), geometry, tensor_bgr)

    # OpenCV's integers cut off here and there: up to 0.8 levels below the exact value, 0.12 in the mean.
    difference = tensor_bgr.cpu().numpy().astype(int) - said
    assert np.abs(difference).max() <= 1
    assert np.abs(difference).mean() < 0.25
    bars = np.ones((64, 96), bool)
    geometry.crop(bars)[:] = False
    assert not tensor_bgr.cpu().numpy()[bars].any()


@pytest.mark.parametrize(("height", "width"), [(20, 34), (7, 5), (61, 90)])
def test_a_plane_is_resized_as_opencv_does(height: int, width: int) -> None:
    """A mask at another size, smaller and larger: no byte is off by more than a level."""
    plane = np.random.default_rng(5).integers(0, 256, (40, 68)).astype(np.uint8)
    device = device_of_kernels()
    out = torch.empty((height, width), dtype=torch.uint8, device=device)

    resize_plane_into(torch.from_numpy(plane).to(device), out)

    said = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.abs(out.cpu().numpy().astype(int) - said).max() <= 1


def test_colours_in_the_other_order_are_turned_round() -> None:
    """A frame that comes as RGB gives the tensor of the same frame as BGR."""
    device = device_of_kernels()
    frame = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (20, 30, 3)).astype(np.uint8)).to(device)
    geometry = Geometry(0, 0, 32, 32)
    tensors = [torch.empty((32, 32, 3), dtype=torch.uint8, device=device) for _ in range(2)]

    resize_into(frame, geometry, tensors[0])
    resize_into(frame.flip(2).contiguous(), geometry, tensors[1], order="rgb")

    assert torch.equal(tensors[0], tensors[1])


def test_what_the_kernel_would_misread_is_refused() -> None:
    """A wrong type, a view with gaps, and a rectangle outside the tensor are named before anything is launched."""
    device = device_of_kernels()
    frame = torch.zeros((20, 30, 3), dtype=torch.uint8, device=device)
    tensor_bgr = torch.zeros((32, 32, 3), dtype=torch.uint8, device=device)

    with pytest.raises(InputSizeError, match="image is float32"):
        resize_into(frame.float(), Geometry(0, 0, 32, 32), tensor_bgr)
    with pytest.raises(InputSizeError, match="contiguous"):
        resize_into(frame[:, ::2], Geometry(0, 0, 32, 32), tensor_bgr)
    with pytest.raises(InputSizeError, match="does not lie inside"):
        resize_into(frame, Geometry(1, 0, 32, 32), tensor_bgr)
