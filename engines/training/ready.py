"""What can be known to go wrong before the first step, so that nobody waits hours for it.

A folder that cannot be written, an export without its pictures, an earlier training in OUT. The trap: only the
config is looked at in `TrainConfig`; what depends on the disk is looked at here, once, by the command.
"""

import os
from pathlib import Path

from configs import ConfigError
from engines.errors import TrainingError
from engines.export.derive import pictures_of
from engines.spec import InputSpec
from engines.training.config import TrainConfig

__all__ = ["check_export", "check_out"]

KEPT = ("last.pt", "best.pt")


def check_out(out: Path, resume: bool) -> None:
    """See that `out` can be written, and that a fresh start destroys no earlier training.

    Raises:
        ConfigError: `out` holds checkpoints and the training is not to go on from them.
        TrainingError: `out` cannot be made, or written.
    """
    held = [name for name in KEPT if (out / name).exists()]
    if held and not resume:
        raise ConfigError(
            f"{out} holds an earlier training ({', '.join(held)}), which a new one would replace; "
            "go on from it with --resume, name another --out, or remove the folder"
        )
    probe = out / f".writable-{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TrainingError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error


def check_export(config: TrainConfig) -> None:
    """See that what `export` needs is there.

    Raises:
        DataError: the pictures for the calibration of int8 are not there.
    """
    if config.export is not None and config.export.calibration is not None:
        spec = InputSpec.of(config.export.sizes[0], config.resize)
        next(pictures_of(config.export.calibration, spec, n=1))
