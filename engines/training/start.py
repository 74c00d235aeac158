"""What a training starts from: the network before its first step, and the pictures.

The trap: a head that was reset and a head that was kept look alike afterwards; what was loaded and what was reset is
said once, here.
"""

from collections.abc import Callable

from engines.data.loader import TrainingSet
from engines.errors import CheckpointError, DataError
from engines.models.deeplab import DeepLab, build
from engines.models.weights import init_from, load_backbone_weights, towards
from engines.training import distil
from engines.training.checkpoint import Checkpoint
from engines.training.config import TrainConfig

__all__ = ["fresh_network", "training_set_of"]


def fresh_network(config: TrainConfig, say: Callable[[str], None] | None = None) -> DeepLab:
    """The network before its first step, on the CPU; `say` takes what was loaded and what was reset."""
    model = build(config.model, len(config.classes))
    done = []
    if config.backbone_weights is not None:
        done.append(load_backbone_weights(model, config.backbone_weights))
    if config.init_from is not None:
        old = Checkpoint.load(config.init_from)
        if old.model.normalisation != config.model.normalisation:
            raise CheckpointError(
                f"init_from {config.init_from}: its weights want model.normalisation {old.model.normalisation}, the "
                f"config says {config.model.normalisation}; set it to {old.model.normalisation}"
            )
        done.append(init_from(model, old.weights, str(config.init_from), config.classes, old.meaning.classes))
        if config.init_share < 1 and config.backbone_weights is not None:
            done.append(towards(model, config.backbone_weights, 1 - config.init_share))
    if say is not None:
        for line in done:
            say(line)
    return model


def training_set_of(config: TrainConfig, say: Callable[[str], None] | None = None) -> TrainingSet:
    """The sources; the teacher is asked where labels are distrusted."""
    teacher, subject = None, 0
    if config.teacher is not None and any(source.distrust != "nothing" for source in config.sources):
        if config.teacher.suffix not in {".npz", ".pt"}:
            raise DataError(f"{config.teacher}: `distrust` asks a .npz or a checkpoint, not an engine")
        teacher, classes = distil.network_of(config.teacher)
        wanted = config.subject or config.classes[1]
        if wanted not in classes:
            raise DataError(f"{config.teacher}: does not know {wanted!r}; `distrust` needs a teacher that does")
        subject = classes.index(wanted)
        if len(config.classes) > 2:
            raise DataError(
                f"`distrust` knows one subject before a background; with the {len(config.classes)} classes "
                f"{', '.join(config.classes)} the labels of all others would be lost; leave it out"
            )
    return TrainingSet.read(config.sources, config.classes, teacher, subject, config.cache_mb, say)
