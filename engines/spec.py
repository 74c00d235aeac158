"""What an engine says of itself: input rule, outputs, classes, graphs, scores.

The trainer writes a `Manifest` once (`person.json`); the stream, `evaluate` and `predict` obey it,
so they cannot disagree. A manifest lists several graphs (sizes, precisions); an `EngineSpec` is one
of them, resolved and ready to open. Colour order and normalisation live inside the graph: every
graph takes uint8 NHWC BGR.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import Field, model_validator

from configs import Options

__all__ = ["EngineSpec", "Graph", "InputSpec", "Manifest", "OutputSpec", "ResizeRule", "sha256_of"]

LOGITS_STRIDE = 4
"""The decoder works at a quarter of the input; its logits leave the graph there."""

INPUT_NAME = "image_bgr"


class ResizeRule(StrEnum):
    """How a frame of any size is brought to the engine's size."""

    LETTERBOX = "letterbox"
    """Keep the aspect, centre, black bars."""
    STRETCH = "stretch"
    """Fill the input, whatever the aspect."""


@dataclass(frozen=True)
class InputSpec:
    """The tensor an engine takes: (batch, height, width, 3) uint8, BGR."""

    height: int
    width: int
    resize: ResizeRule = ResizeRule.LETTERBOX

    def shape(self, batch: int = 1) -> tuple[int, int, int, int]:
        """(batch, height, width, 3)."""
        return (batch, self.height, self.width, 3)


@dataclass(frozen=True)
class OutputSpec:
    """What a graph can give, each computed only when asked for.

    `logits` (batch, C, height/4, width/4) float32; `labels` (batch, height, width) uint8;
    `alpha` (batch, height, width) uint8, present when there is a subject.
    """

    classes: tuple[str, ...]
    subject: int | None
    """Index of the class that `alpha` cuts out; None for scenes without a subject."""

    @property
    def names(self) -> tuple[str, ...]:
        """The outputs of the graph, in its order."""
        return ("logits", "labels") if self.subject is None else ("logits", "alpha", "labels")


class Graph(Options):
    """One ONNX file of an engine."""

    file: str
    """Name of the file, beside the manifest."""
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    precision: str = "fp32"
    """fp32, fp16, bf16 or int8; decided when the graph was exported."""
    sha256: str
    """Of the file: a graph that does not match is refused."""
    scores: dict[str, float] = {}
    """`protocol/data set/measure` to value, such as `P2/ccp/iou_person`."""


class Manifest(Options):
    """The JSON beside the graphs: `<name>.json`."""

    schema_version: int = 1
    name: str
    task: str = "semantic segmentation"
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    """One (R, G, B) a class."""
    subject: str | None = None
    """The class that `alpha` cuts out."""
    resize: ResizeRule = ResizeRule.LETTERBOX
    normalisation: str = "x / 127.5 - 1, RGB"
    """For people: the arithmetic itself is inside the graph."""
    model: str = ""
    graphs: tuple[Graph, ...]
    default_graph: str = ""
    """File of the graph taken when neither size nor precision is asked for; empty: the first."""
    scores: dict[str, float] = {}
    """Of the checkpoint (protocol P1)."""
    trained_on: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    crf: str = "none"

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if len(self.palette) != len(self.classes):
            raise ValueError(f"palette has {len(self.palette)} colours for {len(self.classes)} classes")
        if self.subject is not None and self.subject not in self.classes:
            raise ValueError(f"subject {self.subject!r} is not one of the classes {list(self.classes)}")
        if not self.graphs:
            raise ValueError("lists no graphs")
        return self


@dataclass(frozen=True)
class EngineSpec:
    """One graph of one manifest, resolved: all that is needed to open it."""

    name: str
    path: Path
    input: InputSpec
    output: OutputSpec
    palette: tuple[tuple[int, int, int], ...]
    precision: str
    sha256: str = ""

    @property
    def label(self) -> str:
        """`person 512x288 fp32`, as logs and reports name it."""
        return f"{self.name} {self.input.width}x{self.input.height} {self.precision}"

    def output_shape(self, output: str, batch: int = 1) -> tuple[int, ...]:
        """Shape of one output; see `OutputSpec` for the types."""
        height, width = self.input.height, self.input.width
        if output == "logits":
            return (batch, len(self.output.classes), height // LOGITS_STRIDE, width // LOGITS_STRIDE)
        if output in self.output.names:
            return (batch, height, width)
        raise KeyError(f"{self.label} has no output {output!r}; it has {', '.join(self.output.names)}")

    def output_dtype(self, output: str) -> str:
        """NumPy's name of the output's type."""
        return "float32" if output == "logits" else "uint8"


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
