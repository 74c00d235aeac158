"""Labels that cannot be believed become 255, by the word of a network that has not seen them.

In some sequences only the main figure is labelled and spectators count as background; in others the mask
takes in a board or a rope. A rule for a source says which side is distrusted; pixels of that side which the
teacher sees otherwise are ignored, and near the subject's contour the hand-drawn labels hold.
What the teacher saw is kept in the user's cache folder by the content of network and picture, because looking
costs more than a training step. The trap: the cache holds what was seen, not the rule, so rules may change freely.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from engines.data import IGNORE
from engines.data.datasets import Distrust
from engines.data.pairs import Dataset, Pair
from engines.size import SIDE_MULTIPLE

__all__ = ["Believed", "Teacher", "Witness", "believed"]

NEAR_CONTOUR_PX = 12
"""A stride-16 network without a decoder is unsure this far around a contour; the labels are better there."""
SUSPICION = 0.05
"""Probability from which a pixel may be a subject; argmax alone misses half of a crowd."""
PROGRESS_S = 5.0
"""Seconds between two lines of progress."""

Mask = NDArray[np.bool_]


class Teacher(Protocol):
    """A network in evaluation mode, such as `engines.models.deeplab.DeepLab`."""

    def normalise(self, images_bgr: Tensor) -> Tensor:
        """(n, H, W, 3) uint8 BGR -> (n, 3, H, W)."""
        ...

    def __call__(self, image_rgb: Tensor, /) -> Tensor:
        """Logits at stride 4."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """The weights, by which a verdict is remembered."""
        ...


class Witness:
    """Where a teacher sees a subject; what it saw once is read from `cache`."""

    def __init__(self, teacher: Teacher, subject: int, enlarged: float = 2.0, cache: Path | None = None) -> None:
        self.teacher, self.subject, self.enlarged = teacher, subject, enlarged
        root = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segstream" / "verdicts"
        self.folder = root / f"{_digest(teacher)}-{subject}-x{enlarged:g}-{SUSPICION:g}"
        self.n_looked = 0
        """Pictures the teacher had to look at itself."""

    def seen(self, image_bgr: NDArray[np.uint8]) -> Mask:
        """(height, width) bool: where there may be a subject."""
        path = self.folder / f"{hashlib.sha256(image_bgr.tobytes()).hexdigest()[:32]}.png"
        stored = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
        if stored is not None and stored.shape == image_bgr.shape[:2]:
            return np.asarray(stored > 0)
        self.n_looked += 1
        seen = self._looked(image_bgr)
        _remember(path, seen)
        return seen

    def _looked(self, image_bgr: NDArray[np.uint8]) -> Mask:
        height, width = image_bgr.shape[:2]
        size = (round(width * self.enlarged), round(height * self.enlarged))
        enlarged = np.asarray(cv2.resize(image_bgr, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        batch = torch.from_numpy(enlarged)[None]
        batch = F.pad(batch, (0, 0, 0, -size[0] % SIDE_MULTIPLE, 0, -size[1] % SIDE_MULTIPLE))
        with torch.inference_mode():
            logits = self.teacher(self.teacher.normalise(batch))
            full = F.interpolate(logits.float(), scale_factor=4.0, mode="bilinear", align_corners=False)
            probability = full[0].softmax(dim=0)[self.subject, : size[1], : size[0]].contiguous().numpy()
        back = cv2.resize(probability, (width, height), interpolation=cv2.INTER_NEAREST)
        return np.asarray(back > SUSPICION)


class Believed:
    """A data set without the labels that a witness contradicts; it is asked about every picture at once, here."""

    def __init__(
        self, dataset: Dataset, distrust: Distrust, witness: Witness, say: Callable[[str], None] | None = None
    ) -> None:
        self.dataset, self.distrust = dataset, distrust
        self.classes, self.names = dataset.classes, dataset.names
        self._seen: list[NDArray[np.uint8]] = []
        told_s = time.monotonic()
        for index, pair in enumerate(dataset):
            self._seen.append(np.packbits(witness.seen(pair.image_bgr), axis=1))
            if say is not None and time.monotonic() - told_s > PROGRESS_S:
                say(f"data: the teacher looks at {pair.name}, {index + 1} of {len(dataset)}")
                told_s = time.monotonic()

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Pair:
        """The pair, with 255 where it is not believed."""
        pair = self.dataset[index]
        seen = np.unpackbits(self._seen[index], axis=1, count=pair.label_map.shape[1])
        return believed(pair, self.distrust, seen > 0)


def believed(pair: Pair, distrust: Distrust, seen: Mask) -> Pair:
    """The pair with 255 where its labels and what was seen disagree on the distrusted side.

    Args:
        seen: (height, width) bool: where the teacher suspects a subject.
    """
    if distrust is Distrust.NOTHING:
        return pair
    labelled = (pair.label_map > 0) & (pair.label_map != IGNORE)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * NEAR_CONTOUR_PX + 1, 2 * NEAR_CONTOUR_PX + 1))
    if distrust is Distrust.BACKGROUND:
        near = cv2.dilate(labelled.astype(np.uint8), disc) > 0
        # Spectators are grown a little, so that their rims do not count as background either.
        doubtful = (cv2.dilate(seen.astype(np.uint8), disc) > 0) & ~near
    else:
        near = cv2.dilate(seen.astype(np.uint8), disc) > 0
        doubtful = labelled & ~near
    label_map = pair.label_map.copy()
    label_map[doubtful] = IGNORE
    return Pair(pair.name, pair.image_bgr, label_map)


def _digest(teacher: Teacher) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(teacher.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _remember(path: Path, seen: Mask) -> None:
    """Write beside and rename, so that a second run never reads half a file; a cache that cannot be written is none."""
    beside = path.with_name(f".{path.stem}-{os.getpid()}.png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if cv2.imwrite(str(beside), seen.astype(np.uint8) * 255):
            beside.replace(path)
    except OSError:
        return
