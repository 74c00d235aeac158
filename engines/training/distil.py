"""A teacher's soft labels, and learning from them.

A teacher is a Pascal VOC `.npz`, a checkpoint, or an ONNX graph through `engines.runtime`; it sees the very crops
the student sees. Its classes need not be the student's: with other names, the student's class 0 is everything the
teacher sees that the student does not know, so VOC's person teaches a binary person network.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engines.errors import TrainingError
from engines.models.deeplab import DeepLab
from engines.training.recipe import Distil

if TYPE_CHECKING:
    from engines.runtime import Engine

__all__ = [
    "EngineTeacher",
    "NetworkTeacher",
    "Teacher",
    "asked_log_probs",
    "divergence",
    "opened",
    "picture_share",
    "pixel_weights",
    "student_log_probs",
]

SMALLEST = 1e-6
"""Probability below which a logarithm says nothing."""


class Teacher(Protocol):
    """Says what it sees in crops, in the student's classes."""

    def log_probs(self, images_bgr: Tensor) -> Tensor:
        """(n, H, W, 3) uint8 on the device -> (n, C, h, w) float32, without gradient."""
        ...


class NetworkTeacher:
    """A torch network with classes of its own."""

    def __init__(
        self,
        network: DeepLab,
        classes: Sequence[str],
        student_classes: Sequence[str],
        device: torch.device,
        autocast: torch.autocast,
    ) -> None:
        self.network = network.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.requires_grad_(False)
        self.autocast = autocast
        self.wanted = class_indices(classes, student_classes)

    @torch.no_grad()
    def log_probs(self, images_bgr: Tensor) -> Tensor:
        """See `Teacher`."""
        images_rgb = self.network.normalise(images_bgr).contiguous(memory_format=torch.channels_last)
        with self.autocast:
            logits = self.network(images_rgb)
        return student_log_probs(logits.float(), self.wanted)


class EngineTeacher:
    """An engine of one size; crops are brought to it as its frames are, and its answer back without the bars."""

    def __init__(self, engine: "Engine", student_classes: Sequence[str]) -> None:
        self.engine = engine
        self.wanted = class_indices(engine.spec.output.classes, student_classes)
        self._tensor_bgr = np.zeros(engine.spec.input.shape(engine.spec.batch), np.uint8)
        self._logits = np.zeros(engine.spec.output_shape("logits"), np.float32)

    @torch.no_grad()
    def log_probs(self, images_bgr: Tensor) -> Tensor:
        """See `Teacher`; one crop after another."""
        from engines.evaluation.segmenters import brought_back
        from engines.geometry import fit, resize_into
        from engines.spec import INPUT_NAME, LOGITS_STRIDE

        spec, (height, width) = self.engine.spec.input, images_bgr.shape[1:3]
        geometry = fit(height, width, spec)
        made = []
        for image in images_bgr.cpu().numpy():
            resize_into(image, geometry, self._tensor_bgr[0])
            self.engine.infer({INPUT_NAME: self._tensor_bgr}, {"logits": self._logits})
            size = (height // LOGITS_STRIDE, width // LOGITS_STRIDE)
            made.append(torch.from_numpy(brought_back(self._logits[0], (spec.height, spec.width), geometry, *size)))
        return student_log_probs(torch.stack(made).to(images_bgr.device), self.wanted)


@contextmanager
def opened(
    path: Path, student_classes: Sequence[str], device: torch.device, autocast: torch.autocast
) -> Iterator[Teacher]:
    """The teacher of a file, by its suffix: `.npz`, `.pt`, or anything that `engines.runtime` opens.

    Raises:
        CheckpointError, EngineError: the file cannot be used.
        TrainingError: its classes do not teach the student's.
    """
    if path.suffix in {".npz", ".pt"}:
        network, classes = network_of(path)
        yield NetworkTeacher(network, classes, student_classes, device, autocast)
    else:
        from engines.runtime import open_engine

        with open_engine(str(path), outputs=("logits",)) as engine:
            yield EngineTeacher(engine, student_classes)


def network_of(path: Path) -> tuple[DeepLab, tuple[str, ...]]:
    """The network of an `.npz` or a checkpoint, and its classes."""
    if path.suffix == ".npz":
        from engines.data.known import VOC
        from engines.models.weights import voc_deeplab

        return voc_deeplab(path), VOC.names
    from engines.training.checkpoint import Checkpoint

    checkpoint = Checkpoint.load(path)
    return checkpoint.network(), checkpoint.meaning.classes


def class_indices(classes: Sequence[str], student_classes: Sequence[str]) -> tuple[int, ...] | None:
    """Where the student's classes 1, 2, ... are among the teacher's; None when both have the same list.

    Raises:
        TrainingError: the teacher does not know one of them.
    """
    if tuple(classes) == tuple(student_classes):
        return None
    unknown = [name for name in student_classes[1:] if name not in classes]
    if unknown:
        raise TrainingError(
            f"the teacher does not know the class {unknown[0]!r}; it knows {', '.join(classes)}. "
            "Take a teacher with the same classes, or none"
        )
    return tuple(list(classes).index(name) for name in student_classes[1:])


def student_log_probs(logits: Tensor, wanted: tuple[int, ...] | None) -> Tensor:
    """(n, K, h, w) teacher's logits -> (n, C, h, w) log-probabilities; class 0 is the rest where classes differ."""
    if wanted is None:
        return logits.log_softmax(dim=1)
    probs = logits.softmax(dim=1)[:, list(wanted)]
    rest = 1 - probs.sum(dim=1, keepdim=True)
    return torch.cat([rest, probs], dim=1).clamp(min=SMALLEST).log()


def asked_log_probs(teacher: Teacher, images_bgr: Tensor, asked: Tensor, n_classes: int) -> Tensor:
    """(n, C, H/4, W/4); the teacher looks only at the crops that are asked for, the others' are 0 and weigh nothing.

    Args:
        asked: (n,) bool.
    """
    if bool(asked.all()):
        return teacher.log_probs(images_bgr)
    n, height, width = images_bgr.shape[:3]
    everyone = images_bgr.new_zeros(n, n_classes, height // 4, width // 4, dtype=torch.float32)
    if bool(asked.any()):
        everyone[asked] = teacher.log_probs(images_bgr[asked])
    return everyone


def picture_share(inside: Tensor, size: Sequence[int]) -> Tensor:
    """(n, H, W) uint8, 0 in bars -> (n, h, w) float32: how much of each pixel of the teacher's answer is picture."""
    return F.interpolate(inside[:, None].float(), size=tuple(size), mode="area")[:, 0]


def pixel_weights(log_probs: Tensor, is_distilled: Tensor, share: Tensor, options: Distil) -> Tensor:
    """(n, h, w): each pixel's weight, by whose crop it is, how much of it is picture, and how sure the teacher is.

    Bars weigh nothing, as with labels, where they are 255: what a teacher makes of black is nobody's business.
    """
    of_crop = torch.where(is_distilled, options.weight, options.labelled).to(log_probs.dtype)
    weights = of_crop[:, None, None] * share
    if options.sure:
        weights = weights * (log_probs.amax(dim=1).exp() >= options.sure)
    return weights


def divergence(logits: Tensor, soft_log_probs: Tensor, weights: Tensor, n_pixels: Tensor, temperature: float) -> Tensor:
    """Sum of weighted KL(teacher || student) x temperature ** 2, over `n_pixels`, those of the whole batch's pictures.

    Hinton et al. 2015, section 2. Both sides at the logits' stride; the student is brought to the teacher's size.
    """
    student = logits.float().contiguous()
    if student.shape[-2:] != soft_log_probs.shape[-2:]:
        student = F.interpolate(student, size=soft_log_probs.shape[-2:], mode="bilinear", align_corners=False)
    learnt = (student / temperature).log_softmax(dim=1)
    taught = soft_log_probs if temperature == 1 else (soft_log_probs / temperature).log_softmax(dim=1)
    per_pixel = (taught.exp() * (taught - learnt)).sum(dim=1)
    return (per_pixel * weights).sum() * temperature**2 / n_pixels.clamp(min=1)
