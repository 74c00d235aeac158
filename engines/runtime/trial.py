"""Whether an engine that was just opened answers as it promises, found out before a frame depends on it.

Shapes and types are settled when it is opened; what is looked at here are the values. The trap: a buffer that an engine
never wrote looks like an answer, so it is asked twice, and each time what lay in the buffers before is another.
"""

from typing import TYPE_CHECKING

import numpy as np

from engines.errors import EngineError
from engines.runtime.checked import Array
from engines.spec import INPUT_NAME

if TYPE_CHECKING:
    from engines.runtime import Engine

__all__ = ["try_out"]


def try_out(engine: "Engine") -> None:
    """Two inferences on a test picture, with all outputs that the engine was opened for.

    Args:
        engine: open.

    Raises:
        EngineError: it fails, leaves a part of an output as it was, gives a logit that is not finite, or a label that
            is no class.
    """
    image = _picture(engine.spec.input.height, engine.spec.input.width)
    images = np.repeat(image[None], engine.spec.batch, axis=0)
    answers = []
    for filling in (0, 255):
        outputs = {name: _filled(engine, name, filling) for name in engine.outputs}
        engine.infer({INPUT_NAME: images}, outputs)
        answers.append(outputs)
    for name in engine.outputs:
        if (fault := _fault(name, answers[0][name], answers[1][name], len(engine.spec.output.classes))) is not None:
            raise EngineError(
                f"{engine.spec.label} on {engine.backend}: on a test picture {fault}; it is not used: export or build "
                "it again, or choose another --backend"
            )


def _picture(height: int, width: int) -> Array:
    """(height, width, 3) uint8: ramps of different steepness, so that every value and many edges occur."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns * 3, rows * 5, rows * columns // 7], axis=-1).astype(np.uint8)


def _filled(engine: "Engine", name: str, filling: int) -> Array:
    spec = engine.spec
    dtype = np.dtype(spec.output_dtype(name))
    return np.full(spec.output_shape(name), np.nan if dtype.kind == "f" else filling, dtype)


def _fault(name: str, first: Array, second: Array, n_classes: int) -> str | None:
    if first.dtype.kind == "f":
        n_wrong = first.size - int(np.isfinite(first).sum())
        return f"{n_wrong} of {first.size} values of {name} are not finite" if n_wrong else None
    n_unwritten = int(((first == 0) & (second == 255)).sum())
    if n_unwritten:
        return f"{n_unwritten} of {first.size} values of {name} were not written"
    if name == "labels" and (highest := int(first.max())) >= n_classes:
        return f"a label is {highest}, and there are {n_classes} classes"
    return None
