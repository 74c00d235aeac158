"""Which planes a frame of one stream has with one engine."""

from collections.abc import Mapping

from engines.spec import EngineSpec
from pipeline.frame import PlaneSpec, StreamFormat

__all__ = ["PLANES", "planes_of"]

PLANES = ("image_bgr", "tensor_bgr", "logits", "alpha", "labels", "composite")
"""Every plane there is; stages name theirs from these."""


def planes_of(format: StreamFormat, spec: EngineSpec) -> Mapping[str, PlaneSpec]:
    """Shapes and types of every plane; `tensor_bgr`, `logits`, `alpha`, `labels` at the engine's size.

    All of them are in the slot whether a stage writes them or not: masks are small, and the image
    and the composite are always needed.
    """
    frame = (format.height, format.width, 3)
    logits = spec.output_shape("logits")[1:]
    mask = (spec.input.height, spec.input.width)
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "image_bgr": (frame, "uint8"),
        "tensor_bgr": ((*mask, 3), "uint8"),
        "logits": (logits, "float32"),
        "alpha": (mask, "uint8"),
        "labels": (mask, "uint8"),
        "composite": (frame, "uint8"),
    }
    return {name: PlaneSpec(name, shape, dtype) for name, (shape, dtype) in shapes.items()}
