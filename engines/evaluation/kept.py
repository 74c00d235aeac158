"""Pictures that the network has seen once, kept as a stream has them: logits, the engine's input, the labels.

What comes after the network can then be tried many times. The trap: a picture costs about half a megabyte at
512x288 with two classes and two megabytes at 512x512 with 21; the total is bounded, and more is refused, not swapped.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data.pairs import Pair
from engines.errors import DataError
from engines.evaluation.segmenters import brought_back, label_map_of
from engines.geometry import Geometry, fit, resize_into
from engines.runtime import Engine
from engines.spec import INPUT_NAME, InputSpec

__all__ = ["MOST_BYTES", "KeptPicture", "StreamRefiner", "keep", "labels_of"]

MOST_BYTES = 1 << 30
"""Of all that is kept."""


class StreamRefiner(Protocol):
    """What comes after the network in a stream, as `engines.crf.stream.StreamCrf`."""

    def refine(self, logits: NDArray[np.floating], tensor_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(C, h/4, w/4) logits and the (h, w, 3) input to (C, h, w) probabilities."""
        ...


@dataclass(frozen=True, eq=False)
class KeptPicture:
    """One picture after the network."""

    name: str
    logits: NDArray[np.float32]
    """(C, h/4, w/4)."""
    tensor_bgr: NDArray[np.uint8]
    """(h, w, 3), what the engine saw, bars included."""
    geometry: Geometry
    shape: tuple[int, int]
    """(height, width) of the picture itself."""
    packed_truth: bytes
    """The label map as a PNG: a hundredth of its size."""

    @property
    def truth(self) -> NDArray[np.uint8]:
        """(height, width) true labels, 255 is ignored; a fresh array."""
        decoded = cv2.imdecode(np.frombuffer(self.packed_truth, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert decoded is not None, "it was encoded here"
        return np.asarray(decoded, np.uint8)

    @property
    def n_bytes(self) -> int:
        """What it costs to keep."""
        return self.logits.nbytes + self.tensor_bgr.nbytes + len(self.packed_truth)


def keep(
    engine: Engine, pairs: Iterable[Pair], seen: Callable[[], None], most_bytes: int = MOST_BYTES
) -> list[KeptPicture]:
    """Run the engine once on every picture.

    Args:
        engine: opened, with the output `logits`.
        seen: called after each picture.
        most_bytes: of all that is kept.

    Raises:
        DataError: the pictures do not fit into `most_bytes`, with the number that does.
    """
    spec = engine.spec
    kept: list[KeptPicture] = []
    n_bytes = 0
    tensor_bgr = np.zeros(spec.input.shape(spec.batch), np.uint8)
    logits = np.zeros(spec.output_shape("logits"), np.float32)
    for pair in pairs:
        height, width = pair.image_bgr.shape[:2]
        geometry = fit(height, width, spec.input)
        resize_into(pair.image_bgr, geometry, tensor_bgr[0])
        engine.infer({INPUT_NAME: tensor_bgr}, {"logits": logits})
        is_packed, packed = cv2.imencode(".png", pair.label_map)
        assert is_packed, "OpenCV writes PNG wherever it is built"
        kept.append(
            KeptPicture(pair.name, logits[0].copy(), tensor_bgr[0].copy(), geometry, (height, width), packed.tobytes())
        )
        n_bytes += kept[-1].n_bytes
        if n_bytes > most_bytes:
            raise DataError(
                f"{len(kept)} pictures take {n_bytes / 1e6:.0f} MB to keep, at most {most_bytes / 1e6:.0f} MB are "
                f"taken; choose fewer: --limit {len(kept) - 1}, or --every"
            )
        seen()
    return kept


def labels_of(picture: KeptPicture, refiner: StreamRefiner | None, input_spec: InputSpec) -> NDArray[np.uint8]:
    """(height, width) labels of a picture at its own size, with something after the network or without.

    Both ways bring values at the engine's size back by the same rule: bars cut off, bilinear, then the largest.
    """
    values = picture.logits if refiner is None else refiner.refine(picture.logits, picture.tensor_bgr)
    return label_map_of(brought_back(values, (input_spec.height, input_spec.width), picture.geometry, *picture.shape))
