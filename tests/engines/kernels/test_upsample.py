"""The kernel that makes labels and alpha of logits at stride 4, against the exported graph's arithmetic."""

import pytest
import torch
import torch.nn.functional as F

from engines.errors import InputSizeError
from engines.kernels.launch import device_of_kernels
from engines.kernels.upsample import planes_into


def _logits(n: int, n_classes: int, height: int, width: int, spread: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n_classes + 7 * height + 11 * width)
    return spread * torch.randn((n, n_classes, height, width), generator=generator)


def _enlarged(planes: torch.Tensor) -> torch.Tensor:
    return F.interpolate(planes, scale_factor=4.0, mode="bilinear", align_corners=False)


@pytest.mark.parametrize(
    ("n_classes", "size"), [(2, (6, 11)), (2, (1, 1)), (2, (1, 5)), (2, (5, 2)), (21, (3, 40)), (21, (1, 1))]
)
def test_labels_and_alpha_are_those_of_the_exported_graph(n_classes: int, size: tuple[int, int]) -> None:
    """Odd sizes, one row, one column, two pictures at once: the same labels, and alpha to one level."""
    logits, subject = _logits(2, n_classes, *size), n_classes - 1
    device = device_of_kernels()
    labels, alpha = (torch.full((2, 4 * size[0], 4 * size[1]), 255, dtype=torch.uint8, device=device) for _ in range(2))

    planes_into(logits.to(device), labels=labels, alpha=alpha, subject=subject)

    full = _enlarged(logits)
    best = full.topk(2, dim=1)
    # Where two classes are level within float32, either is right.
    is_clear = best.values[:, 0] - best.values[:, 1] > 1e-5
    assert torch.equal(labels.cpu()[is_clear], best.indices[:, 0].to(torch.uint8)[is_clear])
    assert is_clear.float().mean() > 0.99
    rest = torch.cat([logits[:, :subject], logits[:, subject + 1 :]], dim=1)
    margin = logits[:, subject] - rest.logsumexp(dim=1)
    said = (_enlarged(margin[:, None])[:, 0].sigmoid() * 255 + 0.5).to(torch.uint8)
    assert (alpha.cpu().int() - said.int()).abs().max() <= 1


def test_half_precision_logits_are_computed_in_float32() -> None:
    """What an fp16 network gives is rounded once, by the network."""
    logits = _logits(1, 5, 6, 9).half()
    device = device_of_kernels()
    both = [torch.empty((1, 24, 36), dtype=torch.uint8, device=device) for _ in range(2)]

    planes_into(logits.to(device), alpha=both[0], subject=1)
    planes_into(logits.float().to(device), alpha=both[1], subject=1)

    assert torch.equal(both[0], both[1])


def test_very_sure_logits_give_plain_alpha() -> None:
    """Logits of thousands neither overflow nor turn into NaN."""
    logits = torch.full((1, 3, 2, 2), -5000.0)
    logits[:, 1, :, 0] = 5000.0
    logits[:, 2, :, 1] = 5000.0
    device = device_of_kernels()
    alpha = torch.empty((1, 8, 8), dtype=torch.uint8, device=device)

    planes_into(logits.to(device), alpha=alpha, subject=1)

    assert alpha.cpu()[0, 0].tolist() == [255, 255, 255, 255, 0, 0, 0, 0]


def test_planes_that_do_not_fit_are_refused() -> None:
    """The size at stride 1, the subject and the number of classes are checked, with what was expected."""
    device = device_of_kernels()
    logits = _logits(1, 3, 4, 4).to(device)
    plane = torch.empty((1, 16, 16), dtype=torch.uint8, device=device)

    with pytest.raises(InputSizeError, match=r"labels is uint8 \(1, 16, 15\), expected uint8 \(1, 16, 16\)"):
        planes_into(logits, labels=plane[:, :, :15].contiguous())
    with pytest.raises(InputSizeError, match="subject 3 for alpha, expected a class from 0 to 2"):
        planes_into(logits, alpha=plane, subject=3)
    with pytest.raises(InputSizeError, match="give a plane"):
        planes_into(logits)
    with pytest.raises(InputSizeError, match="1 classes, expected 2 to 256"):
        planes_into(logits[:, :1].contiguous(), labels=plane)
