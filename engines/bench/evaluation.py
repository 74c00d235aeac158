"""Does scoring keep the engine busy? Evaluation's pictures a second against the engine's own.

Bare is `infer` and nothing else, on one picture that is already in the engine's shape, with the same outputs asked
for. Evaluation reads and decodes the files, resizes, infers, brings the logits back to each picture's size, and
counts. Both take turns on the same opened engine.
"""

import numpy as np

from engines.bench.report import Comparison
from engines.bench.rounds import Contender, interleaved
from engines.data.pairs import Dataset
from engines.data.views import Part
from engines.evaluation.evaluate import P2Engine, evaluate
from engines.runtime import Array, Engine
from engines.spec import INPUT_NAME

__all__ = ["EVALUATION_BAR", "evaluation_rate"]

EVALUATION_BAR = 0.8
"""Of the engine's bare rate."""


def evaluation_rate(engine: Engine, dataset: Dataset, most_images: int, rounds: int) -> Comparison:
    """Take turns: the whole evaluation of the first pictures, and as many bare inferences.

    Args:
        engine: opened, with `logits` among its outputs.
        most_images: of the data set, a round.
    """
    pairs = Part(dataset, range(min(most_images, len(dataset))))
    segmenter = P2Engine(engine)
    picture = np.random.default_rng(0).integers(0, 256, engine.spec.input.shape(), dtype=np.uint8)
    inputs: dict[str, Array] = {INPUT_NAME: picture}
    outputs: dict[str, Array] = {"logits": np.zeros(engine.spec.output_shape("logits"), np.float32)}

    def bare() -> int:
        for _ in range(len(pairs)):
            engine.infer(inputs, outputs)
        return len(pairs)

    def whole() -> int:
        return evaluate(segmenter, pairs).scores.n_images

    rates = interleaved([Contender("bare inference", bare), Contender("evaluation", whole)], rounds)
    return Comparison(
        "How much of the engine's speed is left when it is scored?",
        "evaluation",
        "bare inference",
        EVALUATION_BAR,
        rates,
        {"engine": engine.spec.label, "backend": engine.backend, "images": len(pairs)},
    )
