"""From images to masks: everything here knows tensors and nothing of streams.

`open_engine("person")` gives a network that is ready to run; `segment_image` runs it on one image.
OpenCV is imported with `segment_image`, not before: `doctor` must start where OpenCV cannot.
"""

from typing import TYPE_CHECKING, Any

from engines.errors import EngineError
from engines.names import known_engines, resolve
from engines.runtime import Engine, open_engine
from engines.spec import EngineSpec, InputSpec

if TYPE_CHECKING:
    from engines.predict import Segmentation, segment_image

__all__ = [
    "Engine",
    "EngineError",
    "EngineSpec",
    "InputSpec",
    "Segmentation",
    "known_engines",
    "open_engine",
    "resolve",
    "segment_image",
]


def __getattr__(name: str) -> Any:
    if name in ("Segmentation", "segment_image"):
        from engines import predict

        return getattr(predict, name)
    raise AttributeError(f"module 'engines' has no attribute {name!r}")
