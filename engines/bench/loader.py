"""Does the loader keep ahead of the training? Crops a second, alone, against training steps on ready tensors.

The loader must be well ahead, because while a training runs both want the same cores. The training side here is
the bare loop of `engines.bench.training`: the fastest that any training of this model can be, so the bar is
stricter than against the real one.
"""

from engines.bench.report import Comparison
from engines.bench.rounds import Contender, interleaved
from engines.bench.training import BareLoop, plain
from engines.data.loader import batches
from engines.training.config import TrainConfig
from engines.training.start import training_set_of

__all__ = ["LOADER_BAR", "loader_rate"]

LOADER_BAR = 2.0
"""Times the training's rate."""


def loader_rate(config: TrainConfig, steps: int, rounds: int) -> Comparison:
    """Take turns: `steps` batches of crops without any training, `steps` of training without any loader.

    Raises:
        EngineError: the config's data or weights cannot be used.
    """
    config = plain(config)
    training_set = training_set_of(config)
    bare = BareLoop(config)
    batch = config.schedule.batch
    begun = 0

    def crops() -> int:
        nonlocal begun
        first, begun = begun, begun + steps  # other pictures each round, as in a training
        ahead = batches(training_set, batch, config.crops, config.seed, first, begun, n_threads=config.loader_threads)
        return sum(len(made.labels) for made in ahead)

    rates = interleaved([Contender("loader alone", crops), Contender("bare training", lambda: bare.run(steps))], rounds)
    conditions = {
        "config": config.name,
        "model": config.model.title,
        "pictures": len(training_set),
        "batch": batch,
        "crop_px": config.augment.crop_px,
        "threads": config.threads,
        "loader_threads": config.loader_threads,
    }
    question = "How far ahead of the training is the loader?"
    return Comparison(question, "loader alone", "bare training", LOADER_BAR, rates, conditions)
