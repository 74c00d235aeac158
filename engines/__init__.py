"""From images to masks: everything here knows tensors and nothing of streams.

`open_engine("person")` gives a network that is ready to run; `segment_image` runs it on one image.
"""

from engines.errors import EngineError
from engines.runtime import Engine, open_engine
from engines.spec import EngineSpec, InputSpec

__all__ = ["Engine", "EngineError", "EngineSpec", "InputSpec", "open_engine"]
