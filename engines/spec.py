"""What an engine is: its input, its outputs, what their numbers mean, and all that is needed to open it.

The trainer writes it once; the stream, `evaluate` and `predict` obey it, so they cannot disagree. Colour order and
normalisation live inside the graph: every graph takes uint8 NHWC BGR. The trap: `subject` is a class's name in a
`Meaning`, as people write it, and its index in an `OutputSpec`, as arrays want it.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from engines.size import Size

__all__ = [
    "INPUT_NAME",
    "LOGITS_STRIDE",
    "EngineSpec",
    "InputSpec",
    "Meaning",
    "OutputSpec",
    "Palette",
    "Precision",
    "ResizeRule",
    "graph_label",
]

LOGITS_STRIDE = 4
"""The decoder works at a quarter of the input; its logits leave the graph there."""

INPUT_NAME = "image_bgr"

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""Of a graph's weights and arithmetic; decided when it is exported."""

Palette = tuple[tuple[int, int, int], ...]
"""One (R, G, B) a class."""


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

    @classmethod
    def of(cls, size: Size, resize: ResizeRule = ResizeRule.LETTERBOX) -> Self:
        """For frames brought to that size."""
        return cls(size.height, size.width, resize)

    @property
    def size(self) -> Size:
        """(width, height)."""
        return Size(self.width, self.height)

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
    def mask_planes(self) -> tuple[str, ...]:
        """The outputs that masks are made of: with two classes and a subject alpha against a half says it all."""
        if self.subject is None:
            return ("labels",)
        return ("alpha",) if len(self.classes) == 2 else ("alpha", "labels")

    @property
    def names(self) -> tuple[str, ...]:
        """The outputs of the graph, in its order."""
        return ("logits", "labels") if self.subject is None else ("logits", "alpha", "labels")


@dataclass(frozen=True)
class Meaning:
    """What the numbers of a network stand for.

    Raises:
        ValueError: a class has no colour, or the subject is none of the classes.
    """

    classes: tuple[str, ...]
    palette: Palette
    subject: str | None
    """The class that `alpha` cuts out."""
    resize: ResizeRule = ResizeRule.LETTERBOX

    def __post_init__(self) -> None:
        if len(self.palette) != len(self.classes):
            raise ValueError(f"palette has {len(self.palette)} colours for {len(self.classes)} classes")
        if self.subject is not None and self.subject not in self.classes:
            raise ValueError(f"subject {self.subject!r} is not one of the classes {list(self.classes)}")

    @property
    def output(self) -> OutputSpec:
        """What a graph gives."""
        return OutputSpec(self.classes, None if self.subject is None else self.classes.index(self.subject))

    def as_metadata(self) -> dict[str, str]:
        """`metadata_props` of an ONNX file, so that the file alone can say it."""
        return {
            "classes": json.dumps(self.classes),
            "palette": json.dumps(self.palette),
            "subject": self.subject or "",
            "resize": self.resize.value,
        }


@dataclass(frozen=True)
class EngineSpec:
    """One graph of one manifest, resolved: all that is needed to open it."""

    name: str
    path: Path
    input: InputSpec
    output: OutputSpec
    palette: Palette
    precision: str
    sha256: str = ""
    batch: int = 1
    any_batch: bool = False
    """The graph's batch axis is open: a call takes as many pictures as the engine was opened for; `batch` is 1."""

    @property
    def label(self) -> str:
        """`person 512x288 fp32`, as logs and reports name it; `x4` follows for a batch of four, `xN` for any."""
        return f"{self.name} {graph_label(self.input.size, self.precision, self.batch, self.any_batch)}"

    def output_shape(self, output: str, batch: int | None = None) -> tuple[int, ...]:
        """Shape of one output, for the graph's own batch unless told; see `OutputSpec` for the types."""
        batch = batch or self.batch
        height, width = self.input.height, self.input.width
        if output == "logits":
            return (batch, len(self.output.classes), height // LOGITS_STRIDE, width // LOGITS_STRIDE)
        if output in self.output.names:
            return (batch, height, width)
        raise KeyError(f"{self.label} has no output {output!r}; it has {', '.join(self.output.names)}")

    def output_dtype(self, output: str) -> str:
        """NumPy's name of the output's type."""
        return "float32" if output == "logits" else "uint8"


def graph_label(size: Size, precision: str, batch: int, any_batch: bool = False) -> str:
    """`512x288 fp32`; `x4` follows for a batch of four, `xN` where the batch axis is open."""
    return f"{size} {precision}" + (" xN" if any_batch else f" x{batch}" if batch > 1 else "")
