"""What can go wrong between an image and its mask.

EngineError                 base; the command line prints it as one line
├── CheckpointError         a .pt file that cannot be read, or does not fit the model
├── DataError               a data set with missing pairs, wrong sizes or wrong values
├── TrainingError           a training that cannot start or go on: numbers, memory, space, processes
├── ExportError             a graph that could not be written or differs from its checkpoint
├── BuildError              a graph that TensorRT could not make a plan of
├── EngineNotFound          no engine of that name, size or precision
├── EngineMismatch          a manifest and its file, or a file and this machine, disagree
├── InputSizeError          an image or a size that the engine cannot take
├── BackendUnavailable      the runtime is not installed or cannot work here; says what would help
└── DeviceLost              the GPU's context is gone; only a new process can go on
"""


class EngineError(Exception):
    """Base of what this package raises on purpose."""


class CheckpointError(EngineError):
    """A checkpoint that cannot be read or does not fit."""


class DataError(EngineError):
    """A data set that cannot be used as it is."""


class TrainingError(EngineError):
    """A training that cannot start, or cannot go on as it is."""


class ExportError(EngineError):
    """A graph that could not be written, or that differs from its checkpoint."""


class BuildError(EngineError):
    """A graph that TensorRT refuses, or could not make a plan of."""


class EngineNotFound(EngineError):
    """No engine of that name, size or precision; wrong use, so the command line exits with 2."""


class EngineMismatch(EngineError):
    """What the manifest says is not what the file holds."""


class InputSizeError(EngineError):
    """An image or a size that this engine cannot take."""


class BackendUnavailable(EngineError):
    """A runtime that is not installed or cannot work on this machine."""


class DeviceLost(EngineError):
    """The GPU failed in a way that only a new process gets over; a worker that meets it ends with exit code 70."""

    backend: str = ""
    """The key of the backend that met it; empty where none is known."""
