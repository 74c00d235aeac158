"""One image in, its mask out, at the image's own size.

The same geometry as in training and in the stream: resize by the engine's rule, infer, take the part
without bars, resize back. With two classes the label map is cut from the upsampled alpha, at half:
its edge is smoother than that of enlarged labels, and the two cannot contradict each other.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError, InputSizeError
from engines.geometry import fit, tensor_of
from engines.runtime import Engine
from engines.spec import INPUT_NAME

__all__ = ["Segmentation", "segment_image"]


@dataclass(frozen=True)
class Segmentation:
    """What an engine says of one image; fresh arrays, safe to keep."""

    alpha: NDArray[np.uint8] | None
    """(H, W), 255 where the subject is; None for engines without a subject."""
    labels: NDArray[np.uint8]
    """(H, W), the class of each pixel."""

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(H, W), 255 where alpha is more than half, else 0: what OpenCV's `mask=` wants.

        OpenCV takes every value but 0 as "all of this pixel", so a soft alpha given as a mask keeps half the room.

        Raises:
            EngineError: the engine has no subject.
        """
        if self.alpha is None:
            raise EngineError("this engine has no subject to cut out; use labels")
        return np.where(self.alpha > 127, np.uint8(255), np.uint8(0))


def segment_image(engine: Engine, image_bgr: NDArray[np.uint8]) -> Segmentation:
    """Segment one image.

    Args:
        engine: open, with `alpha` or `labels` among its outputs; with more than two classes it needs `labels`.
        image_bgr: (H, W, 3) uint8 of any size, as `cv2.imread` gives it.

    Raises:
        InputSizeError: not such an image.
        EngineError: the engine is not open, or was opened without the outputs that are needed.
    """
    if not isinstance(image_bgr, np.ndarray):
        raise InputSizeError(
            f"received {type(image_bgr).__name__}, expected an image (H, W, 3) uint8; "
            "cv2.imread gives None for a file that it cannot read"
        )
    if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8 or not image_bgr.size:
        raise InputSizeError(f"received {image_bgr.dtype} {image_bgr.shape}, expected an image (H, W, 3) uint8, BGR")
    height, width = image_bgr.shape[:2]
    spec = engine.spec
    subject = spec.output.subject
    has_alpha = subject is not None and "alpha" in engine.outputs
    is_cut_from_alpha = has_alpha and len(spec.output.classes) == 2
    wanted = [name for name, is_needed in (("alpha", has_alpha), ("labels", not is_cut_from_alpha)) if is_needed]
    if "labels" in wanted and "labels" not in engine.outputs:
        raise EngineError(f"{spec.label} was opened for {', '.join(engine.outputs)}; open it with 'labels' too")
    geometry = fit(height, width, spec.input)
    planes = {name: np.empty(spec.output_shape(name), np.uint8) for name in wanted}

    engine.infer({INPUT_NAME: tensor_of(image_bgr, spec.input)[None]}, planes)

    def at_image_size(name: str, interpolation: int) -> NDArray[np.uint8]:
        inner = np.asarray(geometry.crop(planes[name][0]), np.uint8)
        return np.asarray(cv2.resize(inner, (width, height), interpolation=interpolation), np.uint8)

    alpha = at_image_size("alpha", cv2.INTER_LINEAR) if has_alpha else None
    if alpha is not None and subject is not None and is_cut_from_alpha:
        labels = np.where(alpha > 127, np.uint8(subject), np.uint8(1 - subject))
    else:
        labels = at_image_size("labels", cv2.INTER_NEAREST_EXACT)
    return Segmentation(alpha, labels)
